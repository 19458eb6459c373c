//! The numbers of every generator: keys, types, defaults with their sources, and what makes sense.

use super::{Checks, Generate, Numbers};

/// `each_generator!(name, T => expression)`: the expression with `T` the numbers of the generator `name`.
macro_rules! each_generator {
    ($name:expr, $numbers:ident => $expression:expr) => {
        match $name {
            $crate::config::Generator::UrbanFlow => {
                type $numbers = $crate::config::UrbanFlow;
                $expression
            }
        }
    };
}
pub(super) use each_generator;

/// A table of numbers: `key: type = default`, the keys those of [`Generate`].
macro_rules! numbers {
    ($(#[$about:meta])* $name:ident { $($key:ident: $type:ty = $default:expr,)* } check $check:expr) => {
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
            pub fn of(section: &Generate) -> Self {
                Self { $($key: section.$key.clone().unwrap_or($default),)* }
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
    UrbanFlow {
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
}
