//! Weights from files: what all kinds of files have in common.

mod folder;
mod gguf;
mod matrix;
mod tokenizer;

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::error::LoadError;
use crate::vocabulary::Vocabulary;

pub(crate) use matrix::{Matrix, linear};

/// Where a model's tensors come from, by the names that GGUF gives them.
pub(crate) trait Tensors {
    /// A matrix of so many outputs and inputs.
    fn matrix(&mut self, name: &str, shape: (usize, usize)) -> Result<Matrix, LoadError>;

    /// A vector of so many numbers.
    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, LoadError>;

    /// Whether there is such a tensor.
    fn has(&self, name: &str) -> bool;
}

/// A model's files, opened and described, weights still unread.
pub struct Source {
    /// What it is.
    pub config: Config,
    /// Its tokens.
    pub vocabulary: Vocabulary,
    /// How it wants conversations written, a Jinja template.
    pub chat_template: Option<String>,
    /// What its templates call `bos_token`.
    pub bos_token: String,
    /// What its templates call `eos_token`.
    pub eos_token: String,
    /// The name that it gives itself, or that of its file.
    pub name: String,
    /// How its weights are kept, for people.
    pub weights: String,
    /// The file or folder.
    pub path: PathBuf,
    pub(crate) tensors: Box<dyn Tensors>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("path", &self.path)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Source {
    /// Opens a GGUF file, a folder with one, or a folder of safetensors.
    ///
    /// # Errors
    ///
    /// Every [`LoadError`].
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let file = find(path)?;
        let source = if file.is_dir() {
            folder::open(&file)?
        } else {
            gguf::open(&file)?
        };
        source.config.check()?;
        Ok(source)
    }
}

/// The GGUF file that a path means, or the folder itself.
fn find(path: &Path) -> Result<PathBuf, LoadError> {
    let no_model = || LoadError::NoModel {
        path: path.to_owned(),
    };
    if path.is_file() {
        return Ok(path.to_owned());
    }
    let entries = fs::read_dir(path).map_err(|_| no_model())?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "gguf"))
        .collect();
    files.sort();
    match files.first() {
        Some(file) => Ok(file.clone()),
        None if path.join("config.json").is_file() => Ok(path.to_owned()),
        None => Err(no_model()),
    }
}

pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> LoadError {
    let path = path.to_owned();
    move |source| LoadError::Io { path, source }
}

fn format_error(path: &Path, detail: impl Into<String>) -> LoadError {
    LoadError::Format {
        path: path.to_owned(),
        detail: detail.into(),
    }
}
