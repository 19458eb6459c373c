//! One pass over the flat buffers.

use rayon::prelude::*;

use super::{Adam, Moments, Optimize, RmsProp};
use crate::backend::chunk::{for_chunks, vectorized};
use crate::backend::{Cpu, Real};

/// Parameters per task.
const CHUNK_LEN: usize = 1 << 13;

impl<R: Real> Optimize for Cpu<R> {
    fn adam(
        &self,
        params: &mut Self::Buffer,
        gradient: &Self::Buffer,
        moments: &mut Moments<Self::Buffer>,
        adam: &Adam,
    ) {
        let len = gradient.len();
        assert!([moments.first.len(), moments.second.len()] == [len; 2], "moments as long as the gradient: {len}");
        assert!(params.len() >= len, "{} parameters, {len} derivatives", params.len());
        moments.steps += 1;
        let [beta1, grow1, beta2, grow2, step, root2, epsilon, keep] = adam.factors::<R>(moments.steps);

        let first = self.make_mut(&mut moments.first).par_chunks_mut(CHUNK_LEN);
        let second = self.make_mut(&mut moments.second).par_chunks_mut(CHUNK_LEN);
        let params = self.make_mut(params)[..len].par_chunks_mut(CHUNK_LEN);
        params.zip(first).zip(second).zip(gradient.par_chunks(CHUNK_LEN)).for_each(|(((p, m), v), g)| {
            vectorized(move || {
                for (((p, m), v), &g) in p.iter_mut().zip(m).zip(v).zip(g) {
                    *m = beta1 * *m + grow1 * g;
                    *v = beta2 * *v + grow2 * g * g;
                    *p = keep * *p - step * *m / (v.sqrt() / root2 + epsilon);
                }
            });
        });
    }

    fn rmsprop(
        &self,
        params: &mut Self::Buffer,
        gradient: &Self::Buffer,
        squares: &mut Self::Buffer,
        rmsprop: &RmsProp,
    ) {
        let len = gradient.len();
        assert!(squares.len() == len && params.len() >= len, "{} parameters, {len} derivatives", params.len());
        let [alpha, grow, rate, epsilon, keep] = rmsprop.factors::<R>();
        let squares = self.make_mut(squares).par_chunks_mut(CHUNK_LEN);
        let params = self.make_mut(params)[..len].par_chunks_mut(CHUNK_LEN);
        params.zip(squares).zip(gradient.par_chunks(CHUNK_LEN)).for_each(|((p, v), g)| {
            vectorized(move || {
                for ((p, v), &g) in p.iter_mut().zip(v).zip(g) {
                    *v = alpha * *v + grow * g * g;
                    *p = keep * *p - rate * g / (v.sqrt() + epsilon);
                }
            });
        });
    }

    fn approach(&self, params: &mut Self::Buffer, start: usize, target: &Self::Buffer, rate: f64) {
        let rate = R::from_f64(rate);
        let params = &mut self.make_mut(params)[start..start + target.len()];
        params.iter_mut().zip(&target[..]).for_each(|(p, &t)| *p += rate * (t - *p));
    }

    fn sgd(&self, params: &mut Self::Buffer, gradient: &Self::Buffer, rate: f64) {
        assert!(params.len() == gradient.len(), "lengths {} and {}", params.len(), gradient.len());
        let rate = R::from_f64(rate);
        for_chunks(self.make_mut(params), 1, |range, p| {
            vectorized(move || p.iter_mut().zip(&gradient[range]).for_each(|(p, &g)| *p -= rate * g));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Buffers;

    /// Two steps by hand: torch.optim.Adam(lr=0.1) on p = 1, gradients 0.5 and -0.25, gives 0.9 and 0.8733662.
    #[test]
    fn adam_two_steps_equal_the_published_formula() {
        let cpu = Cpu::<f64>::new();
        let mut params = cpu.upload(&[1.0]);
        let mut moments = Moments { first: cpu.zeros(1), second: cpu.zeros(1), steps: 0 };
        let old = params.clone();
        cpu.adam(&mut params, &cpu.upload(&[0.5]), &mut moments, &Adam::new(0.1));
        assert!((params[0] - 0.9).abs() < 1e-8);
        cpu.adam(&mut params, &cpu.upload(&[-0.25]), &mut moments, &Adam::new(0.1));
        let m = (0.9 * 0.05 - 0.1 * 0.25) / (1.0 - 0.81);
        let v: f64 = (0.999 * 0.00025 + 0.001 * 0.0625) / (1.0 - 0.999 * 0.999);
        assert!((params[0] - (0.9 - 0.1 * m / (v.sqrt() + 1e-8))).abs() < 1e-8);
        assert_eq!(old[0], 1.0, "earlier views keep the old values");
    }
}
