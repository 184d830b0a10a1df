//! The decoder over candle's tensors: the layers of [`crate::Model`], on any device.
//!
//! Weights that a file has as blocks of bytes are widened. Attention gathers the keys and values of
//! each sequence from its blocks and multiplies them as matrices; sequences that compute the same
//! number of tokens, decodes above all, do so together, padded to the longest.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::ops::{rms_norm, softmax_last_dim, swiglu};
use candle_nn::rotary_emb::rope_thd;
use elis_ragged::{BLOCK_TOKENS, Pairing};

use super::batch::{Batch, Cells, Group};
use super::pool::DevicePool;
use crate::config::Config;
use crate::error::LoadError;
use crate::load::{Source, Tensors};

/// Weights of a model on a device.
#[derive(Debug)]
pub struct DeviceModel {
    pub(super) device: Device,
    pub(super) dtype: DType,
    config: Config,
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Tensor,
    /// Cosines and sines, a row for each position.
    rope: (Tensor, Tensor),
    /// What layers add to units and cells.
    offsets: (Tensor, Tensor),
}

#[derive(Debug)]
struct Layer {
    attention_norm: Tensor,
    qkv: Tensor,
    bias: Option<Tensor>,
    head_norms: Option<(Tensor, Tensor)>,
    output: Tensor,
    forward_norm: Tensor,
    gate_up: Tensor,
    down: Tensor,
}

/// What a forward pass has of its batch on the device.
struct Inputs<'a> {
    batch: &'a Batch,
    cos: Tensor,
    sin: Tensor,
    cells: Tensor,
    /// Units and mask of each group.
    groups: Vec<(Tensor, Tensor)>,
}

impl DeviceModel {
    pub(super) fn read(
        source: &mut Source,
        device: &Device,
        dtype: DType,
        mut each: impl FnMut(usize),
    ) -> std::result::Result<Self, LoadError> {
        let config = source.config.clone();
        let mut reader = Reader {
            tensors: source.tensors.as_mut(),
            config: &config,
            device,
            dtype,
        };
        let shape = (config.vocabulary, config.width);
        let embedding = reader.matrix(&["token_embd.weight"], &[shape])?;
        let head = if reader.tensors.has("output.weight") {
            reader.matrix(&["output.weight"], &[shape])?
        } else {
            embedding.clone()
        };
        let mut layers = Vec::with_capacity(config.layers);
        for index in 0..config.layers {
            layers.push(reader.layer(index)?);
            each(index);
        }
        let norm = reader.vector("output_norm.weight", config.width)?;
        let placed = rope(&config, device, dtype).and_then(|rope| {
            let (units, cells) = Cells(config.kv_layout()).layer_offsets();
            Ok((
                rope,
                (Tensor::new(units, device)?, Tensor::new(cells, device)?),
            ))
        });
        let (rope, offsets) = placed.map_err(|error| LoadError::Device(error.into()))?;
        Ok(Self {
            device: device.clone(),
            dtype,
            embedding,
            layers,
            norm,
            head,
            rope,
            offsets,
            config,
        })
    }

