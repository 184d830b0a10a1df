//! The decoder: Llama and its relatives, over packed rows of any sequences at any positions.
//!
//! The layers follow Touvron et al., 2023 (RMSNorm before each part, rotary positions, SwiGLU) with
//! grouped queries; Qwen2 adds biases to queries, keys and values, Qwen3 a norm to each of their
//! heads. A row's result has the same bits whatever other rows are in the batch.

use std::ops::Range;

use elis_ragged::{
    Chunk, Cpu, Linear, Precision, Queries, Rope, Scratch, add, causal, grown, rms_norm,
    silu_product,
};

use crate::cache::Cache;
use crate::config::Config;
use crate::error::LoadError;
use crate::load::{Matrix, Source, Tensors, linear};

/// One sequence's part of an iteration. Neighbouring tokens of a sequence may be parts of their own
/// in the same iteration: keys and values of a layer are all stored before they are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<'a> {
    /// The tokens that are computed now.
    pub tokens: &'a [u32],
    /// Tokens before them, whose keys and values are in the cache.
    pub context: usize,
    /// The sequence's blocks, enough for both.
    pub table: &'a [u32],
    /// Whether the logits after the last token are wanted.
    pub wants_logits: bool,
}

/// Weights of a model.
#[derive(Debug)]
pub struct Model {
    cpu: Cpu,
    config: Config,
    embedding: Matrix,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    head: Linear,
    rope: Rope,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Vec<f32>,
    qkv: Linear,
    /// Norms of each head of queries and of keys.
    head_norms: Option<[Vec<f32>; 2]>,
    output: Linear,
    forward_norm: Vec<f32>,
    gate_up: Linear,
    down: Linear,
}

/// Memory of a forward pass, kept from one to the next.
#[derive(Debug, Default)]
pub struct Workspace {
    scratch: Scratch,
    x: Vec<f32>,
    normed: Vec<f32>,
    qkv: Vec<f32>,
    attended: Vec<f32>,
    gate_up: Vec<f32>,
    inner: Vec<f32>,
    wanted: Vec<f32>,
    logits: Vec<f32>,
}

impl Model {
    /// Reads all weights. `precision` of `None` keeps what the file has; `each` hears of every
    /// layer that is done.
    ///
    /// # Errors
    ///
    /// Every [`LoadError`] that a tensor can have.
    pub fn load(
        source: &mut Source,
        cpu: Cpu,
        precision: Option<Precision>,
        mut each: impl FnMut(usize),
    ) -> Result<Self, LoadError> {
        let config = source.config.clone();
        let tensors = source.tensors.as_mut();
        let shape = (config.vocabulary, config.width);
        let embedding = tensors.matrix("token_embd.weight", shape)?;
        let tied = !tensors.has("output.weight");
        let own = (!tied).then(|| tensors.matrix("output.weight", shape));
        let own = own.transpose()?;
        let rows = own.as_ref().unwrap_or(&embedding);
        let bias = vec![0.0; config.vocabulary];
        let head = linear(cpu, precision, std::slice::from_ref(rows), &bias);
        let layers = (0..config.layers).map(|i| {
            let layer = Layer::load(tensors, &config, cpu, precision, i);
            each(i);
            layer
        });
        Ok(Self {
            layers: layers.collect::<Result<_, _>>()?,
            norm: tensors.vector("output_norm.weight", config.width)?,
            rope: Rope::new(
                config.pairing,
                &config.rope_frequencies(),
                config.context_tokens,
            ),
            cpu,
            embedding,
            head,
            config,
        })
    }

    /// Its sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The kernels it runs on.
    pub fn cpu(&self) -> Cpu {
        self.cpu
    }

