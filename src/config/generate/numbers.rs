//! The numbers of every generator: keys, types, defaults with their sources, and what makes sense.

use super::{Checks, Forcing, Generate, Initial, Numbers, Particle};

/// `each_generator!(name, T => expression)`: the expression with `T` the numbers of the generator `name`.
macro_rules! each_generator {
    ($name:expr, $numbers:ident => $expression:expr) => {
        match $name {
            $crate::config::Generator::UrbanFlow => {
                type $numbers = $crate::config::UrbanFlow;
                $expression
            }
            $crate::config::Generator::Sas => {
                type $numbers = $crate::config::Sas;
                $expression
            }
            $crate::config::Generator::Turbulence => {
                type $numbers = $crate::config::Turbulence;
                $expression
            }
            $crate::config::Generator::Kolmogorov => {
                type $numbers = $crate::config::Kolmogorov;
                $expression
            }
            $crate::config::Generator::KuramotoSivashinsky => {
                type $numbers = $crate::config::KuramotoSivashinsky;
                $expression
            }
            $crate::config::Generator::Lorenz96 => {
                type $numbers = $crate::config::Lorenz96;
                $expression
            }
            $crate::config::Generator::Stack => {
                type $numbers = $crate::config::Stack;
                $expression
            }
        }
    };
}
pub(super) use each_generator;

/// A table of numbers: `key: type = default`, the keys those of [`Generate`]; a default may look at the section.
macro_rules! numbers {
    ($(#[$about:meta])* $name:ident of $section:ident { $($key:ident: $type:ty = $default:expr,)* } check $check:expr) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $(#[doc = concat!("See [`Generate::", stringify!($key), "`].")] pub $key: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self::of(&Generate::default())
            }
        }

        impl $name {
            /// As the section says, with defaults where it says nothing.
            #[allow(clippy::clone_on_copy)] // lists are not Copy
            pub fn of($section: &Generate) -> Self {
                Self { $($key: $section.$key.clone().unwrap_or_else(|| $default),)* }
            }
        }

        impl Numbers for $name {
            const KEYS: &'static [&'static str] = &[$(stringify!($key)),*];

            fn fill(self, section: &mut Generate) {
                $(section.$key = Some(self.$key);)*
            }

            fn check(&self, checks: &mut Checks) {
                let check: fn(&Self, &mut Checks) = $check;
                check(self, checks);
            }
        }
    };
}

numbers! {
    /// Numbers of `urban-flow`.
    UrbanFlow of section {
        grid: [usize; 3] = [91, 85, 32], // VarDACAE
        length_m: f64 = 700.0,           // VarDACAE
        wind_m_s: f64 = 5.0,
        gustiness: f64 = 0.2,
        veer_deg: f64 = 15.0,
        interval_s: f64 = 10.0,
        spin_up_s: f64 = 600.0,
        lattice_speed: f64 = 0.08, // Mach 0.14, compressibility error about 1 %
        smagorinsky: f64 = 0.17,   // Lilly 1967
        buildings: usize = 24,
        building_height_max_m: f64 = 80.0,
    }
    check check_urban_flow
}

fn check_urban_flow(numbers: &UrbanFlow, checks: &mut Checks) {
    checks.require(numbers.grid.iter().all(|&n| n >= 8), "generate.grid", || {
        format!("{:?}: at least 8 cells along each axis", numbers.grid)
    });
    checks.positive_real(numbers.length_m, "generate.length_m");
    checks.positive_real(numbers.wind_m_s, "generate.wind_m_s");
    checks.require((0.0..=0.3).contains(&numbers.gustiness), "generate.gustiness", || {
        format!("{}: a share of the wind speed, 0 to 0.3", numbers.gustiness)
    });
    checks.require((0.0..=45.0).contains(&numbers.veer_deg), "generate.veer_deg", || {
        format!("{}: 0 to 45 degrees", numbers.veer_deg)
    });
    checks.positive_real(numbers.interval_s, "generate.interval_s");
    checks.require(numbers.spin_up_s >= 0.0 && numbers.spin_up_s.is_finite(), "generate.spin_up_s", || {
        format!("{}: a time of at least 0 s", numbers.spin_up_s)
    });
    checks.require(numbers.lattice_speed > 0.0 && numbers.lattice_speed <= 0.15, "generate.lattice_speed", || {
        format!("{}: between 0 and 0.15, above which the lattice flow is compressible", numbers.lattice_speed)
    });
    checks.require((0.0..=0.5).contains(&numbers.smagorinsky), "generate.smagorinsky", || {
        format!("{}: between 0 (no eddy viscosity) and 0.5", numbers.smagorinsky)
    });
    let height_m = numbers.length_m / numbers.grid[0] as f64 * numbers.grid[2] as f64;
    checks.require(numbers.building_height_max_m < height_m, "generate.building_height_max_m", || {
        format!("{} m: below the top of the domain ({height_m} m)", numbers.building_height_max_m)
    });
    let [nx, ny, _] = numbers.grid;
    let [columns, rows] = lots([nx, ny], numbers.buildings);
    checks.require(nx / columns >= LOT_CELLS_MIN && ny / rows >= LOT_CELLS_MIN, "generate.buildings", || {
        format!(
            "{} buildings leave no streets on {nx} x {ny} cells; give fewer buildings or a finer grid",
            numbers.buildings
        )
    });
}

