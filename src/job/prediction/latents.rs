//! Latent symbols of a tile as bytes: by themselves, and with hyper-latents that tell their scales, where that is shorter.

use crate::backend::Cpu;
use crate::codec::{self, CodecError, HyperLatents, LatentShape};
use crate::model::integer::{Quantization, SYMBOL_MAX};
use crate::model::{IntegerDecoder, ModelError, Shape, TrainedModel, hyper};

use super::super::device::EncodeHyper;
use super::super::{Context, JobError};
use super::{at_once, exact};

/// Hyper-latent symbols to the scales of latent symbols: the reader's half of a hyperprior.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scales {
    pub decoder: IntegerDecoder,
}

impl Scales {
    /// Of a model with a hyperprior, if that has an exact form. Collective.
    ///
    /// Errors: of quantizing, but [`ModelError::NotExact`]: the model does its work without.
    pub fn of_model(
        ctx: &Context,
        (model, encode): (&TrainedModel, Option<&EncodeHyper>),
        how: &Quantization,
    ) -> Result<Option<Self>, JobError> {
        let Some((hyper, encode)) = model.graph.hyper.as_ref().zip(encode) else { return Ok(None) };
        let calibration = &hyper_symbols(encode, model.graph.latent(), how.calibration);
        match exact(model, &hyper.decoder, &Quantization { step: 1.0, calibration, ..*how }) {
            Err(error @ ModelError::NotExact { .. }) => {
                let names = model.variables.join(", ");
                ctx.report.log(format_args!("compress {names}: hyper-latents are left out: {error}"));
                Ok(None)
            }
            decoder => Ok(Some(Self { decoder: decoder? })),
        }
    }

    /// Extents of the hyper-latents of so many steps.
    fn shape(&self, steps: usize) -> LatentShape {
        let latent = self.decoder.latent();
        LatentShape { steps, cells: latent.points(), channels: latent.channels }
    }

    /// A magnitude for every latent symbol; `None` of hyper-latents that are none of its.
    fn of(&self, symbols: &[i32]) -> Option<Vec<u16>> {
        let fit = symbols.iter().all(|q| q.unsigned_abs() <= SYMBOL_MAX.unsigned_abs());
        let together = self.decoder.latent().len() * at_once(self.decoder.sample());
        let told = |symbols| {
            let p = self.decoder.decode(&Cpu::<f64>::new(), symbols);
            hyper::magnitudes(codec::HYPER_UNIT, p.into_iter())
        };
        fit.then(|| symbols.chunks(together).flat_map(told).collect())
    }
}

/// Symbols of hyper-latents of symbols of latents.
pub(super) fn hyper_symbols(encode: &EncodeHyper, latent: Shape, symbols: &[i32]) -> Vec<i32> {
    symbols.chunks(latent.len() * at_once(latent)).flat_map(encode).collect()
}

/// The coded latents of a tile.
#[derive(Debug, Clone)]
pub(in super::super) struct Latents {
    alone: Vec<u8>,
    /// With hyper-latents, if that is shorter.
    under: Option<Vec<u8>>,
}

impl Latents {
    /// Codes symbols; `hyper`: the reader's half of a hyperprior, and what its encoder makes of them.
    pub(super) fn encode(symbols: &[i32], shape: LatentShape, hyper: Option<(&Scales, Vec<i32>)>) -> Self {
        let alone = codec::encode_latent(symbols, shape);
        let under = hyper.map(|(scales, w)| {
            let told = scales.of(&w).expect("symbols of the hyper-latents are cut");
            codec::encode_latent_under(
                symbols,
                shape,
                HyperLatents { shape: scales.shape(shape.steps), symbols: &w, scales: &told },
            )
        });
        Self { under: under.filter(|under| under.len() < alone.len()), alone }
    }

    /// Its parts, one or two.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&self.alone[..]).chain(self.under.as_deref())
    }

    /// Of these parts; `None` without one.
    pub fn of_parts<'p>(mut parts: impl Iterator<Item = &'p [u8]>) -> Option<Self> {
        Some(Self { alone: parts.next()?.to_vec(), under: parts.next().map(<[u8]>::to_vec) })
    }

    /// Bytes; `hyper`: whether the archive has the decoder of hyper-latents.
    pub fn len(&self, hyper: bool) -> usize {
        self.under.as_ref().filter(|_| hyper).unwrap_or(&self.alone).len()
    }

    /// The bytes that go into the archive.
    pub fn choose(self, hyper: bool) -> Vec<u8> {
        self.under.filter(|_| hyper).unwrap_or(self.alone)
    }
}

/// What [`Latents::choose`] gave, as symbols.
///
/// Errors: a damaged stream.
pub(super) fn decode(bytes: &[u8], shape: LatentShape, scales: Option<&Scales>) -> Result<Vec<i32>, CodecError> {
    match scales {
        Some(scales) => {
            let told = |symbols: &[i32]| scales.of(symbols);
            codec::decode_latent_under(bytes, shape, Some((scales.shape(shape.steps), &told)))
        }
        None => codec::decode_latent(bytes, shape),
    }
}
