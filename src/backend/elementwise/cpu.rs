//! One pass over chunks of fixed length; the function is chosen outside the loops.

use super::{Activation, Binary, Elementwise, Gate};
use crate::backend::chunk::{for_chunks, tile, vectorized};
use crate::backend::{Cpu, CpuBuffer, Real};

impl<R: Real> Cpu<R> {
    fn map(&self, x: &[R], f: impl Fn(R) -> R + Sync + Copy) -> CpuBuffer<R> {
        let mut z = self.take(x.len());
        for_chunks(&mut z, 1, |range, z| {
            let x = &x[range];
            vectorized(move || z.iter_mut().zip(x).for_each(|(z, &x)| *z = f(x)));
        });
        self.wrap(z)
    }
    fn map_pair(&self, x: &[R], y: &[R], f: impl Fn(R, R) -> R + Sync + Copy) -> CpuBuffer<R> {
        assert!(x.len() == y.len(), "lengths {} and {}", x.len(), y.len());
        let mut z = self.take(x.len());
        for_chunks(&mut z, 1, |range, z| {
            let (x, y) = (&x[range.clone()], &y[range]);
            vectorized(move || z.iter_mut().zip(x).zip(y).for_each(|((z, &x), &y)| *z = f(x, y)));
        });
        self.wrap(z)
    }
}

impl<R: Real> Elementwise for Cpu<R> {
    fn binary(&self, op: Binary, x: &Self::Buffer, y: &Self::Buffer) -> Self::Buffer {
        match op {
            Binary::Add => self.map_pair(x, y, |x, y| x + y),
            Binary::Sub => self.map_pair(x, y, |x, y| x - y),
            Binary::Mul => self.map_pair(x, y, |x, y| x * y),
        }
    }

    fn affine(&self, x: &Self::Buffer, scale: f64, shift: f64) -> Self::Buffer {
        let (scale, shift) = (R::from_f64(scale), R::from_f64(shift));
        self.map(x, move |x| scale * x + shift)
    }

    fn accumulate(&self, acc: &mut Self::Buffer, x: &Self::Buffer) {
        assert!(acc.len() == x.len(), "lengths {} and {}", acc.len(), x.len());
        for_chunks(self.make_mut(acc), 1, |range, acc| {
            let x = &x[range];
            vectorized(move || acc.iter_mut().zip(x).for_each(|(acc, &x)| *acc += x));
        });
    }

    fn activate(&self, f: Activation, order: u32, x: &Self::Buffer) -> Self::Buffer {
        with_derivative(f, order, Plain { cpu: self, x })
    }

    fn activate_mul(&self, f: Activation, order: u32, x: &Self::Buffer, y: &Self::Buffer) -> Self::Buffer {
        with_derivative(f, order, Scaled { cpu: self, x, y })
    }

    fn lower_bound(&self, x: &Self::Buffer, bound: f64) -> Self::Buffer {
        let bound = R::from_f64(bound);
        self.map(x, move |x| if x < bound { bound } else { x })
    }

    fn lower_bound_grad(&self, x: &Self::Buffer, y: &Self::Buffer, bound: f64) -> Self::Buffer {
        let bound = R::from_f64(bound);
        self.map_pair(x, y, move |x, y| if x < bound && y > R::ZERO { R::ZERO } else { y })
    }

    fn gate(&self, gate: Gate<'_, Self::Buffer>) -> Self::Buffer {
        let Gate { x, slope, y, positive } = gate;
        let positive = R::from_f64(positive);
        assert!(x.len() == y.len(), "lengths {} and {}", x.len(), y.len());
        let slopes = &tile(slope)[..];
        let mut z = self.take(x.len());
        for_chunks(&mut z, slopes.len(), |range, z| {
            let (x, y) = (&x[range.clone()], &y[range]);
            vectorized(move || {
                let width = slopes.len();
                for ((z, x), y) in z.chunks_mut(width).zip(x.chunks(width)).zip(y.chunks(width)) {
                    for (((z, &x), &y), &slope) in z.iter_mut().zip(x).zip(y).zip(slopes) {
                        *z = y * if x <= R::ZERO { slope } else { positive };
                    }
                }
            });
        });
        self.wrap(z)
    }
}

/// What to do with a derivative once it is chosen: generic, so that every loop is compiled for its function.
trait Consumer<R: Real> {
    fn run(self, derivative: impl Fn(R) -> R + Sync + Copy) -> CpuBuffer<R>;
}