    /// Its sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn cells(&self) -> Cells {
        Cells(self.config.kv_layout())
    }

    /// Bytes of a KV block.
    pub fn block_bytes(&self) -> usize {
        self.cells().block_len() * self.dtype.size_in_bytes()
    }

    /// The logits of the wanted rows, as floats; `None` where no row is wanted.
    pub(super) fn forward(&self, batch: &Batch, pool: &DevicePool) -> Result<Option<Tensor>> {
        let device = &self.device;
        let positions = Tensor::new(batch.positions.as_slice(), device)?;
        let group = |group: &Group| {
            let tokens = group.blocks * BLOCK_TOKENS;
            let mask = Tensor::new(group.mask.as_slice(), device)?;
            let mask = mask.reshape((group.sequences, 1, group.tokens, tokens))?;
            Ok((Tensor::new(group.units.as_slice(), device)?, mask))
        };
        let inputs = Inputs {
            batch,
            cos: self.rope.0.index_select(&positions, 0)?,
            sin: self.rope.1.index_select(&positions, 0)?,
            cells: Tensor::new(batch.cells.as_slice(), device)?,
            groups: batch.groups.iter().map(group).collect::<Result<_>>()?,
        };
        let tokens = Tensor::new(batch.tokens.as_slice(), device)?;
        let mut x = self.embedding.index_select(&tokens, 0)?;
        for index in 0..self.layers.len() {
            x = self.layer(index, &x, &inputs, pool)?;
        }
        // The driver launches no kernel over nothing: it calls that an invalid argument.
        if batch.wanted.is_empty() {
            return Ok(None);
        }
        let wanted = Tensor::new(batch.wanted.as_slice(), device)?;
        let x = rms_norm(
            &x.index_select(&wanted, 0)?,
            &self.norm,
            self.config.epsilon,
        )?;
        product(&x, &self.head.t()?)?.to_dtype(DType::F32).map(Some)
    }

    fn layer(
        &self,
        index: usize,
        x: &Tensor,
        inputs: &Inputs<'_>,
        pool: &DevicePool,
    ) -> Result<Tensor> {
        let (config, layer) = (&self.config, &self.layers[index]);
        let rows = x.dim(0)?;
        let (heads, kv_heads, dim) = (config.heads, config.kv_heads, config.dim);
        let normed = rms_norm(x, &layer.attention_norm, config.epsilon)?;
        let mut qkv = product(&normed, &layer.qkv.t()?)?;
        if let Some(bias) = &layer.bias {
            qkv = qkv.broadcast_add(bias)?;
        }
        let qkv = qkv.reshape((1, rows, heads + 2 * kv_heads, dim))?;
        let mut turned = qkv.narrow(2, 0, heads + kv_heads)?.contiguous()?;
        if let Some((of_queries, of_keys)) = &layer.head_norms {
            let normed = |first, count, gain| {
                let part = turned.narrow(2, first, count)?.contiguous()?;
                rms_norm(&part, gain, config.epsilon)
            };
            let parts = [
                normed(0, heads, of_queries)?,
                normed(heads, kv_heads, of_keys)?,
            ];
            turned = Tensor::cat(&parts, 2)?;
        }
        let turned = rope_thd(&turned, &inputs.cos, &inputs.sin)?;
        let keys = turned.narrow(2, heads, kv_heads)?;
        let values = qkv.narrow(2, heads + kv_heads, kv_heads)?;
        let stored = Tensor::cat(&[keys, values], 0)?.reshape(((), dim))?;
        let offset = self.offsets.1.narrow(0, index, 1)?;
        pool.store(&stored, &inputs.cells.broadcast_add(&offset)?)?;
        let queries = turned.narrow(2, 0, heads)?.squeeze(0)?;
        let groups = inputs.batch.groups.iter().zip(&inputs.groups);
        let attended = groups.map(|(group, (units, mask))| {
            let units = units.broadcast_add(&self.offsets.0.narrow(0, index, 1)?)?;
            let own = queries.narrow(0, group.rows.start, group.rows.len())?;
            self.attend(group, &own, &pool.units()?.index_select(&units, 0)?, mask)
        });
        let attended = Tensor::cat(&attended.collect::<Result<Vec<_>>>()?, 0)?;
        let x = (x + product(&attended, &layer.output.t()?)?)?;
        let normed = rms_norm(&x, &layer.forward_norm, config.epsilon)?;
        let inner = swiglu(&product(&normed, &layer.gate_up.t()?)?)?;
        x + product(&inner, &layer.down.t()?)?
    }

    /// Attention of a group: its queries, `[row][head][number]`, to keys and values,
    /// `[keys or values * sequence * head * block][token * number]`.
    fn attend(
        &self,
        group: &Group,
        queries: &Tensor,
        kv: &Tensor,
        mask: &Tensor,
    ) -> Result<Tensor> {
        let (heads, kv_heads, dim) = (self.config.heads, self.config.kv_heads, self.config.dim);
        let (sequences, tokens, shared) = (group.sequences, group.tokens, heads / kv_heads);
        let seen = group.blocks * BLOCK_TOKENS;
        let kv = kv.reshape((2, sequences, kv_heads, seen, dim))?;
        let (keys, values) = (kv.get(0)?, kv.get(1)?);
        // Queries that share a head of keys lie under one another.
        let queries = queries.reshape((sequences, tokens, kv_heads, shared, dim))?;
        let queries = queries.permute((0, 2, 3, 1, 4))?.contiguous()?;
        let queries = queries.reshape((sequences, kv_heads, shared * tokens, dim))?;
        let queries = (queries * (1.0 / (dim as f64).sqrt()))?;
        let scores = product(&queries, &keys.t()?)?.to_dtype(DType::F32)?;
        let scores = scores.reshape((sequences, heads, tokens, seen))?;
        let weights = softmax_last_dim(&scores.broadcast_add(mask)?)?.to_dtype(self.dtype)?;
        let weights = weights.reshape((sequences, kv_heads, shared * tokens, seen))?;
        let mixed = product(&weights, &values)?;
        let mixed = mixed.reshape((sequences, kv_heads, shared, tokens, dim))?;
        let mixed = mixed.permute((0, 3, 1, 2, 4))?.contiguous()?;
        mixed.reshape((sequences * tokens, heads * dim))
    }
}

