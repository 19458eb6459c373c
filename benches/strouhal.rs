//! Vortices of a square cylinder at Reynolds number 100, at several resolutions: Strouhal number and drag against those
//! published.
//!
//! `cargo bench --bench strouhal -- [sides in cells, 6,8,12] [Smagorinsky constant, 0] [span in sides, 20]`

#[path = "../tests/common/tunnel.rs"]
mod tunnel;

use std::time::Instant;

use tunnel::{Case, Tunnel};

/// Re = 100, 5% of the width blocked: Sohankar, Norberg and Davidson 1998 (Int. J. Numer. Meth. Fluids 26, 39).
const STROUHAL: f64 = 0.146;
const DRAG: f64 = 1.477;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let list = |at: usize, default: &str| -> Vec<f64> {
        let text = arguments.get(at).map_or(default, String::as_str);
        text.split(',').map(|n| n.parse().expect("numbers")).collect()
    };
    let (sides, smagorinsky, span) = (list(0, "6,8,12"), list(1, "0")[0], list(2, "20")[0] as usize);
    println!("side (cells)  cells    St      off      drag   off      lift rms  periods differ by  s");
    for side in sides {
        let started = Instant::now();
        let case = Case { side: side as usize, sides: [span, 8, 16], speed: 0.1, reynolds: 100.0, smagorinsky };
        let mut tunnel = Tunnel::new(case);
        let got = tunnel.shedding(200.0, 8);
        println!(
            "{side:<12}  {:<7}  {:.4}  {:+.1} %  {:.3}  {:+.1} %  {:.3}     {:.2} %             {:.0}",
            tunnel.cells(),
            got.strouhal,
            100.0 * (got.strouhal / STROUHAL - 1.0),
            got.drag,
            100.0 * (got.drag / DRAG - 1.0),
            got.lift,
            100.0 * (got.spread - 1.0),
            started.elapsed().as_secs_f64()
        );
    }
}
