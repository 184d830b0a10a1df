//! What can be wrong with a model's folder or with what is asked of it.

use std::path::PathBuf;

/// Why an encoder could not be loaded or could not encode.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncoderError {
    /// A file is not there or cannot be read.
    #[error("cannot read {}: {source}; `cargo xtask models` brings a small model", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is not the JSON that it has to be.
    #[error("{} is not what it should be: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// The model is of a kind that the encoder does not know.
    #[error("{what} is not supported; the encoder takes BERT models such as bge-small-en-v1.5")]
    Unsupported {
        /// The setting and its value.
        what: String,
    },
    /// The weights are no safetensors file.
    #[error("{} is no safetensors file: {source}", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: safetensors::SafeTensorError,
    },
    /// A tensor is not in the weights.
    #[error("the weights have no tensor {name}; was config.json made for another model?")]
    MissingTensor {
        /// Its name.
        name: String,
    },
    /// A tensor does not fit the configuration.
    #[error("tensor {name} has shape {found:?} where config.json means {expected:?}")]
    WrongShape {
        /// Its name.
        name: String,
        /// What the configuration says.
        expected: Vec<usize>,
        /// What the file has.
        found: Vec<usize>,
    },
    /// A tensor is kept as something else than floats of 16 or 32 bits.
    #[error("tensor {name} is {dtype}; weights must be F32, F16 or BF16")]
    WrongType {
        /// Its name.
        name: String,
        /// What the file has.
        dtype: String,
    },
    /// A weight is NaN or infinite.
    #[error("tensor {name} holds {value} at {index}; fetch the weights again")]
    NotFinite {
        /// Its name.
        name: String,
        /// Which element.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// The tokenizer cannot be read, or does not add one token before and one after a text.
    #[error("{} cannot be used: {reason}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The tokenizer knows tokens that the model does not.
    #[error(
        "the tokenizer has a token {id}, the model only {vocab_size} tokens: they do not match"
    )]
    Vocabulary {
        /// The highest token of the tokenizer.
        id: u32,
        /// How many the model has.
        vocab_size: usize,
    },
    /// The limit leaves no room for the two tokens around a text, or is beyond the positions.
    #[error("a text can have 2 to {positions} tokens, not {max_tokens}; set max_tokens in between")]
    MaxTokens {
        /// What was asked for.
        max_tokens: usize,
        /// Positions that the model has.
        positions: usize,
    },
    /// A text given as tokens is empty or too long.
    #[error("text {text} has {tokens} tokens; this model takes 1 to {positions}")]
    TokenCount {
        /// Which text.
        text: usize,
        /// Its tokens.
        tokens: usize,
        /// Positions that the model has.
        positions: usize,
    },
    /// A token is not in the vocabulary.
    #[error("text {text} has token {id}; this model has {vocab_size}")]
    Token {
        /// Which text.
        text: usize,
        /// The token.
        id: u32,
        /// How many the model has.
        vocab_size: usize,
    },
    /// The model computed something that is no number.
    #[error("the embedding of text {text} is not finite; the weights may be damaged")]
    Embedding {
        /// Which text.
        text: usize,
    },
    /// The chosen backend is not in this build, or does not do what was asked.
    #[error("{what}; {advice}")]
    Backend {
        /// What is missing.
        what: &'static str,
        /// What to do instead.
        advice: &'static str,
    },
    /// The model could not be fetched by its name.
    #[error(
        "cannot fetch {id} from the Hugging Face hub: {reason}; give a folder with the model, or \
         run `cargo xtask models` for a small one"
    )]
    Hub {
        /// The name.
        id: String,
        /// What went wrong.
        reason: String,
    },
    /// Candle failed.
    #[cfg(feature = "candle")]
    #[error("candle failed: {0}")]
    Candle(#[from] candle_core::Error),
}
