//! Texts to vectors, by any BERT model in a folder: bge-small, -base and -large-en-v1.5,
//! all-MiniLM-L6-v2 and their kin.
//!
//! [`Encoder::load`] reads `config.json`, `tokenizer.json` and `model.safetensors` of a folder, and
//! from the files that sentence-transformers puts beside them how to pool, whether to normalise
//! and where to cut. There are two backends: packed sequences on our own kernels, for CPUs, and
//! candle, which is the yardstick and the way to a GPU.

use std::ops::Range;
use std::path::Path;

use elis_ragged::Cpu;
pub use elis_ragged::Precision;

mod backend;
mod bert;
mod error;
mod folder;
mod hub;
#[cfg(feature = "candle")]
mod stock;
mod tokens;
#[cfg(feature = "learn")]
mod trainable;
mod weights;

pub use backend::Backend;
use bert::Bert;
pub use error::EncoderError;
use folder::Settings;
pub use folder::{Pooling, weights_sha256};
pub use hub::resolve;
#[cfg(feature = "candle")]
use stock::Stock;
pub use tokens::Keep;
use tokens::Tokens;
#[cfg(feature = "learn")]
pub(crate) use trainable::Trainable;
use weights::Weights;

/// How a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Options {
    /// What weights are multiplied as.
    pub precision: Precision,
    /// What multiplies them.
    pub backend: Backend,
    /// Which part of a text that is too long is kept.
    pub keep: Keep,
    /// Tokens after which a text is cut, the two around it counted; the folder's own limit if
    /// `None`.
    pub max_tokens: Option<usize>,
    /// Threads of the ragged backend: texts are shared between them and none is split.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            precision: Precision::default(),
            backend: Backend::default(),
            keep: Keep::default(),
            max_tokens: None,
            threads: 1,
        }
    }
}

/// A loaded model with its tokenizer.
pub struct Encoder {
    tokens: Tokens,
    model: Model,
    pooling: Pooling,
    normalise: bool,
    dim: usize,
    positions: usize,
    vocab_size: usize,
}

enum Model {
    Ragged(Box<Bert>),
    #[cfg(feature = "candle")]
    Candle(Box<Stock>),
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Encoder");
        shown
            .field("dim", &self.dim)
            .field("pooling", &self.pooling);
        shown.finish_non_exhaustive()
    }
}

impl Encoder {
    /// Loads the model in a folder. Pooling is what `1_Pooling/config.json` says, the mean where
    /// there is none; vectors have length 1 if `modules.json` has a Normalize module.
    ///
    /// # Errors
    ///
    /// If a file is missing or damaged, the model is no BERT, or tokenizer, configuration and
    /// weights are not of one model.
    pub fn load(folder: &Path, options: &Options) -> Result<Self, EncoderError> {
        let settings = Settings::read(folder)?;
        let config = &settings.config;
        let positions = config.max_position_embeddings;
        let max_tokens = options.max_tokens.unwrap_or(settings.max_tokens);
        if !(2..=positions).contains(&max_tokens) {
            return Err(EncoderError::MaxTokens {
                max_tokens,
                positions,
            });
        }
        let path = folder.join("tokenizer.json");
        let tokens = Tokens::read(&path, config.vocab_size, max_tokens, options.keep)?;
        let path = folder.join("model.safetensors");
        let bytes = folder::bytes(&path)?;
        let weights = Weights::parse(&path, &bytes)?;
        // Made for every backend, because it is what checks the weights.
        let cpu = Cpu::detect();
        let bert = Bert::new(config, &weights, options.precision, cpu, options.threads)?;
        let model = match options.backend {
            Backend::Ragged => Model::Ragged(Box::new(bert)),
            Backend::Candle | Backend::Cuda(_) => {
                drop(bert);
                by_candle(folder, bytes, options)?
            }
        };
        Ok(Self {
            tokens,
            model,
            pooling: settings.pooling,
            normalise: settings.normalise,
            dim: config.hidden_size,
            positions,
            vocab_size: config.vocab_size,
        })
    }

    /// Loads a model by the name of a folder or, where there is no such folder, by its name on the
    /// Hugging Face hub; see [`resolve`].
    ///
    /// # Errors
    ///
    /// As [`resolve`] and [`load`](Self::load).
    pub fn open(name: &str, options: &Options) -> Result<Self, EncoderError> {
        Self::load(&resolve(name)?, options)
    }

    /// Numbers in an embedding.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// How tokens become one vector.
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// Whether embeddings have length 1.
    pub fn normalises(&self) -> bool {
        self.normalise
    }

    /// Tokens after which a text is cut, the two around it counted.
    pub fn max_tokens(&self) -> usize {
        self.tokens.max_tokens()
    }

