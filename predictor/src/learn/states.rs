//! Hidden states in a file, as a worker writes them down to train a probe on.
//!
//! A safetensors file with `hidden` (F32 or F16, a row for each state), `remaining_tokens` (U32)
//! and `prompt` (U64: the first eight bytes of the SHA-256 of the prompt's text, little-endian),
//! and beside them the name of the model and the number of the layer.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use elis_workloads::responses::Part;
use half::f16;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sha2::{Digest as _, Sha256};

use super::fit::Rows;

/// Hidden states of one layer of one model, with the lengths that were still to come.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct States {
    /// The served model.
    pub model: String,
    /// After which of its layers, from 0.
    pub layer: u32,
    /// Numbers of a state.
    pub dim: usize,
    /// The states, one after the other.
    pub hidden: Vec<f32>,
    /// What was still to come at each of them.
    pub remaining_tokens: Vec<u32>,
    /// The prompt of each, by [`prompt_number`].
    pub prompts: Vec<u64>,
}

/// Why hidden states could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StatesError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds no states.
    #[error(
        "{}: {detail}; hidden states are a safetensors file that a worker wrote",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// Files are of different models, layers or widths.
    #[error("{}: it is of {has}, and what came before of {wanted}", path.display())]
    Mixed {
        /// The file.
        path: PathBuf,
        /// Of what it is.
        has: String,
        /// Of what the others are.
        wanted: String,
    },
}

/// What stands for a prompt: states of one prompt are never divided.
pub fn prompt_number(prompt: &str) -> u64 {
    let hash = Sha256::digest(prompt.as_bytes());
    let first = hash.first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(first)
}

impl States {
    /// Reads files of one model and layer.
    ///
    /// # Errors
    ///
    /// [`StatesError`].
    pub fn read(paths: &[PathBuf]) -> Result<Self, StatesError> {
        let mut all = Self::default();
        for (i, path) in paths.iter().enumerate() {
            let file = fs::read(path).map_err(|source| StatesError::Io {
                path: path.clone(),
                source,
            })?;
            let read = Self::parse(&file).map_err(|detail| StatesError::Damaged {
                path: path.clone(),
                detail,
            })?;
            if i == 0 {
                all = read;
            } else if all.of() == read.of() {
                all.hidden.extend(read.hidden);
                all.remaining_tokens.extend(read.remaining_tokens);
                all.prompts.extend(read.prompts);
            } else {
                return Err(StatesError::Mixed {
                    path: path.clone(),
                    has: read.of(),
                    wanted: all.of(),
                });
            }
        }
        Ok(all)
    }

    /// Of what they are, in words.
    fn of(&self) -> String {
        format!(
            "{} numbers of layer {} of {}",
            self.dim, self.layer, self.model
        )
    }

