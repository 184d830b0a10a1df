//! The tensors of a safetensors file, checked: there, of the right shape, and all numbers.

use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use super::EncoderError;

/// The tensors of a file that is in memory.
pub(super) struct Weights<'a> {
    tensors: SafeTensors<'a>,
    /// Checkpoints of models with a head put the encoder's names behind this.
    prefix: &'static str,
}

impl<'a> Weights<'a> {
    pub(super) fn parse(path: &Path, bytes: &'a [u8]) -> Result<Self, EncoderError> {
        let tensors =
            SafeTensors::deserialize(bytes).map_err(|source| EncoderError::Safetensors {
                path: path.to_owned(),
                source,
            })?;
        let behind = tensors.names().iter().any(|n| n.starts_with("bert."));
        let prefix = if behind { "bert." } else { "" };
        Ok(Self { tensors, prefix })
    }

    /// What a tensor is called in the file.
    pub(super) fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A tensor as 32-bit floats, row-major.
    pub(super) fn take(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, EncoderError> {
        let name = self.full_name(name);
        let Ok(view) = self.tensors.tensor(&name) else {
            return Err(EncoderError::MissingTensor { name });
        };
        if view.shape() != shape {
            return Err(EncoderError::WrongShape {
                name,
                expected: shape.to_vec(),
                found: view.shape().to_vec(),
            });
        }
        let data = view.data();
        let values: Vec<f32> = match view.dtype() {
            Dtype::F32 => data
                .as_chunks()
                .0
                .iter()
                .map(|&b| f32::from_le_bytes(b))
                .collect(),
            Dtype::F16 => {
                let halves = data.as_chunks().0.iter();
                halves.map(|&b| f16::from_le_bytes(b).to_f32()).collect()
            }
            Dtype::BF16 => {
                let halves = data.as_chunks().0.iter();
                halves.map(|&b| bf16::from_le_bytes(b).to_f32()).collect()
            }
            other => {
                let dtype = format!("{other:?}");
                return Err(EncoderError::WrongType { name, dtype });
            }
        };
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(EncoderError::NotFinite {
                name,
                index,
                value: values[index],
            }),
            None => Ok(values),
        }
    }
}
