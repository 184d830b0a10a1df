//! A head in a file: its weights as safetensors, the rest as the JSON of [`Shape`].

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{Head, Layer, Shape};

/// What is wrong with a head.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no safetensors file.
    #[error("{}: no head is in it: {detail}; train it again or fetch a whole copy", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        detail: String,
    },
    /// A tensor is missing or is not what the head's description says.
    #[error("tensor {name}: {problem}; weights and description are not of one head")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The description contradicts itself.
    #[error("the head's description is impossible: {0}")]
    Shape(&'static str),
}

fn tensor(name: &str, problem: impl Into<String>) -> HeadError {
    HeadError::Tensor {
        name: name.to_owned(),
        problem: problem.into(),
    }
}

/// Outputs and inputs of the layers of all members, in the order in which they are numbered.
fn all_layers(shape: &Shape) -> Vec<(usize, usize)> {
    shape.layers().repeat(shape.spec.members)
}

/// Whether the parts of a head belong together.
pub(super) fn check(
    shape: &Shape,
    mean: &[f32],
    scale: &[f32],
    layers: &[Layer],
) -> Result<(), HeadError> {
    if shape.width() == 0 {
        return Err(HeadError::Shape("it looks at nothing"));
    }
    if shape.spec.hidden.contains(&0) {
        return Err(HeadError::Shape("a hidden layer has no width"));
    }
    if shape.bins.as_ref().is_some_and(|bins| !bins.is_sound()) {
        return Err(HeadError::Shape("its bins do not rise"));
    }
    if shape.spec.members == 0 {
        return Err(HeadError::Shape("it has no members"));
    }
    let expected = all_layers(shape);
    if layers.len() != expected.len() {
        return Err(HeadError::Shape("it has another number of layers"));
    }
    let width = shape.width();
    let sized = |name: &str, values: &[f32], size: usize| {
        if values.len() != size {
            let problem = format!("{} values where {size} belong", values.len());
            return Err(tensor(name, problem));
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(tensor(name, format!("value {at} is not a finite number"))),
            None => Ok(()),
        }
    };
    sized("mean", mean, width)?;
    sized("scale", scale, width)?;
    for (i, (layer, (outputs, inputs))) in layers.iter().zip(expected).enumerate() {
        sized(&format!("{i}.weight"), &layer.weights, outputs * inputs)?;
        sized(&format!("{i}.bias"), &layer.bias, outputs)?;
    }
    Ok(())
}

impl Head {
    /// Writes the weights. The file appears whole or not at all.
    ///
    /// # Errors
    ///
    /// [`HeadError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), HeadError> {
        let io = |source| HeadError::Io {
            path: path.to_owned(),
            source,
        };
        let bytes = |values: &[f32]| -> Vec<u8> {
            values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect()
        };
        let width = self.shape.width();
        let mut parts = vec![
            ("mean".to_owned(), vec![width], bytes(&self.mean)),
            ("scale".to_owned(), vec![width], bytes(&self.scale)),
        ];
        for (i, layer) in self.layers.iter().enumerate() {
            let shape = vec![layer.outputs, layer.inputs];
            parts.push((format!("{i}.weight"), shape, bytes(&layer.weights)));
            parts.push((format!("{i}.bias"), vec![layer.outputs], bytes(&layer.bias)));
        }
        let mut views = Vec::new();
        for (name, shape, bytes) in &parts {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes)
                .map_err(|e| tensor(name, e.to_string()))?;
            views.push((name.as_str(), view));
        }
        let file = safetensors::serialize(views, None).map_err(|e| io(io::Error::other(e)))?;
        let partial = path.with_extension("partial");
        fs::write(&partial, file).map_err(io)?;
        fs::rename(&partial, path).map_err(io)
    }

    /// Reads the weights of a head of that shape.
    ///
    /// # Errors
    ///
    /// Every [`HeadError`]: the file is missing, damaged, or that of another head.
    pub fn load(path: &Path, shape: Shape) -> Result<Self, HeadError> {
        let file = fs::read(path).map_err(|source| HeadError::Io {
            path: path.to_owned(),
            source,
        })?;
        let tensors = SafeTensors::deserialize(&file).map_err(|e| HeadError::Damaged {
            path: path.to_owned(),
            detail: e.to_string(),
        })?;
        let known: HashMap<&str, TensorView<'_>> = tensors.iter().collect();
        let read = |name: &str| {
            let view = known
                .get(name)
                .ok_or_else(|| tensor(name, "it is missing"))?;
            if view.dtype() != Dtype::F32 {
                return Err(tensor(
                    name,
                    format!("{:?} where F32 belongs", view.dtype()),
                ));
            }
            let (values, _) = view.data().as_chunks();
            Ok(values
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect())
        };
        let layer = |(i, (outputs, inputs)): (usize, (usize, usize))| {
            Ok(Layer {
                outputs,
                inputs,
                weights: read(&format!("{i}.weight"))?,
                bias: read(&format!("{i}.bias"))?,
            })
        };
        let layers = all_layers(&shape).into_iter().enumerate().map(layer);
        let layers = layers.collect::<Result<Vec<_>, HeadError>>()?;
        Self::new(shape, read("mean")?, read("scale")?, layers)
    }
}