    /// Computes the tokens of all parts in one iteration. Returns the logits of those parts that
    /// want them, in order, each as long as the vocabulary.
    ///
    /// # Panics
    ///
    /// If a token is not in the vocabulary, a position is beyond the context or a table too short;
    /// [`crate::Sequence`] sees to that.
    pub fn forward<'s>(
        &self,
        parts: &[Part<'_>],
        cache: &mut Cache,
        space: &'s mut Workspace,
    ) -> &'s mut [f32] {
        let width = self.config.width;
        let chunks = chunks(parts);
        let rows = chunks.last().map_or(0, |chunk| chunk.rows.end);
        let x = grown(&mut space.x, rows * width);
        let tokens = parts.iter().flat_map(|part| part.tokens);
        for (row, &token) in x.chunks_exact_mut(width).zip(tokens) {
            self.embedding.row(token as usize, row);
        }
        for (index, layer) in self.layers.iter().enumerate() {
            self.layer(index, layer, rows, &chunks, cache, space);
        }
        let wanting = parts
            .iter()
            .zip(&chunks)
            .filter(|(part, _)| part.wants_logits);
        let count = wanting.clone().count();
        let wanted = grown(&mut space.wanted, count * width);
        for (to, (_, chunk)) in wanted.chunks_exact_mut(width).zip(wanting) {
            let row = &space.x[(chunk.rows.end - 1) * width..chunk.rows.end * width];
            rms_norm(self.cpu, row, &self.norm, self.config.epsilon, to);
        }
        let logits = grown(&mut space.logits, count * self.config.vocabulary);
        self.head.forward(wanted, logits, &mut space.scratch);
        logits
    }

    fn layer(
        &self,
        index: usize,
        layer: &Layer,
        rows: usize,
        chunks: &[Chunk<'_>],
        cache: &mut Cache,
        space: &mut Workspace,
    ) {
        let (config, cpu) = (&self.config, self.cpu);
        let (width, epsilon) = (config.width, config.epsilon);
        let (q_width, kv_width) = (config.heads * config.dim, config.kv_heads * config.dim);
        let stride = q_width + 2 * kv_width;
        let x = grown(&mut space.x, rows * width);
        let normed = grown(&mut space.normed, rows * width);
        rms_norm(cpu, x, &layer.attention_norm, epsilon, normed);
        let qkv = grown(&mut space.qkv, rows * stride);
        layer.qkv.forward(normed, qkv, &mut space.scratch);
        for chunk in chunks {
            let own = &mut qkv[chunk.rows.start * stride..chunk.rows.end * stride];
            for (i, row) in own.chunks_exact_mut(stride).enumerate() {
                let position = chunk.context + i;
                if let Some(norms) = &layer.head_norms {
                    self.norm_heads(norms, &mut row[..q_width + kv_width]);
                }
                self.rope.turn(position, &mut row[..q_width + kv_width]);
                let (keys, values) = row[q_width..].split_at(kv_width);
                cache.store(index, chunk.table, position, (keys, values));
            }
        }
        let attended = grown(&mut space.attended, rows * q_width);
        let mut queries = Queries {
            heads: config.query_heads(),
            values: qkv,
            stride,
            out: attended,
        };
        let scratch = &mut space.scratch;
        causal(cpu, cache.view(), index, chunks, &mut queries, scratch);
        layer.output.forward(attended, normed, scratch);
        add(x, normed);
        rms_norm(cpu, x, &layer.forward_norm, epsilon, normed);
        let gate_up = grown(&mut space.gate_up, rows * 2 * config.inner);
        layer.gate_up.forward(normed, gate_up, scratch);
        let inner = grown(&mut space.inner, rows * config.inner);
        silu_product(cpu, gate_up, config.inner, inner);
        layer.down.forward(inner, normed, scratch);
        add(x, normed);
    }

    /// Norms each head of queries, then of keys.
    fn norm_heads(&self, norms: &[Vec<f32>; 2], values: &mut [f32]) {
        let (dim, epsilon) = (self.config.dim, self.config.epsilon);
        let mut normed = vec![0.0; dim];
        for (i, head) in values.chunks_exact_mut(dim).enumerate() {
            let gain = &norms[usize::from(i >= self.config.heads)];
            rms_norm(self.cpu, head, gain, epsilon, &mut normed);
            head.copy_from_slice(&normed);
        }
    }
}

/// Where the rows of each part lie.
fn chunks<'a>(parts: &[Part<'a>]) -> Vec<Chunk<'a>> {
    let mut rows: Range<usize> = 0..0;
    let chunk = |part: &Part<'a>| {
        rows = rows.end..rows.end + part.tokens.len();
        Chunk {
            rows: rows.clone(),
            context: part.context,
            table: part.table,
        }
    };
    parts.iter().map(chunk).collect()
}

impl Layer {
    fn load(
        tensors: &mut dyn Tensors,
        config: &Config,
        cpu: Cpu,
        precision: Option<Precision>,
        index: usize,
    ) -> Result<Self, LoadError> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let (width, inner) = (config.width, config.inner);
        let (q, kv) = (config.heads * config.dim, config.kv_heads * config.dim);
        let qkv = [("attn_q", q), ("attn_k", kv), ("attn_v", kv)];
        let mut matrices = Vec::new();
        let mut bias = Vec::new();
        for (part, outputs) in qkv {
            let weight = name(&format!("{part}.weight"));
            matrices.push(tensors.matrix(&weight, (outputs, width))?);
            let own = name(&format!("{part}.bias"));
            if tensors.has(&own) {
                bias.extend(tensors.vector(&own, outputs)?);
            } else {
                bias.resize(bias.len() + outputs, 0.0);
            }
        }
        let mut plain = |parts: &[(&str, (usize, usize))]| -> Result<Linear, LoadError> {
            let read = parts
                .iter()
                .map(|(part, shape)| tensors.matrix(&name(&format!("{part}.weight")), *shape));
            let read: Vec<Matrix> = read.collect::<Result<_, _>>()?;
            let outputs = parts.iter().map(|(_, shape)| shape.0).sum();
            Ok(linear(cpu, precision, &read, &vec![0.0; outputs]))
        };
        let output = plain(&[("attn_output", (width, q))])?;
        let gate_up = plain(&[("ffn_gate", (inner, width)), ("ffn_up", (inner, width))])?;
        let down = plain(&[("ffn_down", (width, inner))])?;
        let mut vector = |part: &str, len| tensors.vector(&name(part), len);
        let attention_norm = vector("attn_norm.weight", width)?;
        let forward_norm = vector("ffn_norm.weight", width)?;
        let head_norms = if tensors.has(&name("attn_q_norm.weight")) {
            let mut norm = |part: &str| tensors.vector(&name(part), config.dim);
            Some([norm("attn_q_norm.weight")?, norm("attn_k_norm.weight")?])
        } else {
            None
        };
        Ok(Self {
            attention_norm,
            qkv: linear(cpu, precision, &matrices, &bias),
            head_norms,
            output,
            forward_norm,
            gate_up,
            down,
        })
    }
}
