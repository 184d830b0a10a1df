//! A model's folder, as sentence-transformers lays it out: what the JSON files say.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::EncoderError;

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The first token's, as the BGE models do.
    Cls,
    /// The mean over all tokens, as the MiniLM models do.
    Mean,
}

/// The parts of `config.json` that the arithmetic needs. Sizes are counts of numbers.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Config {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) intermediate_size: usize,
    pub(super) max_position_embeddings: usize,
    pub(super) type_vocab_size: usize,
    #[serde(default = "default_epsilon")]
    pub(super) layer_norm_eps: f32,
    #[serde(default = "default_activation")]
    hidden_act: String,
    #[serde(default = "default_kind")]
    model_type: String,
    #[serde(default = "default_positions")]
    position_embedding_type: String,
}

fn default_epsilon() -> f32 {
    1e-12
}

fn default_activation() -> String {
    "gelu".to_owned()
}

fn default_kind() -> String {
    "bert".to_owned()
}

fn default_positions() -> String {
    "absolute".to_owned()
}

/// Everything that the folder says besides weights and tokenizer.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) config: Config,
    pub(super) pooling: Pooling,
    pub(super) normalise: bool,
    /// Tokens after which a text is cut, those around it counted.
    pub(super) max_tokens: usize,
}

#[derive(Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct PoolingFile {
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
}

#[derive(Deserialize)]
struct SentenceFile {
    max_seq_length: Option<usize>,
}

impl Settings {
    pub(super) fn read(folder: &Path) -> Result<Self, EncoderError> {
        let config: Config = required(&folder.join("config.json"))?;
        config.check()?;
        let modules: Vec<Module> = optional(&folder.join("modules.json"))?.unwrap_or_default();
        let sentence: Option<SentenceFile> = optional(&folder.join("sentence_bert_config.json"))?;
        let positions = config.max_position_embeddings;
        let limit = sentence.and_then(|file| file.max_seq_length);
        let settings = Self {
            pooling: pooling(folder, &modules)?,
            normalise: modules.iter().any(|m| m.kind.ends_with(".Normalize")),
            max_tokens: limit.unwrap_or(positions).min(positions),
            config,
        };
        Ok(settings)
    }
}

impl Config {
    fn check(&self) -> Result<(), EncoderError> {
        let no = |what: String| Err(EncoderError::Unsupported { what });
        if self.model_type != "bert" {
            return no(format!("model_type {:?}", self.model_type));
        }
        if self.hidden_act != "gelu" {
            return no(format!("hidden_act {:?}", self.hidden_act));
        }
        if self.position_embedding_type != "absolute" {
            let kind = &self.position_embedding_type;
            return no(format!("position_embedding_type {kind:?}"));
        }
        let heads = self.num_attention_heads;
        if heads == 0 || self.hidden_size == 0 || !self.hidden_size.is_multiple_of(heads) {
            let width = self.hidden_size;
            return no(format!("hidden_size {width} over {heads} attention heads"));
        }
        let sizes = [
            self.vocab_size,
            self.intermediate_size,
            self.type_vocab_size,
        ];
        if sizes.contains(&0) || self.max_position_embeddings < 2 {
            return no("a vocabulary, layer or type of size 0 in config.json".to_owned());
        }
        Ok(())
    }
}

/// What the folder's own pooling module says; the mean where it has none, since that is what
/// sentence-transformers makes of a bare BERT.
fn pooling(folder: &Path, modules: &[Module]) -> Result<Pooling, EncoderError> {
    let module = modules.iter().find(|m| m.kind.ends_with(".Pooling"));
    let path = module.map_or("1_Pooling", |module| module.path.as_str());
    // A folder says where its own files are, not where others are.
    if path.contains("..") || Path::new(path).is_absolute() {
        let what = format!("a pooling module at {path:?}");
        return Err(EncoderError::Unsupported { what });
    }
    let file: Option<PoolingFile> = optional(&folder.join(path).join("config.json"))?;
    match file.map(|file| (file.pooling_mode_cls_token, file.pooling_mode_mean_tokens)) {
        None | Some((false, true)) => Ok(Pooling::Mean),
        Some((true, false)) => Ok(Pooling::Cls),
        Some(_) => Err(EncoderError::Unsupported {
            what: "pooling by other than the first token or the mean".to_owned(),
        }),
    }
}

/// SHA-256 of the weights in a model's folder, in hexadecimal: what embeddings depend on, under
/// whatever name the folder goes.
///
/// # Errors
///
/// [`EncoderError::Read`] if they are not there.
pub fn weights_sha256(folder: &Path) -> Result<String, EncoderError> {
    let digest = Sha256::digest(bytes(&folder.join("model.safetensors"))?);
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, EncoderError> {
    fs::read(path).map_err(|source| EncoderError::Read {
        path: path.to_owned(),
        source,
    })
}

fn required<T: DeserializeOwned>(path: &Path) -> Result<T, EncoderError> {
    parse(path, &bytes(path)?)
}

/// A file that may be absent. One that is there and cannot be read is an error all the same.
fn optional<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, EncoderError> {
    match bytes(path) {
        Ok(bytes) => parse(path, &bytes).map(Some),
        Err(EncoderError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, EncoderError> {
    serde_json::from_slice(bytes).map_err(|source| EncoderError::Json {
        path: PathBuf::from(path),
        source,
    })
}
