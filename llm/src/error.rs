//! What can be wrong with a model's files.

use std::path::PathBuf;

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Neither a GGUF file nor a folder of safetensors.
    #[error(
        "{}: no model here; give a .gguf file, or a folder with one, or with config.json, \
         tokenizer.json and model.safetensors", path.display()
    )]
    NoModel {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file is damaged or of another kind.
    #[error("{}: {detail}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// An entry that the model needs is missing or of another type.
    #[error("the model's description has no usable {0}")]
    MissingKey(String),
    /// A model of another family.
    #[error("models of the kind {0:?} are not supported; llama, qwen2 and qwen3 are")]
    Architecture(String),
    /// Sizes that cannot be.
    #[error("impossible model: {0}")]
    Config(String),
    /// A tensor is not there.
    #[error("tensor {0} is missing")]
    MissingTensor(String),
    /// A tensor has another shape than the model's sizes say.
    #[error("tensor {name} is {found:?}, expected {expected:?}")]
    Shape {
        /// Its name.
        name: String,
        /// What the sizes say.
        expected: Vec<usize>,
        /// What the file has.
        found: Vec<usize>,
    },
    /// A tensor that cannot be read as numbers.
    #[error("tensor {name}: {detail}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong.
        detail: String,
    },
    /// The device has no room for it, or is out of order.
    #[error(transparent)]
    Device(#[from] crate::backend::DeviceError),
    /// The tokenizer does not fit.
    #[error(transparent)]
    Vocabulary(#[from] crate::vocabulary::VocabularyError),
}