struct Plain<'a, R: Real> {
    cpu: &'a Cpu<R>,
    x: &'a [R],
}
impl<R: Real> Consumer<R> for Plain<'_, R> {
    fn run(self, derivative: impl Fn(R) -> R + Sync + Copy) -> CpuBuffer<R> {
        self.cpu.map(self.x, derivative)
    }
}

struct Scaled<'a, R: Real> {
    cpu: &'a Cpu<R>,
    x: &'a [R],
    y: &'a [R],
}
impl<R: Real> Consumer<R> for Scaled<'_, R> {
    fn run(self, derivative: impl Fn(R) -> R + Sync + Copy) -> CpuBuffer<R> {
        self.cpu.map_pair(self.x, self.y, move |x, y| y * derivative(x))
    }
}

/// The table of derivatives. Comparisons are written so that NaN goes through.
fn with_derivative<R: Real>(f: Activation, order: u32, to: impl Consumer<R>) -> CpuBuffer<R> {
    let c = R::from_f64;
    let (zero, one, two, four) = (R::ZERO, R::ONE, c(2.0), c(4.0));
    let a = match f {
        Activation::LeakyRelu { slope: a } | Activation::Elu { alpha: a } => c(a),
        _ => zero,
    };
    match (f, order) {
        (Activation::Relu, 0) => to.run(move |x| if x <= zero { zero } else { x }),
        (Activation::Relu, 1) => to.run(move |x| if x <= zero { zero } else { one }),

        (Activation::LeakyRelu { .. }, 0) => to.run(move |x| if x <= zero { a * x } else { x }),
        (Activation::LeakyRelu { .. }, 1) => to.run(move |x| if x <= zero { a } else { one }),

        (Activation::Elu { .. }, 0) => to.run(move |x| if x <= zero { a * x.exp_m1() } else { x }),
        (Activation::Elu { .. }, 1) => to.run(move |x| if x <= zero { a * x.exp() } else { one }),
        (Activation::Elu { .. }, 2) => to.run(move |x| if x <= zero { a * x.exp() } else { zero }),

        (Activation::Sigmoid, 0) => to.run(sigmoid),
        (Activation::Sigmoid, 1) => to.run(move |x| sigmoid(x) * sigmoid(-x)),
        (Activation::Sigmoid, 2) => to.run(move |x| sigmoid(x) * sigmoid(-x) * (one - two * sigmoid(x))),

        (Activation::Tanh, 0) => to.run(R::tanh),
        (Activation::Tanh, 1) => to.run(move |x| one - x.tanh() * x.tanh()),
        (Activation::Tanh, 2) => to.run(move |x| -two * x.tanh() * (one - x.tanh() * x.tanh())),

        (Activation::Abs, 0) => to.run(R::abs),
        (Activation::Abs, 1) => to.run(move |x| {
            if x > zero {
                one
            } else if x < zero {
                -one
            } else {
                x
            }
        }),

        (Activation::Square, 0) => to.run(move |x| x * x),
        (Activation::Square, 1) => to.run(move |x| two * x),
        (Activation::Square, 2) => to.run(move |_| two),

        (Activation::Exp, 0..=2) => to.run(R::exp),

        (Activation::Sqrt, 0) => to.run(R::sqrt),
        (Activation::Sqrt, 1) => to.run(move |x| one / (two * x.sqrt())),
        (Activation::Sqrt, 2) => to.run(move |x| -one / (four * x * x.sqrt())),

        (Activation::Recip, 0) => to.run(move |x| one / x),
        (Activation::Recip, 1) => to.run(move |x| -one / (x * x)),
        (Activation::Recip, 2) => to.run(move |x| two / (x * x * x)),

        (Activation::Softplus, 0) => to.run(R::softplus),
        (Activation::Softplus, 1) => to.run(sigmoid),
        (Activation::Softplus, 2) => to.run(move |x| sigmoid(x) * sigmoid(-x)),

        (Activation::Relu | Activation::LeakyRelu { .. } | Activation::Abs, 2) => to.run(move |_| zero),
        _ => panic!("{f:?} has derivatives up to order 2, not {order}"),
    }
}

/// 1 / (1 + e^-x), without overflow on either side.
#[inline(always)]
fn sigmoid<R: Real>(x: R) -> R {
    let small = (-x.abs()).exp();
    (if x < R::ZERO { small } else { R::ONE }) / (R::ONE + small)
}
