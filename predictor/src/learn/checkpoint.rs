//! What is kept of a fit after each epoch, so that it can go on: a safetensors file.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::fit::Epoch;
use crate::head::{Layer, Shape};

/// A fit between two epochs. The optimiser's moments are not in it; [`mod@super::fit`] says why.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Checkpoint {
    /// The epochs that are done.
    pub(super) epochs: Vec<Epoch>,
    /// How far the random numbers were used.
    pub(super) word_pos: u128,
    /// The order of the rows in the last epoch, from which the next is shuffled.
    pub(super) order: Vec<u32>,
    /// The weights.
    pub(super) layers: Vec<Layer>,
    /// The weights of the best epoch.
    pub(super) best_layers: Vec<Layer>,
}

/// Why a fit could not be kept or taken up again.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be written or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no checkpoint.
    #[error("{}: no interrupted fit is in it: {detail}; remove it to begin anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
}

/// Names of what stands beside the tensors.
const DIGEST: &str = "digest";
const EPOCHS: &str = "epochs";
const WORD_POS: &str = "word_pos";

impl Checkpoint {
    /// Writes it. The file appears whole or not at all.
    pub(super) fn write(&self, path: &Path, digest: &str) -> Result<(), CheckpointError> {
        let io = |source| CheckpointError::Io {
            path: path.to_owned(),
            source,
        };
        let other = |detail: String| io(io::Error::other(detail));
        let epochs = serde_json::to_string(&self.epochs).map_err(|e| other(e.to_string()))?;
        let beside = HashMap::from([
            (DIGEST.to_owned(), digest.to_owned()),
            (EPOCHS.to_owned(), epochs),
            (WORD_POS.to_owned(), self.word_pos.to_string()),
        ]);
        let order: Vec<u8> = self.order.iter().flat_map(|n| n.to_le_bytes()).collect();
        let mut parts = vec![(
            "order".to_owned(),
            Dtype::U32,
            vec![self.order.len()],
            order,
        )];
        for (of, layers) in [("", &self.layers), ("best.", &self.best_layers)] {
            for (i, layer) in layers.iter().enumerate() {
                let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
                let shape = vec![layer.outputs, layer.inputs];
                let weights = bytes(&layer.weights);
                parts.push((format!("{of}{i}.weight"), Dtype::F32, shape, weights));
                let bias = bytes(&layer.bias);
                parts.push((
                    format!("{of}{i}.bias"),
                    Dtype::F32,
                    vec![layer.outputs],
                    bias,
                ));
            }
        }
        let mut views = Vec::with_capacity(parts.len());
        for (name, dtype, shape, bytes) in &parts {
            let view = TensorView::new(*dtype, shape.clone(), bytes);
            views.push((name.as_str(), view.map_err(|e| other(e.to_string()))?));
        }
        let file = safetensors::serialize(views, Some(beside));
        let partial = path.with_extension("partial");
        fs::write(&partial, file.map_err(|e| other(e.to_string()))?).map_err(io)?;
        fs::rename(&partial, path).map_err(io)
    }

    /// Reads it; `None` where there is none, or one of other rows, another shape or other options.
    pub(super) fn read(
        path: &Path,
        digest: &str,
        shape: &Shape,
    ) -> Result<Option<Self>, CheckpointError> {
        let file = match fs::read(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                let path = path.to_owned();
                return Err(CheckpointError::Io { path, source });
            }
        };
        Self::parse(&file, digest, shape).map_err(|detail| CheckpointError::Damaged {
            path: path.to_owned(),
            detail,
        })
    }

    fn parse(file: &[u8], digest: &str, shape: &Shape) -> Result<Option<Self>, String> {
        let (_, header) = SafeTensors::read_metadata(file).map_err(|e| e.to_string())?;
        let tensors = SafeTensors::deserialize(file).map_err(|e| e.to_string())?;
        let beside = |name: &str| {
            let values = header.metadata().as_ref();
            let value = values.and_then(|values| values.get(name));
            value.ok_or_else(|| format!("it has no {name}"))
        };
        if beside(DIGEST)? != digest {
            return Ok(None);
        }
        let words = |name: &str, count: usize| {
            let view = tensors.tensor(name).map_err(|e| e.to_string())?;
            let (words, _) = view.data().as_chunks::<4>();
            if words.len() == count {
                Ok(words.to_vec())
            } else {
                Err(format!("{name} has {} values, not {count}", words.len()))
            }
        };
        let floats = |name: &str, count: usize| {
            let words = words(name, count)?;
            Ok::<_, String>(words.into_iter().map(f32::from_le_bytes).collect())
        };
        let layers = |of: &str| {
            let layer = |(i, (outputs, inputs)): (usize, (usize, usize))| {
                Ok(Layer {
                    outputs,
                    inputs,
                    weights: floats(&format!("{of}{i}.weight"), outputs * inputs)?,
                    bias: floats(&format!("{of}{i}.bias"), outputs)?,
                })
            };
            let sizes = shape.layers().into_iter().enumerate();
            sizes.map(layer).collect::<Result<Vec<_>, String>>()
        };
        let rows = tensors.tensor("order").map_err(|e| e.to_string())?;
        let order = words("order", rows.shape().iter().product())?;
        Ok(Some(Self {
            epochs: serde_json::from_str(beside(EPOCHS)?).map_err(|e| e.to_string())?,
            word_pos: beside(WORD_POS)?
                .parse()
                .map_err(|_| "word_pos is no number")?,
            order: order.into_iter().map(u32::from_le_bytes).collect(),
            layers: layers("")?,
            best_layers: layers("best.")?,
        }))
    }
}
