//! The file of a trained model.
//!
//! ```text
//! format            "sci-hpc model 1"            arithmetic     "f32": how it was trained and encodes
//! graph             JSON, the op list            variables      JSON, names of the channels
//! weights/NAME      f32, shapes of the table     scales/NAME    f32, max |weight| / 127: symmetric 8 bits, zero point 0
//! window            JSON, cells and halo of the boxes of a field that it sees
//! normalizer/scale, scope, units (JSON), mean, std (f32), mask (u8, 1 = valid in training)
//! digest            BLAKE3 over all the entries above
//! ```

use std::path::Path;

use super::{Autoencoder, Graph, ModelError, Shape};
use crate::archive::{Tree, tree::Entry};
use crate::backend::Backend;
use crate::config::{Normalize, Scale};
use crate::dataset::{Normalizer, Window};

/// First entry of every model file.
pub const FORMAT: &str = "sci-hpc model 1";
/// Largest 8-bit integer of a symmetric scale.
const SCALE_MAX: f32 = 127.0;

/// Everything that using a trained model takes.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainedModel {
    /// The op list.
    pub graph: Graph,
    /// Flat parameters, laid out by the graph's table.
    pub params: Vec<f32>,
    /// Physical to normalized units.
    pub normalizer: Normalizer,
    /// Names of the channels.
    pub variables: Vec<String>,
    /// What it sees of a field.
    pub window: Window,
}

impl TrainedModel {
    /// Writes the file (temporary name, fsync, rename); call it on one rank. Returns the digest.
    ///
    /// Errors: [`ModelError::Archive`].
    pub fn write(&self, path: &Path) -> Result<String, ModelError> {
        let mut tree = self.tree();
        let digest = digest_of(&tree);
        tree.put_text("digest", &digest);
        tree.write(path)?;
        Ok(digest)
    }

    /// Reads a file, and checks its digest and every shape.
    ///
    /// Errors: [`ModelError::Archive`], [`ModelError::Damaged`], [`ModelError::OtherFormat`], and what
    /// [`Graph::check`] finds.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let tree = Tree::read_own(path)?;
        let format = tree.text("format")?;
        if format != FORMAT {
            let (path, found) = (path.into(), format.into());
            return Err(ModelError::OtherFormat { path, expected: FORMAT, found });
        }
        if tree.text("digest")? != digest_of(&tree) {
            return Err(ModelError::Damaged { path: path.into() });
        }
        let graph: Graph = tree.json("graph")?;
        graph.check()?;
        let mut params = Vec::with_capacity(graph.params.len());
        for spec in graph.params.specs() {
            params.extend_from_slice(tree.shaped::<f32>(&format!("weights/{}", spec.name), &spec.shape)?);
        }
        let normalizer = read_normalizer(&tree, graph.sample())?;
        let window: Window = tree.json("window")?;
        if !window.makes(graph.sample().grid) {
            return Err(ModelError::Damaged { path: path.into() });
        }
        Ok(Self { normalizer, variables: tree.json("variables")?, window, graph, params })
    }

    /// Whether it can see fields of this grid through its window. Statistics of every voxel belong to one grid.
    pub fn fits(&self, field: [usize; 3]) -> bool {
        let grid = self.graph.sample().grid;
        self.window.grid(field) == grid && (self.normalizer.scope == Normalize::Global || grid == field)
    }

    /// BLAKE3 over the contents, hexadecimal: what an archive that shares a model file names.
    pub fn digest(&self) -> String {
        digest_of(&self.tree())
    }

    /// The model on a device.
    ///
    /// Errors: [`ModelError::ParamCount`].
    pub fn on<B: Backend>(&self, backend: &B) -> Result<Autoencoder<B>, ModelError> {
        Autoencoder::new(backend.clone(), self.graph.clone(), &self.params)
    }

    fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        tree.put_text("format", FORMAT);
        tree.put_text("arithmetic", "f32");
        tree.put_json("graph", &self.graph);
        tree.put_json("variables", &self.variables);
        tree.put_json("window", &self.window);
        for spec in self.graph.params.specs() {
            let values = &self.params[spec.range()];
            let largest = values.iter().fold(0f32, |largest, v| largest.max(v.abs()));
            tree.put(&format!("weights/{}", spec.name), &spec.shape, values.to_vec());
            tree.put(&format!("scales/{}", spec.name), &[], vec![largest / SCALE_MAX]);
        }
        let normalizer = &self.normalizer;
        let shape = statistics_shape(normalizer.mean.len(), self.graph.sample());
        tree.put_json("normalizer/scale", &normalizer.scale);
        tree.put_json("normalizer/scope", &normalizer.scope);
        tree.put_json("normalizer/units", &normalizer.units);
        tree.put("normalizer/mean", &shape, normalizer.mean.clone());
        tree.put("normalizer/std", &shape, normalizer.std.clone());
        let mask: Vec<u8> = normalizer.mask.iter().map(|&valid| u8::from(valid)).collect();
        tree.put("normalizer/mask", &sample_shape(self.graph.sample()), mask);
        tree
    }
}

fn sample_shape(sample: Shape) -> Vec<usize> {
    let [d, h, w] = sample.grid;
    vec![d, h, w, sample.channels]
}

/// Per voxel `(d, h, w, c)`, or per channel `(c)`.
fn statistics_shape(len: usize, sample: Shape) -> Vec<usize> {
    if len == sample.channels { vec![len] } else { sample_shape(sample) }
}

fn read_normalizer(tree: &Tree, sample: Shape) -> Result<Normalizer, ModelError> {
    let (_, mean) = tree.get::<f32>("normalizer/mean")?;
    let shape = statistics_shape(mean.len(), sample);
    let mask = tree.shaped::<u8>("normalizer/mask", &sample_shape(sample))?;
    // Models of before scales have none.
    let scale = if tree.contains("normalizer/scale") { tree.json("normalizer/scale")? } else { Scale::None };
    Ok(Normalizer {
        scale,
        scope: tree.json("normalizer/scope")?,
        grid: sample.grid,
        mean: tree.shaped::<f32>("normalizer/mean", &shape)?.to_vec(),
        std: tree.shaped::<f32>("normalizer/std", &shape)?.to_vec(),
        mask: mask.iter().map(|&valid| valid != 0).collect(),
        units: tree.json("normalizer/units")?,
    })
}

/// Over paths, types, shapes and bytes of all entries but the digest itself.
fn digest_of(tree: &Tree) -> String {
    let mut hash = blake3::Hasher::new();
    for (path, entry) in tree.entries().filter(|(path, _)| *path != "digest") {
        hash.update(path.as_bytes()).update(&[0]);
        match entry {
            Entry::Text(text) => hash.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes()),
            Entry::Array { shape, values } => {
                shape.iter().for_each(|&extent| {
                    hash.update(&(extent as u64).to_le_bytes());
                });
                hash.update(values.element().name().as_bytes()).update(values.bytes())
            }
        };
    }
    hash.finalize().to_hex().to_string()
}