    fn parse(file: &[u8]) -> Result<Self, String> {
        let (_, header) = SafeTensors::read_metadata(file).map_err(|e| e.to_string())?;
        let tensors = SafeTensors::deserialize(file).map_err(|e| e.to_string())?;
        let beside = |name: &str| {
            let values = header.metadata().as_ref();
            let value = values.and_then(|values| values.get(name));
            value.ok_or_else(|| format!("it does not name its {name}"))
        };
        let tensor = |name: &str| tensors.tensor(name).map_err(|e| e.to_string());
        let hidden = tensor("hidden")?;
        let &[count, dim] = hidden.shape() else {
            return Err("hidden has no rows".to_owned());
        };
        let states = Self {
            model: beside("model")?.clone(),
            layer: beside("layer")?
                .parse()
                .map_err(|_| "its layer is no number")?,
            dim,
            hidden: floats(&hidden)?,
            remaining_tokens: exact(&tensor("remaining_tokens")?, Dtype::U32)?
                .as_chunks()
                .0
                .iter()
                .map(|bytes| u32::from_le_bytes(*bytes))
                .collect(),
            prompts: exact(&tensor("prompt")?, Dtype::U64)?
                .as_chunks()
                .0
                .iter()
                .map(|bytes| u64::from_le_bytes(*bytes))
                .collect(),
        };
        if states.remaining_tokens.len() != count || states.prompts.len() != count {
            return Err(format!(
                "not each of its {count} states has a length and a prompt"
            ));
        }
        match states.hidden.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(format!("state {} is not finite", at / dim.max(1))),
            None => Ok(states),
        }
    }

    /// Writes them. The file appears whole or not at all.
    ///
    /// # Errors
    ///
    /// [`StatesError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), StatesError> {
        let io = |source| StatesError::Io {
            path: path.to_owned(),
            source,
        };
        let other = |e: safetensors::SafeTensorError| io(io::Error::other(e));
        let count = self.remaining_tokens.len();
        let hidden: Vec<u8> = self.hidden.iter().flat_map(|v| v.to_le_bytes()).collect();
        let lengths = self.remaining_tokens.iter();
        let lengths: Vec<u8> = lengths.flat_map(|v| v.to_le_bytes()).collect();
        let prompts: Vec<u8> = self.prompts.iter().flat_map(|v| v.to_le_bytes()).collect();
        let view = |dtype, shape, bytes| TensorView::new(dtype, shape, bytes).map_err(other);
        let views = [
            ("hidden", view(Dtype::F32, vec![count, self.dim], &hidden)?),
            ("remaining_tokens", view(Dtype::U32, vec![count], &lengths)?),
            ("prompt", view(Dtype::U64, vec![count], &prompts)?),
        ];
        let beside = HashMap::from([
            ("model".to_owned(), self.model.clone()),
            ("layer".to_owned(), self.layer.to_string()),
        ]);
        let file = safetensors::serialize(views, Some(beside)).map_err(other)?;
        let partial = path.with_extension("partial");
        fs::write(&partial, file).map_err(io)?;
        fs::rename(&partial, path).map_err(io)
    }

    /// The rows of one part; a prompt is in the part that [`super::Split::ByPrompt`] says.
    pub fn rows(&self, part: Part) -> Rows {
        let mut rows = Rows::default();
        let states = self.hidden.chunks_exact(self.dim.max(1));
        for ((state, &length), prompt) in states.zip(&self.remaining_tokens).zip(&self.prompts) {
            if Part::of_hash(*prompt as u16) == part {
                rows.inputs.extend_from_slice(state);
                rows.lengths_tokens.push(vec![length as f32]);
            }
        }
        rows
    }
}

/// The bytes of a tensor of that kind.
fn exact<'a>(view: &TensorView<'a>, dtype: Dtype) -> Result<&'a [u8], String> {
    if view.dtype() == dtype {
        Ok(view.data())
    } else {
        Err(format!(
            "a tensor is of {:?} where {dtype:?} belongs",
            view.dtype()
        ))
    }
}

fn floats(view: &TensorView<'_>) -> Result<Vec<f32>, String> {
    match view.dtype() {
        Dtype::F16 => {
            let (values, _) = view.data().as_chunks();
            Ok(values
                .iter()
                .map(|bytes| f16::from_le_bytes(*bytes).to_f32())
                .collect())
        }
        _ => {
            let (values, _) = exact(view, Dtype::F32)?.as_chunks();
            Ok(values
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(count: u64) -> States {
        States {
            model: "m".to_owned(),
            layer: 3,
            dim: 2,
            hidden: (0..2 * count).map(|i| i as f32).collect(),
            remaining_tokens: (0..count as u32).collect(),
            prompts: (0..count).map(|i| prompt_number(&i.to_string())).collect(),
        }
    }

    #[test]
    fn what_was_written_is_read_and_divided_by_prompt() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("states.safetensors");
        states(500).write(&path).unwrap();
        let read = States::read(std::slice::from_ref(&path)).unwrap();
        assert_eq!(read, states(500));
        assert_eq!(
            States::read(&[path.clone(), path]).unwrap().prompts.len(),
            1000
        );
        let parts = [Part::Train, Part::Validation, Part::Test].map(|part| read.rows(part));
        let counts = parts.each_ref().map(|rows| rows.lengths_tokens.len());
        assert_eq!(counts.iter().sum::<usize>(), 500);
        assert!((270..330).contains(&counts[0]), "{counts:?}");
        assert_eq!(parts[0].inputs.len(), 2 * counts[0]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| dir.path().join(name));
        states(4).write(&paths[0]).unwrap();
        let said = || States::read(&paths).unwrap_err().to_string();
        assert!(said().contains("b: "), "{}", said());
        let write = |change: fn(&mut States)| {
            let mut other = states(4);
            change(&mut other);
            other.write(&paths[1]).unwrap();
        };
        write(|states| states.layer = 4);
        assert!(
            said().contains("of layer 4 of m, and what came before"),
            "{}",
            said()
        );
        write(|states| states.hidden[3] = f32::NAN);
        assert!(said().contains("state 1 is not finite"), "{}", said());
        fs::write(&paths[1], b"half").unwrap();
        assert!(
            said().contains("hidden states are a safetensors file"),
            "{}",
            said()
        );
    }
}
