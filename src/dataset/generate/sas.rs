//! Generator `sas`: images of small-angle scattering as a detector counts them, as an HDF5 file of the NXcanSAS kind.
//!
//! ```text
//! Scene (particles of the series) -> Pattern (intensity over q) -> Detector (pixels, blur) -> expected counts -> Poisson
//! ```
//!
//! A step is an image. Each rank makes one image of as many as there are ranks, then they are written one after the other;
//! every number of an image comes from streams of its own, so the ranks do not matter.
//!
//! The file is NetCDF-4, which is HDF5 with named dimensions: this program knows the sample axis by its name, and readers
//! of NeXus find their groups. It differs from NXcanSAS in that `definition` is an attribute, not a text dataset.

use std::f32::consts::LOG10_E;

use serde_json::{Map, Value, json};

use super::scattering::{Detector, MASK_DEAD, MASK_GAP, MASK_STOP, PARAMETERS, Pattern, Scene, poisson};
use super::{Plan, Schedule, Simulation, State, StateLayout};
use crate::archive::{Attributes, Box4, Coordinate, ElementType, FieldSpec, FieldVariable, Values};
use crate::backend::random::{Purpose, Stream};
use crate::config;
use crate::dataset::DatasetError;
use crate::report::figure::{Panel, Slices};
use crate::world::World;

/// What a pixel without counts holds, as in files of Eiger detectors.
const MASKED: u32 = u32::MAX;

/// Name of the counts in the file.
pub const COUNTS: &str = "sasentry/sasdata/I";

/// Operations of an image: 512 values of q, 80 sizes, 60 directions and 60 operations of a form factor.
const FLOPS_PER_IMAGE: u64 = 150_000_000;

/// The generator on one rank.
pub struct Sas {
    detector: Detector,
    images: usize,
    seed: u64,
    mask: Vec<u8>,
    rank: usize,
    step: usize,
    /// Images made since the last one was written, over all ranks, and this rank's.
    batch: std::ops::Range<usize>,
    own: Option<Image>,
    /// The last series, and its counts per 1/cm and pixel at the beam center.
    exposure: Option<(usize, f64)>,
}

/// One image.
struct Image {
    /// (y, x).
    counts: Vec<u32>,
    /// Mean over rings of equal q in 1/cm with the background, and its standard deviation.
    profile: [Vec<f64>; 2],
    /// [`PARAMETERS`], exposure (counts per 1/cm), series.
    parameters: Vec<f64>,
}

/// What the section makes and takes.
pub(super) fn plan(spec: &config::Sas, images: usize) -> Plan {
    let [nx, ny] = spec.pixels;
    Plan {
        variables: vec![COUNTS],
        element: ElementType::U32,
        shape: [images, 1, ny, nx],
        steps: images as u64,
        flops: images as u64 * FLOPS_PER_IMAGE,
        // Expected and counted, rows of the blur, mask.
        bytes_per_rank: (nx * ny * 4 * size_of::<f64>()) as u64,
    }
}

impl Sas {
    /// Before the first image.
    pub fn new(world: &World, spec: &config::Sas, (images, seed): (usize, u64)) -> Self {
        let detector = Detector(spec.clone());
        let mask = detector.mask(seed);
        let rank = world.rank();
        Self { detector, images, seed, mask, rank, step: 0, batch: 0..0, own: None, exposure: None }
    }

    fn scene(&self, image: usize) -> (usize, Scene) {
        let frames = self.detector.0.frames;
        let progress = (image % frames) as f64 / (frames - 1).max(1) as f64;
        (image / frames, Scene::new(&self.detector, self.seed, image / frames, progress))
    }

    /// What an exposure of 1 count per 1/cm counts in every pixel (y, x), without background.
    fn expected(&self, scene: &Scene) -> Vec<f64> {
        let detector = &self.detector;
        let pattern = Pattern::new(&scene.solution, detector.q_max(), detector.0.wavelength_spread);
        let director = [scene.angle.cos(), scene.angle.sin()];
        detector.image(|y, x| {
            let [qx, qy, _] = detector.scattering_vector(y, x);
            let q = detector.q(y, x);
            let cos_psi = if q > 0.0 { (qx * director[0] + qy * director[1]) / q } else { 0.0 };
            pattern.intensity(q, cos_psi) * detector.solid_angle(y, x)
        })
    }

