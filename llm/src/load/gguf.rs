//! Models in one GGUF file.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use candle_core::Device;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use elis_ragged::{BLOCK, Block, Format, Pairing};
use half::f16;

use super::matrix::{Matrix, Values};
use super::{Source, Tensors, format_error, io, tokenizer};
use crate::config::Config;
use crate::error::LoadError;

/// Opens a file.
pub(super) fn open(path: &Path) -> Result<Source, LoadError> {
    let file = File::open(path).map_err(io(path))?;
    let mut reader = BufReader::new(file);
    let content = Content::read(&mut reader).map_err(|e| format_error(path, e.to_string()))?;
    let mut tensors = Gguf { reader, content };
    let config = config(&mut tensors)?;
    let content = &tensors.content;
    let vocabulary = tokenizer::from_gguf(content, path)?;
    let token = |key: &str| {
        let id = number(content, key).ok();
        id.and_then(|id| vocabulary.token(id as u32))
            .unwrap_or_default()
    };
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let kind = content.tensor_infos.get("blk.0.ffn_down.weight");
    Ok(Source {
        chat_template: string(content, "tokenizer.chat_template").ok(),
        bos_token: token("tokenizer.ggml.bos_token_id"),
        eos_token: token("tokenizer.ggml.eos_token_id"),
        name: stem.into_owned(),
        weights: kind.map_or_else(String::new, |info| format!("{:?}", info.ggml_dtype)),
        path: path.to_owned(),
        config,
        vocabulary,
        tensors: Box::new(tensors),
    })
}

/// An open file.
struct Gguf {
    reader: BufReader<File>,
    content: Content,
}

fn value<'a>(content: &'a Content, key: &str) -> Result<&'a Value, LoadError> {
    let value = content.metadata.get(key);
    value.ok_or_else(|| LoadError::MissingKey(key.to_owned()))
}

/// An integer of whatever width.
pub(super) fn number(content: &Content, key: &str) -> Result<u64, LoadError> {
    let value = value(content, key)?;
    let signed = match value {
        Value::I8(v) => Some(i64::from(*v)),
        Value::I16(v) => Some(i64::from(*v)),
        Value::I32(v) => Some(i64::from(*v)),
        Value::I64(v) => Some(*v),
        _ => None,
    };
    let number = match signed {
        Some(signed) => u64::try_from(signed).ok(),
        None => value.to_u64().ok(),
    };
    number.ok_or_else(|| LoadError::MissingKey(key.to_owned()))
}

fn float(content: &Content, key: &str) -> Result<f64, LoadError> {
    let value = value(content, key)?;
    let float = value.to_f64().or_else(|_| value.to_f32().map(f64::from));
    float.map_err(|_| LoadError::MissingKey(key.to_owned()))
}

pub(super) fn string(content: &Content, key: &str) -> Result<String, LoadError> {
    let text = value(content, key)?.to_string();
    text.cloned()
        .map_err(|_| LoadError::MissingKey(key.to_owned()))
}

fn config(file: &mut Gguf) -> Result<Config, LoadError> {
    let content = &file.content;
    let architecture = string(content, "general.architecture")?;
    let pairing = match architecture.as_str() {
        "llama" => Pairing::Neighbours,
        "qwen2" | "qwen3" => Pairing::Halves,
        _ => return Err(LoadError::Architecture(architecture)),
    };
    let key = |name: &str| format!("{architecture}.{name}");
    let size = |name: &str| number(content, &key(name)).map(|n| usize::try_from(n).unwrap_or(0));
    let (width, heads) = (size("embedding_length")?, size("attention.head_count")?);
    let dim = size("attention.key_length").unwrap_or_else(|_| width / heads.max(1));
    let embedding = content.tensor_infos.get("token_embd.weight");
    let embedding = embedding.ok_or_else(|| missing("token_embd.weight"))?;
    let scaling = string(content, &key("rope.scaling.type")).unwrap_or_default();
    let mut rope_divisors = Vec::new();
    match scaling.as_str() {
        "" | "none" => {}
        "linear" => {
            rope_divisors = vec![float(content, &key("rope.scaling.factor"))?; dim / 2];
        }
        other => {
            let detail = format!("rotary positions scaled by {other:?} are not supported");
            return Err(LoadError::Config(detail));
        }
    }
    let mut config = Config {
        layers: size("block_count")?,
        width,
        heads,
        kv_heads: size("attention.head_count_kv").unwrap_or(heads),
        dim,
        inner: size("feed_forward_length")?,
        vocabulary: embedding.shape.dims().first().copied().unwrap_or(0),
        context_tokens: size("context_length")?,
        epsilon: float(content, &key("attention.layer_norm_rms_epsilon"))? as f32,
        rope_base: float(content, &key("rope.freq_base")).unwrap_or(10_000.0),
        rope_divisors,
        pairing,
        architecture,
    };
    if file.has("rope_freqs.weight") {
        let divisors = file.vector("rope_freqs.weight", config.dim / 2)?;
        config.rope_divisors = divisors.into_iter().map(f64::from).collect();
    }
    Ok(config)
}

