//! The same model once more, with gradients: what fine-tuning moves. Candle's own BERT has none,
//! since its norms and softmax are fused.
//!
//! The tables of words and positions stay as they are. They are half of the weights, most words
//! are in few prompts, and a word that training never saw must not be left behind by those it did.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{D, DType, Device, IndexOp as _, Result, Tensor, Var, safetensors};

use super::folder::{self, Config, Settings};
use super::stock::{padded, pooled};
use super::tokens::{Keep, Tokens};
use super::weights::Weights;
use super::{Backend, EncoderError};

/// What is added to the logit of a place behind the end of a text.
const NEVER: f64 = 1e9;

/// A model whose layers can be trained.
pub(crate) struct Trainable {
    settings: Settings,
    tokens: Tokens,
    device: Device,
    /// Everything that the file holds, under its names.
    file: HashMap<String, Tensor>,
    words: Tensor,
    /// Vectors of positions, that of the first token type added.
    positions: Tensor,
    embedding_norm: Norm,
    layers: Vec<Layer>,
    /// What is trained, under its names in the file.
    vars: Vec<(String, Var)>,
}

struct Norm {
    gain: Var,
    shift: Var,
}

struct Dense {
    weight: Var,
    bias: Var,
}

struct Layer {
    query: Dense,
    key: Dense,
    value: Dense,
    mix: Dense,
    mix_norm: Norm,
    widen: Dense,
    narrow: Dense,
    narrow_norm: Norm,
}

impl Trainable {
    /// Loads the model in a folder, as [`super::Encoder::load`] does.
    ///
    /// # Errors
    ///
    /// Those of [`super::Encoder::load`].
    pub(crate) fn load(folder: &Path, backend: Backend) -> std::result::Result<Self, EncoderError> {
        let settings = Settings::read(folder)?;
        let device = backend.device()?;
        let config = &settings.config;
        let path = folder.join("tokenizer.json");
        let tokens = Tokens::read(&path, config.vocab_size, settings.max_tokens, Keep::Head)?;
        let path = folder.join("model.safetensors");
        let bytes = folder::bytes(&path)?;
        let mut loader = Loader {
            weights: Weights::parse(&path, &bytes)?,
            device: &device,
            hidden: config.hidden_size,
            vars: Vec::new(),
        };
        let table = |name: &str, rows| {
            let name = format!("embeddings.{name}_embeddings.weight");
            loader.tensor(&name, &[rows, config.hidden_size])
        };
        let words = table("word", config.vocab_size)?;
        let types = table("token_type", config.type_vocab_size)?;
        let positions = table("position", config.max_position_embeddings)?;
        let positions = positions.broadcast_add(&types.i(0)?)?;
        let embedding_norm = loader.norm("embeddings.LayerNorm")?;
        let layers = (0..config.num_hidden_layers).map(|i| loader.layer(i, config));
        let layers = layers.collect::<std::result::Result<_, _>>()?;
        Ok(Self {
            vars: loader.vars,
            settings,
            tokens,
            file: safetensors::load_buffer(&bytes, &Device::Cpu)?,
            words,
            positions,
            embedding_norm,
            layers,
            device,
        })
    }

    /// Numbers in an embedding.
    pub(crate) fn dim(&self) -> usize {
        self.settings.config.hidden_size
    }

    /// Where it computes.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// The tokens that a text is encoded from: cut to length, with the two around it.
    pub(crate) fn tokenize(&self, text: &str) -> Vec<u32> {
        self.tokens.of(text)
    }

    /// What is trained.
    pub(crate) fn vars(&self) -> Vec<Var> {
        self.vars.iter().map(|(_, var)| var.clone()).collect()
    }

    /// The embeddings of texts, a row for each, through which gradients flow; as long as
    /// [`super::Encoder`] makes them.
    pub(crate) fn forward(&self, texts: &[&[u32]]) -> Result<Tensor> {
        let (ids, mask) = padded(texts, &self.device)?;
        let shape = ids.dims2()?;
        let words = self.words.index_select(&ids.flatten_all()?, 0)?;
        let words = words.reshape((shape.0, shape.1, self.dim()))?;
        let positions = self.positions.narrow(0, 0, shape.1)?;
        let epsilon = f64::from(self.settings.config.layer_norm_eps);
        let mut x = self
            .embedding_norm
            .forward(&words.broadcast_add(&positions)?, epsilon)?;
        // 0 inside a text, very low behind it.
        let bias = ((&mask - 1.0)? * NEVER)?.reshape((shape.0, 1, 1, shape.1))?;
        for layer in &self.layers {
            x = layer.forward(&x, &bias, &self.settings.config)?;
        }
        self.pool(&x, &mask)
    }

    fn pool(&self, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let pooled = pooled(x, mask, self.settings.pooling)?;
        if !self.settings.normalise {
            return Ok(pooled);
        }
        let length = (pooled.sqr()?.sum_keepdim(1)? + 1e-24)?.sqrt()?;
        pooled.broadcast_div(&length)
    }