    /// Pixels that count.
    fn good(&self) -> impl Iterator<Item = usize> {
        (0..self.mask.len()).filter(|&i| self.mask[i] == 0)
    }

    /// Counts per 1/cm in a series: such that the image in its middle has the counts of the job file.
    fn exposure(&self, series: usize) -> f64 {
        let expected = self.expected(&Scene::new(&self.detector, self.seed, series, 0.5));
        self.detector.0.counts / self.good().map(|i| expected[i]).sum::<f64>()
    }

    fn image(&self, index: usize, exposure: f64) -> Image {
        let (series, scene) = self.scene(index);
        let expected = self.expected(&scene);
        let stream = Stream::new(self.seed, Purpose::Counts, index as u64, 0);
        let mut counts = vec![MASKED; expected.len()];
        for i in self.good() {
            let block = u32::try_from(i / 2).expect("fewer pixels than 2^32");
            counts[i] = poisson(exposure * expected[i] + self.detector.0.background, stream.uniforms(block)[i % 2]);
        }
        let profile = self.profile(&counts, exposure);
        let mut parameters = scene.parameters().to_vec();
        parameters.extend([exposure, series as f64]);
        Image { counts, profile, parameters }
    }

    fn rings(&self) -> usize {
        self.detector.pixels().into_iter().max().unwrap_or(0) / 2
    }

    /// Centers of rings of equal width up to the corner, 1/angstrom.
    fn ring_centers(&self) -> Vec<f64> {
        (0..self.rings()).map(|i| (i as f64 + 0.5) * self.detector.q_max() / self.rings() as f64).collect()
    }

    /// Σ counts / Σ (exposure · solid angle) over each ring, and √(Σ counts) / Σ (exposure · solid angle); NaN where no
    /// pixel counts.
    fn profile(&self, counts: &[u32], exposure: f64) -> [Vec<f64>; 2] {
        let (mut sums, mut exposures) = (vec![0.0; self.rings()], vec![0.0; self.rings()]);
        let width = self.detector.q_max() / self.rings() as f64;
        let nx = self.detector.0.pixels[0];
        for (i, y, x) in self.good().map(|i| (i, (i / nx) as f64, (i % nx) as f64)) {
            let ring = ((self.detector.q(y, x) / width) as usize).min(self.rings() - 1);
            sums[ring] += f64::from(counts[i]);
            exposures[ring] += exposure * self.detector.solid_angle(y, x);
        }
        let over = |of: fn(f64) -> f64| sums.iter().zip(&exposures).map(|(&n, e)| of(n) / e).collect();
        [over(|n| n), over(f64::sqrt)]
    }
}

impl Simulation for Sas {
    fn describe(&self) -> String {
        let [ny, nx] = self.detector.pixels();
        let [low, high] = self.detector.q_range();
        format!("{} images of {nx} x {ny} pixels, q from {low:.2e} to {high:.2e} 1/angstrom", self.images)
    }

    fn schedule(&self) -> Schedule {
        Schedule { spin_up: 0, between: 1, pause: 1 }
    }

    fn step(&self) -> u64 {
        self.step as u64
    }

    fn advance(&mut self, world: &World) {
        if !self.batch.contains(&self.step) {
            self.batch = self.step..(self.step + world.size()).min(self.images);
            self.own = self.batch.clone().nth(self.rank).map(|index| {
                let series = self.scene(index).0;
                let exposure = self.exposure.filter(|&(known, _)| known == series);
                let (_, exposure) = *self.exposure.insert(exposure.unwrap_or_else(|| (series, self.exposure(series))));
                self.image(index, exposure)
            });
        }
        self.step += 1;
    }

    fn check(&mut self, _: &World) -> Result<(), DatasetError> {
        Ok(())
    }

    fn state_layout(&self) -> StateLayout {
        let region = Box4 { start: [0; 4], len: [usize::from(self.rank == 0), 1, 1, 1] };
        StateLayout { shape: [1; 4], region, about: "images written" }
    }