    /// The tokens that a text is encoded from: cut to length, with the two around it.
    pub fn tokenize(&self, text: &str) -> Vec<u32> {
        self.tokens.of(text)
    }

    /// How many tokens each text is encoded from.
    pub fn token_counts(&self, texts: &[&str]) -> Vec<usize> {
        texts.iter().map(|text| self.tokenize(text).len()).collect()
    }

    /// Encodes texts, each for itself: neither order nor company changes an embedding beyond
    /// rounding. An empty text is a text; a long one is cut.
    ///
    /// # Errors
    ///
    /// If the backend fails or an embedding is not finite.
    pub fn encode(&mut self, texts: &[&str]) -> Result<Embeddings, EncoderError> {
        let ids: Vec<Vec<u32>> = texts.iter().map(|text| self.tokenize(text)).collect();
        let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
        self.encode_tokens(&ids)
    }

    /// Encodes texts that are tokens already, those around each text with them. Nothing is cut,
    /// and up to all positions of the model can be used.
    ///
    /// # Errors
    ///
    /// If a text has no tokens, too many or unknown ones, or as [`encode`](Self::encode).
    pub fn encode_tokens(&mut self, texts: &[&[u32]]) -> Result<Embeddings, EncoderError> {
        let (positions, vocab_size) = (self.positions, self.vocab_size);
        for (text, ids) in texts.iter().enumerate() {
            let tokens = ids.len();
            if !(1..=positions).contains(&tokens) {
                return Err(EncoderError::TokenCount {
                    text,
                    tokens,
                    positions,
                });
            }
            if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
                return Err(EncoderError::Token {
                    text,
                    id,
                    vocab_size,
                });
            }
        }
        let mut values = vec![0.0; texts.len() * self.dim];
        match &mut self.model {
            Model::Ragged(bert) => bert.encode(texts, self.pooling, &mut values),
            #[cfg(feature = "candle")]
            Model::Candle(stock) => stock.encode(texts, self.pooling, self.dim, &mut values)?,
        }
        for (text, row) in values.chunks_exact_mut(self.dim).enumerate() {
            if self.normalise {
                normalise(row);
            }
            if !row.iter().all(|value| value.is_finite()) {
                return Err(EncoderError::Embedding { text });
            }
        }
        Ok(Embeddings {
            values,
            dim: self.dim,
        })
    }
}

#[cfg(feature = "candle")]
fn by_candle(folder: &Path, bytes: Vec<u8>, options: &Options) -> Result<Model, EncoderError> {
    if options.precision != Precision::F32 {
        return Err(EncoderError::Backend {
            what: "candle's BERT multiplies floats only",
            advice: "take the precision f32, or the ragged backend",
        });
    }
    let device = options.backend.device()?;
    Ok(Model::Candle(Box::new(Stock::new(folder, bytes, device)?)))
}

#[cfg(not(feature = "candle"))]
fn by_candle(_: &Path, _: Vec<u8>, _: &Options) -> Result<Model, EncoderError> {
    Err(EncoderError::Backend {
        what: "this build has no candle",
        advice: "build with the feature `candle`, or take the ragged backend",
    })
}

/// One vector of those of a text's tokens, which are not none.
fn pool(tokens: &[f32], pooling: Pooling, out: &mut [f32]) {
    let width = out.len();
    out.copy_from_slice(&tokens[..width]);
    if pooling == Pooling::Mean {
        for row in tokens[width..].chunks_exact(width) {
            for (sum, value) in out.iter_mut().zip(row) {
                *sum += value;
            }
        }
        let count = (tokens.len() / width) as f32;
        out.iter_mut().for_each(|sum| *sum /= count);
    }
}

/// Scales a vector to length 1. The floor is that of sentence-transformers.
fn normalise(row: &mut [f32]) {
    let length = row.iter().map(|value| value * value).sum::<f32>().sqrt();
    let length = if length < 1e-12 { 1e-12 } else { length };
    row.iter_mut().for_each(|value| *value /= length);
}

/// Embeddings of texts: a row for each, in the order of the texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    values: Vec<f32>,
    dim: usize,
}

impl Embeddings {
    /// Number of texts.
    pub fn rows(&self) -> usize {
        self.values.len() / self.dim
    }

    /// Numbers in a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The embedding of one text.
    ///
    /// # Panics
    ///
    /// If there are not so many texts.
    pub fn row(&self, text: usize) -> &[f32] {
        let Range { start, end } = text * self.dim..(text + 1) * self.dim;
        &self.values[start..end]
    }

    /// The embeddings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.dim)
    }

    /// All rows one after another.
    pub fn as_slice(&self) -> &[f32] {
        &self.values
    }

    /// All rows one after another, to keep.
    pub fn into_vec(self) -> Vec<f32> {
        self.values
    }
}

#[cfg(test)]
pub(crate) mod tests;
