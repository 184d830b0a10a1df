//! Models as folders of safetensors with `config.json` and `tokenizer.json`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use elis_ragged::Pairing;
use serde::Deserialize;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::matrix::{Matrix, Values};
use super::{Source, Tensors, format_error, io, tokenizer};
use crate::config::{Config, llama3_divisors};
use crate::error::LoadError;

/// The parts of `config.json` that count.
#[derive(Debug, Deserialize)]
struct HubConfig {
    model_type: String,
    num_hidden_layers: usize,
    hidden_size: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    intermediate_size: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_scaling: Option<Value>,
    eos_token_id: Option<Value>,
    torch_dtype: Option<String>,
}

/// Opens a folder.
pub(super) fn open(folder: &Path) -> Result<Source, LoadError> {
    let hub: HubConfig = json(&folder.join("config.json"))?;
    let config = config(&hub)?;
    let path = folder.join("tokenizer.json");
    let bytes = fs::read(&path).map_err(io(&path))?;
    let tokens = Tokenizer::from_bytes(bytes).map_err(|e| format_error(&path, e.to_string()))?;
    // A folder without one is fine: nothing but chats needs it.
    let chat: Value = json(&folder.join("tokenizer_config.json")).unwrap_or_default();
    let jinja = fs::read_to_string(folder.join("chat_template.jinja")).ok();
    let text = |key: &str| {
        let value = &chat[key];
        let text = value.as_str().or_else(|| value["content"].as_str());
        text.unwrap_or_default().to_owned()
    };
    let bos = first_token(&tokens, &text("bos_token"), chat["add_bos_token"].as_bool());
    let ends = numbers(hub.eos_token_id.as_ref());
    let vocabulary = tokenizer::with_ends(tokens, ends).beginning_with(bos);
    if vocabulary.size() > config.vocabulary {
        let detail = format!(
            "knows {} tokens and the model {}; it belongs to another model",
            vocabulary.size(),
            config.vocabulary
        );
        return Err(format_error(&path, detail));
    }
    let template = jinja.or_else(|| chat["chat_template"].as_str().map(str::to_owned));
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    Ok(Source {
        chat_template: template,
        bos_token: text("bos_token"),
        eos_token: text("eos_token"),
        name: name.into_owned(),
        weights: hub.torch_dtype.unwrap_or_else(|| "safetensors".to_owned()),
        path: folder.to_owned(),
        config,
        vocabulary,
        tensors: Box::new(Shards::open(folder)?),
    })
}

/// The token that the model wants in front of prompts: `said` where the folder tells whether, else
/// what its tokenizer does by itself.
fn first_token(tokenizer: &Tokenizer, name: &str, said: Option<bool>) -> Option<u32> {
    let bos = tokenizer.token_to_id(name)?;
    let wanted = said.unwrap_or_else(|| {
        let nothing = tokenizer.encode_fast("", true);
        nothing.is_ok_and(|nothing| nothing.get_ids().first() == Some(&bos))
    });
    wanted.then_some(bos)
}

fn json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, LoadError> {
    let text = fs::read_to_string(path).map_err(io(path))?;
    serde_json::from_str(&text).map_err(|e| format_error(path, e.to_string()))
}

fn numbers(value: Option<&Value>) -> Vec<u32> {
    let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(many)) => many.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
        None => Vec::new(),
    }
}

fn config(hub: &HubConfig) -> Result<Config, LoadError> {
    let architecture = hub.model_type.clone();
    if !matches!(architecture.as_str(), "llama" | "qwen2" | "qwen3") {
        return Err(LoadError::Architecture(architecture));
    }
    let heads = hub.num_attention_heads;
    let dim = hub
        .head_dim
        .unwrap_or_else(|| hub.hidden_size / heads.max(1));
    let rope_base = hub.rope_theta.unwrap_or(10_000.0);
    Ok(Config {
        rope_divisors: divisors(hub.rope_scaling.as_ref(), rope_base, dim)?,
        layers: hub.num_hidden_layers,
        width: hub.hidden_size,
        heads,
        kv_heads: hub.num_key_value_heads.unwrap_or(heads),
        dim,
        inner: hub.intermediate_size,
        vocabulary: hub.vocab_size,
        context_tokens: hub.max_position_embeddings,
        epsilon: hub.rms_norm_eps as f32,
        rope_base,
        pairing: Pairing::Halves,
        architecture,
    })
}