/// The smallest lot: a building of two cells and a street of two.
const LOT_CELLS_MIN: usize = 4;

/// Columns and rows of lots for `n` buildings on so many cells along x and y: about square lots.
pub fn lots([nx, ny]: [usize; 2], n: usize) -> [usize; 2] {
    let columns = ((n as f64 * nx as f64 / ny as f64).sqrt().round() as usize).clamp(1, n.max(1));
    [columns, n.div_ceil(columns).max(1)]
}

numbers! {
    /// What `stack` is told.
    Stack of section {
        files: Vec<String> = Vec::new(),
        variable: String = String::new(), // `I`, else the largest
    }
    check |stack, checks| {
        let named = !stack.files.is_empty() && stack.files.iter().all(|file| !file.is_empty());
        checks.require(named, "generate.files", || "missing: name the files to stack, as in [\"images/*.h5\"]".into());
    }
}

numbers! {
    /// Numbers of `turbulence`.
    Turbulence of section {
        cells: usize = 64,
        interval: f64 = 0.1,
        spin_up: f64 = if forcing(section) == Forcing::None { 0.0 } else { 5.0 }, // a few turns of the largest eddies
        // Speeds |u| + |v| + |w| reach about 2 and 7: a CFL number below 1.
        time_step: f64 = if initial(section) == Initial::TaylorGreen { 2.0 } else { 0.75 } / cells(section, 64) as f64,
        viscosity: f64 = resolved_viscosity(section),
        initial: Initial = initial(section),
        forcing: Forcing = forcing(section),
        power: f64 = POWER,
    }
    check check_turbulence
}

/// Power of the force: with eddies of half the box it holds velocities of about 1.
const POWER: f64 = 0.3;

fn cells(section: &Generate, default: usize) -> usize {
    section.cells.unwrap_or(default).max(1)
}

fn initial(section: &Generate) -> Initial {
    section.initial.unwrap_or(Initial::Isotropic)
}

fn forcing(section: &Generate) -> Forcing {
    let usual = if initial(section) == Initial::Isotropic { Forcing::LowWavenumber } else { Forcing::None };
    section.forcing.unwrap_or(usual)
}

/// K (ν³ / ε)^¼ = 1.5 (Pope 2000, section 9.1.2) with K = cells / 3 and ε the power.
fn resolved_viscosity(section: &Generate) -> f64 {
    if initial(section) == Initial::TaylorGreen {
        return 0.01;
    }
    let largest = cells(section, 64) as f64 / 3.0;
    ((1.5 / largest).powi(4) * section.power.unwrap_or(POWER)).cbrt()
}

fn check_turbulence(numbers: &Turbulence, checks: &mut Checks) {
    check_times([numbers.interval, numbers.spin_up, numbers.time_step], checks);
    check_cells(numbers.cells, 8, checks);
    checks.positive_real(numbers.power, "generate.power");
    check_viscosity(numbers.viscosity, checks);
}

fn check_times([interval, spin_up, time_step]: [f64; 3], checks: &mut Checks) {
    checks.positive_real(interval, "generate.interval");
    checks.positive_real(time_step, "generate.time_step");
    checks.require(spin_up >= 0.0 && spin_up.is_finite(), "generate.spin_up", || {
        format!("{spin_up}: a time of at least 0")
    });
}

fn check_cells(cells: usize, least: usize, checks: &mut Checks) {
    checks.require((least..=1 << 16).contains(&cells), "generate.cells", || {
        format!("{cells}: {least} to 65536 points along each axis")
    });
}

fn check_viscosity(viscosity: f64, checks: &mut Checks) {
    checks.require(viscosity >= 0.0 && viscosity.is_finite(), "generate.viscosity", || {
        format!("{viscosity}: a finite number of at least 0")
    });
}

numbers! {
    /// Numbers of `kolmogorov`.
    Kolmogorov of section {
        cells: usize = 128,
        interval: f64 = 0.5,
        spin_up: f64 = 20.0,
        time_step: f64 = 1.0 / cells(section, 128) as f64, // speeds |u| + |v| of about 4: a CFL number below 1
        viscosity: f64 = 0.025, // Re = 40, Chandler and Kerswell 2013
        forcing_wavenumber: usize = 4, // the same
        drag: f64 = 0.0,
    }
    check check_kolmogorov
}