fn missing(name: &str) -> LoadError {
    LoadError::MissingTensor(name.to_owned())
}

impl Gguf {
    fn read(&mut self, name: &str, expected: &[usize]) -> Result<QTensor, LoadError> {
        let info = self.content.tensor_infos.get(name);
        let info = info.ok_or_else(|| missing(name))?;
        if info.shape.dims() != expected {
            return Err(LoadError::Shape {
                name: name.to_owned(),
                expected: expected.to_vec(),
                found: info.shape.dims().to_vec(),
            });
        }
        let start = self.content.tensor_data_offset;
        let tensor = info.read(&mut self.reader, start, &Device::Cpu);
        tensor.map_err(|e| wrong(name, e.to_string()))
    }
}

fn wrong(name: &str, detail: impl Into<String>) -> LoadError {
    LoadError::Tensor {
        name: name.to_owned(),
        detail: detail.into(),
    }
}

impl Tensors for Gguf {
    fn matrix(
        &mut self,
        name: &str,
        (outputs, inputs): (usize, usize),
    ) -> Result<Matrix, LoadError> {
        let tensor = self.read(name, &[outputs, inputs])?;
        let values = match tensor.dtype() {
            GgmlDType::Q4_1 => {
                let data = tensor.data().map_err(|e| wrong(name, e.to_string()))?;
                Values::Blocks(Format::Min, data.as_chunks().0.iter().map(q4_1).collect())
            }
            GgmlDType::Q8_0 => {
                let data = tensor.data().map_err(|e| wrong(name, e.to_string()))?;
                Values::Blocks(Format::Q8, data.as_chunks().0.iter().map(q8_0).collect())
            }
            _ => Values::Floats(floats(name, &tensor)?),
        };
        let finite = match &values {
            Values::Floats(values) => values.iter().all(|value| value.is_finite()),
            Values::Blocks(_, blocks) => blocks
                .iter()
                .all(|b| b.scale.is_finite() && b.min.is_finite()),
        };
        if !finite {
            return Err(wrong(name, "holds values that are no numbers"));
        }
        Ok(Matrix {
            outputs,
            inputs,
            values,
        })
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, LoadError> {
        let tensor = self.read(name, &[len])?;
        let values = floats(name, &tensor)?;
        if values.iter().any(|value| !value.is_finite()) {
            return Err(wrong(name, "holds values that are no numbers"));
        }
        Ok(values)
    }

    fn has(&self, name: &str) -> bool {
        self.content.tensor_infos.contains_key(name)
    }
}

fn floats(name: &str, tensor: &QTensor) -> Result<Vec<f32>, LoadError> {
    let dense = tensor
        .dequantize(&Device::Cpu)
        .and_then(|dense| dense.flatten_all());
    dense
        .and_then(|dense| dense.to_vec1())
        .map_err(|e| wrong(name, e.to_string()))
}

/// A block of Q4_1: scale and minimum as half floats, then 32 codes, the first 16 in the low halves
/// of 16 bytes.
fn q4_1(bytes: &[u8; 20]) -> Block {
    let mut codes = [0; BLOCK];
    for (i, byte) in bytes[4..].iter().enumerate() {
        codes[i] = byte & 15;
        codes[i + BLOCK / 2] = byte >> 4;
    }
    Block {
        codes,
        scale: f16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
        min: f16::from_le_bytes([bytes[2], bytes[3]]).to_f32(),
    }
}

/// A block of Q8_0: a scale as a half float, then 32 signed codes.
fn q8_0(bytes: &[u8; 34]) -> Block {
    let mut codes = [0; BLOCK];
    for (code, byte) in codes.iter_mut().zip(&bytes[2..]) {
        *code = byte.wrapping_add(128);
    }
    Block {
        codes,
        scale: f16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
        min: 0.0,
    }
}
