//! Launchers of kernels/optimize.cu.

use super::{Adam, Moments, Optimize, RmsProp};
use crate::backend::Buffers;
use crate::backend::gpu::source::OPTIMIZE;
use crate::backend::gpu::{Argument, Driver, Element, Gpu};

impl<D: Driver, R: Element> Optimize for Gpu<D, R> {
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
        let factors: [R; 8] = adam.factors(moments.steps);
        [&mut moments.first, &mut moments.second, &mut *params].into_iter().for_each(|buffer| self.make_mut(buffer));
        let updated = [&moments.first, &moments.second, params].map(|buffer| buffer.write());
        let [first, second, params] = updated;
        self.launch_flat(&OPTIMIZE, "adam", len, &[gradient.read(), Argument::record(&factors), first, second, params]);
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
        let factors: [R; 5] = rmsprop.factors();
        [&mut *squares, &mut *params].into_iter().for_each(|buffer| self.make_mut(buffer));
        let arguments = [gradient.read(), Argument::record(&factors), squares.write(), params.write()];
        self.launch_flat(&OPTIMIZE, "rmsprop", len, &arguments);
    }

    fn approach(&self, params: &mut Self::Buffer, start: usize, target: &Self::Buffer, rate: f64) {
        self.make_mut(params);
        let part = self.view(params, start..start + target.len());
        let arguments = [target.read(), R::argument(rate), part.write()];
        self.launch_flat(&OPTIMIZE, "approach", target.len(), &arguments);
    }

    fn sgd(&self, params: &mut Self::Buffer, gradient: &Self::Buffer, rate: f64) {
        assert!(params.len() == gradient.len(), "lengths {} and {}", params.len(), gradient.len());
        self.make_mut(params);
        let arguments = [gradient.read(), R::argument(rate), params.write()];
        self.launch_flat(&OPTIMIZE, "descend", params.len(), &arguments);
    }
}