fn divisors(scaling: Option<&Value>, base: f64, dim: usize) -> Result<Vec<f64>, LoadError> {
    let Some(scaling) = scaling.filter(|value| !value.is_null()) else {
        return Ok(Vec::new());
    };
    let number = |key: &str| {
        let number = scaling[key].as_f64().filter(|n| *n > 0.0);
        number.ok_or_else(|| LoadError::MissingKey(format!("rope_scaling.{key}")))
    };
    let kind = scaling["rope_type"]
        .as_str()
        .or_else(|| scaling["type"].as_str());
    match kind {
        Some("default") => Ok(Vec::new()),
        Some("linear") => Ok(vec![number("factor")?; dim / 2]),
        Some("llama3") => {
            let band = (number("low_freq_factor")?, number("high_freq_factor")?);
            let original = number("original_max_position_embeddings")?;
            Ok(llama3_divisors(
                (base, dim),
                number("factor")?,
                band,
                original,
            ))
        }
        other => {
            let kind = other.unwrap_or("unknown");
            let detail = format!("rotary positions scaled by {kind:?} are not supported");
            Err(LoadError::Config(detail))
        }
    }
}

/// The files of a model, the last one used in memory.
struct Shards {
    /// Which file has a tensor.
    files: HashMap<String, PathBuf>,
    open: Option<(PathBuf, HashMap<String, Tensor>)>,
}

#[derive(Debug, Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

impl Shards {
    fn open(folder: &Path) -> Result<Self, LoadError> {
        let index = folder.join("model.safetensors.index.json");
        if index.is_file() {
            let index: Index = json(&index)?;
            let files = index.weight_map.into_iter();
            // Only names, so that an index cannot lead out of its folder.
            let files = files.map(|(tensor, file)| {
                let name = Path::new(&file).file_name().unwrap_or_default();
                (tensor, folder.join(name))
            });
            return Ok(Self {
                files: files.collect(),
                open: None,
            });
        }
        let path = folder.join("model.safetensors");
        let tensors = load(&path)?;
        let files = tensors.keys().map(|name| (name.clone(), path.clone()));
        Ok(Self {
            files: files.collect(),
            open: Some((path, tensors)),
        })
    }

    fn read(&mut self, name: &str, expected: &[usize]) -> Result<Vec<f32>, LoadError> {
        let name = &hub_name(name);
        let missing = || LoadError::MissingTensor(name.clone());
        let path = self.files.get(name).ok_or_else(missing)?;
        let open = match self.open.take() {
            Some(open) if open.0 == *path => open,
            _ => (path.clone(), load(path)?),
        };
        let (_, tensors) = self.open.insert(open);
        let tensor = tensors.get(name).ok_or_else(missing)?;
        if tensor.dims() != expected {
            return Err(LoadError::Shape {
                name: name.clone(),
                expected: expected.to_vec(),
                found: tensor.dims().to_vec(),
            });
        }
        let wrong = |detail: String| LoadError::Tensor {
            name: name.clone(),
            detail,
        };
        let values = tensor.to_dtype(DType::F32).and_then(|t| t.flatten_all());
        let values: Result<Vec<f32>, _> = values.and_then(|t| t.to_vec1());
        let values = values.map_err(|e| wrong(e.to_string()))?;
        if values.iter().any(|value| !value.is_finite()) {
            return Err(wrong("holds values that are no numbers".to_owned()));
        }
        Ok(values)
    }
}

fn load(path: &Path) -> Result<HashMap<String, Tensor>, LoadError> {
    let bytes = fs::read(path).map_err(io(path))?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu);
    tensors.map_err(|e| format_error(path, e.to_string()))
}

impl Tensors for Shards {
    fn matrix(
        &mut self,
        name: &str,
        (outputs, inputs): (usize, usize),
    ) -> Result<Matrix, LoadError> {
        Ok(Matrix {
            outputs,
            inputs,
            values: Values::Floats(self.read(name, &[outputs, inputs])?),
        })
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, LoadError> {
        self.read(name, &[len])
    }

    fn has(&self, name: &str) -> bool {
        self.files.contains_key(&hub_name(name))
    }
}

/// GGUF's name of a tensor as Hugging Face has it.
fn hub_name(name: &str) -> String {
    let whole = match name {
        "token_embd.weight" => "model.embed_tokens.weight",
        "output_norm.weight" => "model.norm.weight",
        "output.weight" => "lm_head.weight",
        _ => "",
    };
    if !whole.is_empty() {
        return whole.to_owned();
    }
    let rest = name.strip_prefix("blk.").unwrap_or(name);
    let (layer, rest) = rest.split_once('.').unwrap_or(("", rest));
    let (part, kind) = rest.rsplit_once('.').unwrap_or((rest, ""));
    let part = match part {
        "attn_norm" => "input_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_q_norm" => "self_attn.q_norm",
        "attn_k_norm" => "self_attn.k_norm",
        "attn_output" => "self_attn.o_proj",
        "ffn_norm" => "post_attention_layernorm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        other => other,
    };
    format!("model.layers.{layer}.{part}.{kind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_translated() {
        let name = hub_name("blk.12.attn_q.bias");
        assert_eq!(name, "model.layers.12.self_attn.q_proj.bias");
        assert_eq!(hub_name("token_embd.weight"), "model.embed_tokens.weight");
    }
}