    /// Writes all weights, those that were not trained too, under the names that they had in the
    /// file that they were read from. They are whole under `path`, or not there.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let mut all = self.file.clone();
        for (name, var) in &self.vars {
            all.insert(name.clone(), var.to_device(&Device::Cpu)?);
        }
        let partial = path.with_extension("partial");
        safetensors::save(&all, &partial)?;
        Ok(std::fs::rename(&partial, path)?)
    }
}

impl Norm {
    fn forward(&self, x: &Tensor, epsilon: f64) -> Result<Tensor> {
        let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let deviation = (x.sqr()?.mean_keepdim(D::Minus1)? + epsilon)?.sqrt()?;
        x.broadcast_div(&deviation)?
            .broadcast_mul(&self.gain)?
            .broadcast_add(&self.shift)
    }
}

impl Dense {
    /// Over the rows of a tensor of three dimensions.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (texts, tokens, width) = x.dims3()?;
        let rows = x.reshape((texts * tokens, width))?;
        let rows = rows.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)?;
        rows.reshape((texts, tokens, ()))
    }
}

impl Layer {
    fn forward(&self, x: &Tensor, bias: &Tensor, config: &Config) -> Result<Tensor> {
        let epsilon = f64::from(config.layer_norm_eps);
        let (texts, tokens, width) = x.dims3()?;
        let heads = config.num_attention_heads;
        let split = |dense: &Dense| -> Result<Tensor> {
            let rows = dense.forward(x)?;
            let rows = rows.reshape((texts, tokens, heads, width / heads))?;
            rows.transpose(1, 2)?.contiguous()
        };
        let (query, key, value) = (split(&self.query)?, split(&self.key)?, split(&self.value)?);
        let scale = 1.0 / ((width / heads) as f64).sqrt();
        let logits = (query.matmul(&key.t()?)? * scale)?.broadcast_add(bias)?;
        let mixed = softmax(&logits)?.matmul(&value)?;
        let mixed = mixed.transpose(1, 2)?.reshape((texts, tokens, width))?;
        let mixed = self.mix.forward(&mixed)?;
        let x = self.mix_norm.forward(&(mixed + x)?, epsilon)?;
        let wide = self.widen.forward(&x)?.gelu_erf()?;
        let narrow = self.narrow.forward(&wide)?;
        self.narrow_norm.forward(&(narrow + x)?, epsilon)
    }
}

/// Over the last dimension. What is subtracted changes nothing, so no gradient goes through it.
fn softmax(x: &Tensor) -> Result<Tensor> {
    let highest = x.max_keepdim(D::Minus1)?.detach();
    let powers = x.broadcast_sub(&highest)?.exp()?;
    powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)
}

/// Makes layers of named tensors and remembers what is trained.
struct Loader<'a> {
    weights: Weights<'a>,
    device: &'a Device,
    hidden: usize,
    vars: Vec<(String, Var)>,
}

impl Loader<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> std::result::Result<Tensor, EncoderError> {
        let values = self.weights.take(name, shape)?;
        Ok(Tensor::from_vec(values, shape, self.device)?.to_dtype(DType::F32)?)
    }

    fn var(&mut self, name: &str, shape: &[usize]) -> std::result::Result<Var, EncoderError> {
        let var = Var::from_tensor(&self.tensor(name, shape)?)?;
        self.vars.push((self.weights.full_name(name), var.clone()));
        Ok(var)
    }

    fn norm(&mut self, name: &str) -> std::result::Result<Norm, EncoderError> {
        let shape = [self.hidden];
        Ok(Norm {
            gain: self.var(&format!("{name}.weight"), &shape)?,
            shift: self.var(&format!("{name}.bias"), &shape)?,
        })
    }

    fn dense(
        &mut self,
        name: &str,
        n: usize,
        k: usize,
    ) -> std::result::Result<Dense, EncoderError> {
        Ok(Dense {
            weight: self.var(&format!("{name}.weight"), &[n, k])?,
            bias: self.var(&format!("{name}.bias"), &[n])?,
        })
    }

    fn layer(&mut self, index: usize, config: &Config) -> std::result::Result<Layer, EncoderError> {
        let (hidden, wide) = (self.hidden, config.intermediate_size);
        let name = |part: &str| format!("encoder.layer.{index}.{part}");
        Ok(Layer {
            query: self.dense(&name("attention.self.query"), hidden, hidden)?,
            key: self.dense(&name("attention.self.key"), hidden, hidden)?,
            value: self.dense(&name("attention.self.value"), hidden, hidden)?,
            mix: self.dense(&name("attention.output.dense"), hidden, hidden)?,
            mix_norm: self.norm(&name("attention.output.LayerNorm"))?,
            widen: self.dense(&name("intermediate.dense"), wide, hidden)?,
            narrow: self.dense(&name("output.dense"), hidden, wide)?,
            narrow_norm: self.norm(&name("output.LayerNorm"))?,
        })
    }
}
