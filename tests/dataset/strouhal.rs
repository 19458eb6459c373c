//! The flow core of `urban-flow` sheds vortices as often as measured (the short version of `benches/strouhal.rs`).

use crate::tunnel::{Case, Tunnel};

/// Re = 100: 0.146 of Sohankar, Norberg and Davidson 1998 with 5% of the width blocked. Here 8% are, which speeds the flow
/// past the cylinder up by about as much; the bench goes to the published width.
#[test]
fn square_cylinder_sheds_vortices_at_the_published_frequency() {
    let case = Case { side: 6, sides: [12, 6, 14], speed: 0.1, reynolds: 100.0, smagorinsky: 0.0 };
    let got = Tunnel::new(case).shedding(120.0, 4);
    assert!((got.strouhal / 0.146 - 1.0).abs() < 0.1, "{got:?}");
    assert!(got.spread < 1.05, "{got:?}");
    assert!(got.lift > 0.1 && (1.2..1.9).contains(&got.drag), "{got:?}");
}

/// Below the critical Reynolds number (about 50) the wake is steady.
#[test]
fn square_cylinder_below_the_critical_reynolds_number_sheds_nothing() {
    let case = Case { side: 4, sides: [10, 5, 12], speed: 0.1, reynolds: 30.0, smagorinsky: 0.0 };
    let forces = Tunnel::new(case).forces(200.0, 20);
    let lift = forces.iter().map(|[lift, _]| lift.abs()).fold(0.0, f64::max);
    let drag: Vec<f64> = forces.iter().map(|[_, drag]| *drag).collect();
    let mean = drag.iter().sum::<f64>() / drag.len() as f64;
    // A fraction of what shedding has; the sound of the start is still there.
    assert!(lift < 1e-2, "lift {lift}");
    assert!((1.5..2.6).contains(&mean), "drag {mean}");
    assert!(drag.iter().all(|drag| (drag / mean - 1.0).abs() < 2e-2), "drag {drag:?}");
}