/// The product of two matrices, or of two stacks of them. On the processor candle multiplies no
/// bf16: there floats do, so that what bf16 rounds away can be seen without a GPU.
fn product(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    match (a.device(), a.dtype()) {
        (Device::Cpu, DType::BF16) => {
            let floats = a.to_dtype(DType::F32)?.matmul(&b.to_dtype(DType::F32)?)?;
            floats.to_dtype(DType::BF16)
        }
        _ => a.matmul(b),
    }
}

/// Cosines and sines of all positions.
fn rope(config: &Config, device: &Device, dtype: DType) -> Result<(Tensor, Tensor)> {
    let frequencies = config.rope_frequencies();
    let shape = (config.context_tokens, frequencies.len());
    let angles = (0..config.context_tokens)
        .flat_map(|position| frequencies.iter().map(move |f| position as f64 * f));
    let angles: Vec<f64> = angles.collect();
    let table = |of: fn(f64) -> f64| {
        let values: Vec<f32> = angles.iter().map(|&angle| of(angle) as f32).collect();
        place(values, shape, device, dtype)
    };
    Ok((table(f64::cos)?, table(f64::sin)?))
}

fn place(
    values: Vec<f32>,
    shape: impl Into<candle_core::Shape>,
    device: &Device,
    dtype: DType,
) -> Result<Tensor> {
    let tensor = Tensor::from_vec(values, shape, &Device::Cpu)?;
    tensor.to_dtype(dtype)?.to_device(device)
}

/// Reads weights and puts them on the device.
struct Reader<'a> {
    tensors: &'a mut dyn Tensors,
    config: &'a Config,
    device: &'a Device,
    dtype: DType,
}