    fn state(&self) -> State {
        let values = if self.rank == 0 { vec![self.step as f64] } else { Vec::new() };
        State { values, shared: vec![self.step as f64] }
    }

    fn restore(&mut self, _: &World, state: &State) {
        self.step = state.shared[0] as usize;
    }

    fn file(&self) -> FieldSpec {
        let axis = |name: &str, values: Vec<f64>, [units, about]: [&str; 2]| {
            Coordinate::new(name, values, Attributes::texts(&[("units", units), ("long_name", about)]))
        };
        let [ny, nx] = self.detector.pixels();
        let places = |n: usize| (0..n).map(|i| (i as f64 + 0.5) * self.detector.0.pixel_mm).collect();
        let coordinates = [
            axis("image", (0..self.images).map(|i| i as f64).collect(), ["1", "number of the image"]),
            axis("q", self.ring_centers(), ["1/angstrom", "scattering vector at the middle of a ring"]),
            axis("y", places(ny), ["mm", "center of the pixel"]),
            axis("x", places(nx), ["mm", "center of the pixel"]),
        ];
        let texts = Attributes::texts;
        let mut entry = texts(&[("NX_class", "NXentry"), ("canSAS_class", "SASentry"), ("version", "1.1")]);
        entry.put_text("definition", "NXcanSAS");
        entry.put_text("default", "sasdata");
        let data = |axes: &str, indices: Vec<i32>| {
            let mut data =
                texts(&[("NX_class", "NXdata"), ("canSAS_class", "SASdata"), ("signal", "I"), ("I_axes", axes)]);
            data.put_numbers("Q_indices", indices);
            data
        };
        let mut image = data("image,Q,Q", vec![1, 2]);
        image.put_text("mask", "mask");
        let groups = vec![
            ("sasentry".into(), entry),
            ("sasentry/sasdata".into(), image),
            ("sasentry/profile".into(), data("image,Q", vec![1])),
            ("sasentry/parameters".into(), texts(&[("NX_class", "NXcollection")])),
        ];
        let attributes = self.attributes();
        FieldSpec {
            coordinates,
            unlimited: false,
            variables: self.variables(),
            groups,
            attributes,
            ..FieldSpec::default()
        }
    }

    fn region(&self) -> Box4 {
        let image = self.step - 1;
        let own = self.batch.start + self.rank == image;
        let [ny, nx] = self.detector.pixels();
        Box4 { start: [0; 4], len: [usize::from(own), self.rings(), ny, nx] }
    }

    fn snapshot(&self, _: &World) -> Vec<Values> {
        let own = self.own.as_ref().filter(|_| self.region().count() > 0);
        let Some(image) = own else {
            return self.variables().iter().map(|variable| Values::zeros(variable.element, 0)).collect();
        };
        let [ny, nx] = self.detector.pixels();
        let pixels = || (0..ny * nx).map(|i| self.detector.scattering_vector((i / nx) as f64, (i % nx) as f64));
        let [mean, deviation] = image.profile.clone();
        let mut values: Vec<Values> = vec![
            image.counts.clone().into(),
            self.mask.clone().into(),
            pixels().map(|[x, ..]| x).collect::<Vec<f64>>().into(),
            pixels().map(|[_, y, _]| y).collect::<Vec<f64>>().into(),
            self.ring_centers().into(),
            mean.into(),
            deviation.into(),
        ];
        values.extend(image.parameters.iter().map(|&number| vec![number].into()));
        values
    }

    fn picture(&self, world: &World) -> Slices {
        let shown = self.images.min(PICTURES);
        let panels = (0..shown).map(|i| self.panel(world, (i + 1) * self.images / shown - 1)).collect();
        let caption =
            "log10(1 + counts) of some images. Beam stop, gap between modules and dead pixels are blank.".into();
        Slices { title: "Generated scattering".into(), caption, panels, per_row: None }
    }

    fn metrics(&self, _: &World) -> Map<String, Value> {
        let masked = self.mask.len() - self.good().count();
        let told = json!({"mass_error_rel": null, "masked_pixels": masked});
        told.as_object().cloned().unwrap_or_default()
    }
}