fn check_kolmogorov(numbers: &Kolmogorov, checks: &mut Checks) {
    check_times([numbers.interval, numbers.spin_up, numbers.time_step], checks);
    check_cells(numbers.cells, 8, checks);
    check_viscosity(numbers.viscosity, checks);
    checks.require(numbers.drag >= 0.0 && numbers.drag.is_finite(), "generate.drag", || {
        format!("{}: a finite number of at least 0", numbers.drag)
    });
    checks.require(numbers.viscosity + numbers.drag > 0.0, "generate.viscosity", || {
        "0 without drag: nothing takes away what the force gives".into()
    });
    let largest = numbers.cells.saturating_sub(1) / 3;
    checks.require((1..=largest).contains(&numbers.forcing_wavenumber), "generate.forcing_wavenumber", || {
        format!(
            "{}: 1 to {largest}, the largest wavenumber that {} points hold",
            numbers.forcing_wavenumber, numbers.cells
        )
    });
}

numbers! {
    /// Numbers of `kuramoto-sivashinsky`.
    KuramotoSivashinsky of section {
        cells: usize = 64,
        interval: f64 = 1.0,
        spin_up: f64 = 100.0,
        time_step: f64 = 0.25, // Kassam and Trefethen 2005
        length: f64 = 22.0,    // Cvitanovic, Davidchack and Siminos 2010
    }
    check check_kuramoto_sivashinsky
}

fn check_kuramoto_sivashinsky(numbers: &KuramotoSivashinsky, checks: &mut Checks) {
    check_times([numbers.interval, numbers.spin_up, numbers.time_step], checks);
    check_cells(numbers.cells, 16, checks);
    checks.positive_real(numbers.length, "generate.length");
    // Waves above wavenumber 1 decay; below it they must be able to hand energy on.
    let largest = std::f64::consts::TAU * (numbers.cells.saturating_sub(1) / 3) as f64 / numbers.length;
    checks.require(largest >= 1.5, "generate.cells", || {
        format!(
            "{}: too few for a length of {}: the largest wavenumber kept is {largest:.2}, at least 1.5",
            numbers.cells, numbers.length
        )
    });
}

numbers! {
    /// Numbers of `lorenz96`.
    Lorenz96 of section {
        cells: usize = 40,      // Lorenz and Emanuel 1998
        interval: f64 = 0.05,   // Lorenz 1996
        spin_up: f64 = 10.0,
        time_step: f64 = 0.05,  // Lorenz 1996
        force: f64 = 8.0,       // Lorenz 1996
    }
    check check_lorenz96
}

fn check_lorenz96(numbers: &Lorenz96, checks: &mut Checks) {
    check_times([numbers.interval, numbers.spin_up, numbers.time_step], checks);
    check_cells(numbers.cells, 4, checks);
    checks.require(numbers.force.is_finite(), "generate.force", || format!("{}: a finite number", numbers.force));
}

numbers! {
    /// Numbers of `sas`: a common neutron instrument.
    Sas of section {
        pixels: [usize; 2] = [128, 128],
        pixel_mm: f64 = 5.0,
        distance_m: f64 = 4.0,
        wavelength_angstrom: f64 = 6.0,
        wavelength_spread: f64 = 0.043, // 10 % full width at half maximum of a velocity selector
        beam_mm: f64 = 4.0,
        beam_stop_mm: f64 = 20.0,
        particles: Vec<Particle> = Particle::ALL.to_vec(),
        widths: [f64; 2] = [0.02, 0.15],
        frames: usize = 20,
        counts: f64 = 1.0e6,
        background: f64 = 0.2,
    }
    check check_sas
}

fn check_sas(numbers: &Sas, checks: &mut Checks) {
    checks.require(numbers.pixels.iter().all(|n| (16..=4096).contains(n)), "generate.pixels", || {
        format!("{:?}: 16 to 4096 along each axis", numbers.pixels)
    });
    checks.require(!numbers.particles.is_empty(), "generate.particles", || "an empty list: name one".into());
    checks.positive(numbers.frames, "generate.frames");
    // The stop hides the beam, and the largest thing seen is at least six times the smallest.
    let stop_max_mm = numbers.pixels[0].min(numbers.pixels[1]) as f64 * numbers.pixel_mm / 12.0;
    for (key, number, least, most) in [
        ("pixel_mm", numbers.pixel_mm, 1e-3, 1e3),
        ("distance_m", numbers.distance_m, 1e-2, 1e3),
        ("wavelength_angstrom", numbers.wavelength_angstrom, 1e-2, 1e2),
        ("wavelength_spread", numbers.wavelength_spread, 0.0, 0.2),
        ("beam_stop_mm", numbers.beam_stop_mm, numbers.pixel_mm, stop_max_mm),
        ("beam_mm", numbers.beam_mm, 0.0, numbers.beam_stop_mm / 4.0),
        ("widths[0]", numbers.widths[0], 0.0, numbers.widths[1]),
        ("widths[1]", numbers.widths[1], numbers.widths[0], 0.25),
        ("counts", numbers.counts, 1.0, 1e9),
        ("background", numbers.background, 0.0, 1e6),
    ] {
        checks.require((least..=most).contains(&number), &format!("generate.{key}"), || {
            format!("{number}: {least} to {most}")
        });
    }
}