impl Reader<'_> {
    fn place(&self, values: Vec<f32>, shape: &[usize]) -> std::result::Result<Tensor, LoadError> {
        let placed = place(values, shape, self.device, self.dtype);
        placed.map_err(|error| LoadError::Device(error.into()))
    }

    /// Several matrices with the same inputs, under one another.
    fn matrix(
        &mut self,
        names: &[&str],
        shapes: &[(usize, usize)],
    ) -> std::result::Result<Tensor, LoadError> {
        let mut values = Vec::new();
        for (name, &shape) in names.iter().zip(shapes) {
            let part = self.tensors.matrix(name, shape)?.into_floats();
            // Most have one part, which may be gigabytes.
            if values.is_empty() {
                values = part;
            } else {
                values.extend(part);
            }
        }
        let outputs = shapes.iter().map(|shape| shape.0).sum();
        self.place(values, &[outputs, shapes[0].1])
    }

    fn vector(&mut self, name: &str, len: usize) -> std::result::Result<Tensor, LoadError> {
        let values = self.tensors.vector(name, len)?;
        self.place(values, &[len])
    }

    fn layer(&mut self, index: usize) -> std::result::Result<Layer, LoadError> {
        let config = self.config;
        let (width, inner) = (config.width, config.inner);
        let name = |part: &str| format!("blk.{index}.{part}.weight");
        let (qkv, bias) = self.qkv(index)?;
        let norms = [name("attn_q_norm"), name("attn_k_norm")];
        let head_norms = if self.tensors.has(&norms[0]) {
            let mut norm = |name: &str| {
                let gain = self.tensors.vector(name, config.dim)?;
                self.place(self.in_halves(gain, 1), &[config.dim])
            };
            Some((norm(&norms[0])?, norm(&norms[1])?))
        } else {
            None
        };
        let output = (width, config.heads * config.dim);
        Ok(Layer {
            attention_norm: self.vector(&name("attn_norm"), width)?,
            qkv,
            bias,
            head_norms,
            output: self.matrix(&[&name("attn_output")], &[output])?,
            forward_norm: self.vector(&name("ffn_norm"), width)?,
            gate_up: self.matrix(&[&name("ffn_gate"), &name("ffn_up")], &[(inner, width); 2])?,
            down: self.matrix(&[&name("ffn_down")], &[(width, inner)])?,
        })
    }

    /// The matrix of queries, keys and values, and its bias where there is one.
    fn qkv(&mut self, index: usize) -> std::result::Result<(Tensor, Option<Tensor>), LoadError> {
        let config = self.config;
        let (q, kv) = (config.heads * config.dim, config.kv_heads * config.dim);
        let (mut weights, mut biases, mut biased) = (Vec::new(), Vec::new(), false);
        for (part, outputs, turns) in [
            ("attn_q", q, true),
            ("attn_k", kv, true),
            ("attn_v", kv, false),
        ] {
            let weight = format!("blk.{index}.{part}.weight");
            let rows = self
                .tensors
                .matrix(&weight, (outputs, config.width))?
                .into_floats();
            let name = format!("blk.{index}.{part}.bias");
            let own = self.tensors.has(&name);
            biased |= own;
            let bias = if own {
                self.tensors.vector(&name, outputs)?
            } else {
                vec![0.0; outputs]
            };
            if turns {
                weights.extend(self.in_halves(rows, config.width));
                biases.extend(self.in_halves(bias, 1));
            } else {
                weights.extend(rows);
                biases.extend(bias);
            }
        }
        let outputs = biases.len();
        let bias = biased.then(|| self.place(biases, &[outputs])).transpose()?;
        Ok((self.place(weights, &[outputs, config.width])?, bias))
    }

    /// Rows of heads in the order in which halves turn together, whatever order they come in:
    /// queries and keys in another order have the same products.
    fn in_halves(&self, rows: Vec<f32>, len: usize) -> Vec<f32> {
        match self.config.pairing {
            Pairing::Halves => rows,
            Pairing::Neighbours => {
                let heads = rows.chunks_exact(self.config.dim * len);
                heads.flat_map(|head| halves(head, len)).collect()
            }
        }
    }
}

/// The rows 0, 2, 4 and so on of a head, then 1, 3, 5 and so on.
fn halves(head: &[f32], len: usize) -> Vec<f32> {
    let rows = || head.chunks_exact(len);
    let even = rows().step_by(2);
    even.chain(rows().skip(1).step_by(2))
        .flatten()
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_come_into_halves() {
        assert_eq!(halves(&[0.0, 1.0, 2.0, 3.0], 1), [0.0, 2.0, 1.0, 3.0]);
        let rows = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5];
        assert_eq!(halves(&rows, 2), [0.0, 0.5, 2.0, 2.5, 1.0, 1.5, 3.0, 3.5]);
    }
}