/// Images in the report.
const PICTURES: usize = 6;

impl Sas {
    /// The variables of the file, in the order of [`Simulation::snapshot`].
    fn variables(&self) -> Vec<FieldVariable> {
        let variable = |name: &str, [units, about]: [&str; 2], element: ElementType, axes: &[usize]| {
            let mut variable = FieldVariable::new(name, units, about);
            (variable.element, variable.axes) = (element, axes.to_vec());
            variable
        };
        let number = ElementType::F64;
        let mut counts = variable(COUNTS, ["counts", "counts of a pixel"], ElementType::U32, &[0, 2, 3]);
        counts.attributes.put_numbers("_FillValue", vec![MASKED]);
        let mut mask = variable("sasentry/sasdata/mask", ["1", "why a pixel does not count"], ElementType::U8, &[2, 3]);
        mask.attributes.put_numbers("flag_masks", vec![MASK_GAP, MASK_DEAD, MASK_STOP]);
        mask.attributes.put_text("flag_meanings", "gap dead beam_stop");
        let q = |name: &str, about: &str, axes: &[usize]| variable(name, ["1/angstrom", about], number, axes);
        let profile = "mean over a ring with the background, counts over exposure and solid angle";
        let mut variables = vec![
            counts,
            mask,
            q("sasentry/sasdata/Qx", "scattering vector along x", &[2, 3]),
            q("sasentry/sasdata/Qy", "scattering vector along y", &[2, 3]),
            q("sasentry/profile/Q", "scattering vector at the middle of a ring", &[1]),
            variable("sasentry/profile/I", ["1/cm", profile], number, &[0, 1]),
            variable("sasentry/profile/Idev", ["1/cm", "standard deviation of I"], number, &[0, 1]),
        ];
        let own =
            [["exposure", "cm", "counts per 1/cm in a pixel at the beam center"], ["series", "1", "of the image"]];
        for [name, units, about] in PARAMETERS.into_iter().chain(own) {
            variables.push(variable(&format!("sasentry/parameters/{name}"), [units, about], number, &[0]));
        }
        // Named as coordinates of the counts, the others are not fields to be coded: `data.variables: all` is the counts.
        let others: Vec<String> = variables[1..].iter().map(|variable| format!("/{}", variable.name)).collect();
        variables[0].attributes.put_text("coordinates", others.join(" "));
        variables
    }

    fn attributes(&self) -> Attributes {
        let mut attributes = Attributes::texts(&[
            ("NX_class", "NXroot"),
            ("default", "sasentry"),
            ("title", "small-angle scattering of particles in solution"),
            ("source", "sci-hpc generate sas: form factors, orientation, smearing, Poisson counts"),
            ("comment", "synthetic: particles are drawn from a seed"),
        ]);
        let spec = &self.detector.0;
        let [y, x] = self.detector.beam_center();
        let numbers = [
            ("pixel_mm", spec.pixel_mm),
            ("distance_m", spec.distance_m),
            ("wavelength_angstrom", spec.wavelength_angstrom),
            ("wavelength_spread", spec.wavelength_spread),
            ("beam_center_x_pixels", x),
            ("beam_center_y_pixels", y),
            ("background_counts", spec.background),
        ];
        numbers.into_iter().for_each(|(name, number)| attributes.put_numbers(name, vec![number]));
        attributes
    }

    /// One image for the report, made by one rank. Collective.
    fn panel(&self, world: &World, index: usize) -> Panel {
        let (series, scene) = self.scene(index);
        let mine = (index % world.size() == self.rank).then(|| self.image(index, self.exposure(series)).counts);
        let counts = world.all_gather_varied(&mine.unwrap_or_default());
        Panel {
            name: format!("image {index}: {}", scene.solution.shape.form.as_str()),
            unit: "log10".into(),
            x_label: "x (pixels)".into(),
            y_label: "y (pixels)".into(),
            columns: self.detector.0.pixels[0],
            values: counts.into_iter().map(|n| (n != MASKED).then(|| f64::from(n).ln_1p() as f32 * LOG10_E)).collect(),
            range: None,
            diverging: false,
        }
    }
}
