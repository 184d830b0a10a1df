//! BERT over packed sequences, on the kernels of `elis-ragged`.

use std::ops::Range;

use elis_ragged::{
    Cpu, Heads, Linear, Precision, Ragged, Scratch, add_layer_norm, bidirectional, gelu, grown,
    share,
};

use super::folder::{Config, Pooling};
use super::weights::Weights;
use super::{EncoderError, pool};

/// Rows of a group of sequences that pass through all layers together: enough that weights are
/// read seldom, few enough that what a layer leaves behind stays in the caches.
const GROUP_ROWS: usize = 512;
/// Rows that pass through the wide middle of a layer together, which then stays in the second
/// cache; a multiple of the rows of both micro kernels.
const WIDE_ROWS: usize = 96;

/// A model, and memory for each thread to work in.
pub(super) struct Bert {
    cpu: Cpu,
    heads: Heads,
    hidden: usize,
    epsilon: f32,
    /// Vectors of tokens, row-major.
    words: Vec<f32>,
    /// Vectors of positions, that of the first token type added.
    positions: Vec<f32>,
    embedding_norm: Norm,
    layers: Vec<Layer>,
    spaces: Vec<Space>,
}

struct Norm {
    gain: Vec<f32>,
    shift: Vec<f32>,
}

struct Layer {
    /// Queries, keys and values in one.
    qkv: Linear,
    mix: Linear,
    mix_norm: Norm,
    widen: Linear,
    narrow: Linear,
    narrow_norm: Norm,
}

/// Memory of one thread, reused.
#[derive(Default)]
struct Space {
    layout: Ragged,
    hidden: Vec<f32>,
    next: Vec<f32>,
    qkv: Vec<f32>,
    mixed: Vec<f32>,
    wide: Vec<f32>,
    scratch: Scratch,
}

/// Texts as tokens, and where their embeddings go.
struct Group<'a> {
    texts: &'a [&'a [u32]],
    out: &'a mut [f32],
}

impl Bert {
    pub(super) fn new(
        config: &Config,
        weights: &Weights<'_>,
        precision: Precision,
        cpu: Cpu,
        threads: usize,
    ) -> Result<Self, EncoderError> {
        let hidden = config.hidden_size;
        let tables = "embeddings";
        let table = |name: &str, rows| {
            weights.take(
                &format!("{tables}.{name}_embeddings.weight"),
                &[rows, hidden],
            )
        };
        let words = table("word", config.vocab_size)?;
        let mut positions = table("position", config.max_position_embeddings)?;
        let types = table("token_type", config.type_vocab_size)?;
        for row in positions.chunks_exact_mut(hidden) {
            for (value, kind) in row.iter_mut().zip(&types[..hidden]) {
                *value += kind;
            }
        }
        let loader = Loader {
            config,
            weights,
            precision,
            cpu,
        };
        let layers = (0..config.num_hidden_layers).map(|i| loader.layer(i));
        Ok(Self {
            cpu,
            heads: Heads {
                count: config.num_attention_heads,
                dim: hidden / config.num_attention_heads,
            },
            hidden,
            epsilon: config.layer_norm_eps,
            words,
            positions,
            embedding_norm: loader.norm("embeddings.LayerNorm")?,
            layers: layers.collect::<Result<_, _>>()?,
            spaces: (0..threads.max(1)).map(|_| Space::default()).collect(),
        })
    }

    /// Fills `out`, a row for each text. All tokens are in the vocabulary and all texts have one
    /// at least and no more than there are positions.
    pub(super) fn encode(&mut self, texts: &[&[u32]], pooling: Pooling, out: &mut [f32]) {
        let mut spaces = std::mem::take(&mut self.spaces);
        let layout = Ragged::from_lengths(texts.iter().map(|text| text.len()));
        // Small batches are shared too, as far as texts are not split.
        let rows_max = GROUP_ROWS.min(layout.rows().div_ceil(spaces.len()));
        let mut groups = Vec::new();
        let mut left = out;
        for Range { start, end } in layout.groups(rows_max) {
            let (out, rest) = left.split_at_mut((end - start) * self.hidden);
            left = rest;
            let texts = &texts[start..end];
            groups.push(Group { texts, out });
        }
        share(&mut spaces, groups, |space, group| {
            self.group(space, group, pooling);
        });
        self.spaces = spaces;
    }

    fn group(&self, space: &mut Space, group: Group<'_>, pooling: Pooling) {
        let Space {
            layout,
            hidden,
            next,
            qkv,
            mixed,
            wide,
            scratch,
        } = space;
        let Group { texts, out } = group;
        layout.clear();
        texts.iter().for_each(|text| layout.push(text.len()));
        let size = layout.rows() * self.hidden;
        let mut hidden = grown(hidden, size);
        let mut next = grown(next, size);
        let (qkv, mixed) = (grown(qkv, size * 3), grown(mixed, size));
        self.embed(texts, hidden, next);
        for layer in &self.layers {
            layer.qkv.forward(hidden, qkv, scratch);
            bidirectional(self.cpu, layout, self.heads, qkv, mixed, scratch);
            layer.mix.forward(mixed, next, scratch);
            self.norm(next, hidden, &layer.mix_norm);
            std::mem::swap(&mut hidden, &mut next);
            let rows = hidden.chunks(WIDE_ROWS * self.hidden);
            for (hidden, next) in rows.zip(next.chunks_mut(WIDE_ROWS * self.hidden)) {
                let wide = grown(wide, hidden.len() / self.hidden * layer.widen.shape().0);
                layer.widen.forward(hidden, wide, scratch);
                gelu(self.cpu, wide);
                layer.narrow.forward(wide, next, scratch);
                self.norm(next, hidden, &layer.narrow_norm);
            }
            std::mem::swap(&mut hidden, &mut next);
        }
        let width = self.hidden;
        for (rows, out) in layout.ranges().zip(out.chunks_exact_mut(width)) {
            pool(&hidden[rows.start * width..rows.end * width], pooling, out);
        }
    }

    /// Fills `hidden` from the tables; `other` is lent.
    fn embed(&self, texts: &[&[u32]], hidden: &mut [f32], other: &mut [f32]) {
        let width = self.hidden;
        let rows = hidden
            .chunks_exact_mut(width)
            .zip(other.chunks_exact_mut(width));
        let tokens = texts.iter().flat_map(|text| text.iter().enumerate());
        for ((word, place), (position, &id)) in rows.zip(tokens) {
            word.copy_from_slice(&self.words[id as usize * width..][..width]);
            place.copy_from_slice(&self.positions[position * width..][..width]);
        }
        self.norm(hidden, other, &self.embedding_norm);
    }

    fn norm(&self, x: &mut [f32], residual: &[f32], norm: &Norm) {
        add_layer_norm(self.cpu, x, residual, &norm.gain, &norm.shift, self.epsilon);
    }
}

/// Makes layers of named tensors.
struct Loader<'a> {
    config: &'a Config,
    weights: &'a Weights<'a>,
    precision: Precision,
    cpu: Cpu,
}

impl Loader<'_> {
    fn norm(&self, name: &str) -> Result<Norm, EncoderError> {
        let shape = [self.config.hidden_size];
        Ok(Norm {
            gain: self.weights.take(&format!("{name}.weight"), &shape)?,
            shift: self.weights.take(&format!("{name}.bias"), &shape)?,
        })
    }

    /// One linear layer of several, whose outputs come one after another.
    fn linear(&self, names: &[String], n: usize, k: usize) -> Result<Linear, EncoderError> {
        let (mut weights, mut bias) = (Vec::new(), Vec::new());
        for name in names {
            weights.extend(self.weights.take(&format!("{name}.weight"), &[n, k])?);
            bias.extend(self.weights.take(&format!("{name}.bias"), &[n])?);
        }
        let shape = (n * names.len(), k);
        Ok(Linear::new(
            self.cpu,
            self.precision,
            shape,
            &weights,
            &bias,
        ))
    }

    fn layer(&self, index: usize) -> Result<Layer, EncoderError> {
        let (hidden, wide) = (self.config.hidden_size, self.config.intermediate_size);
        let name = |part: &str| format!("encoder.layer.{index}.{part}");
        let qkv = ["query", "key", "value"].map(|part| name(&format!("attention.self.{part}")));
        Ok(Layer {
            qkv: self.linear(&qkv, hidden, hidden)?,
            mix: self.linear(&[name("attention.output.dense")], hidden, hidden)?,
            mix_norm: self.norm(&name("attention.output.LayerNorm"))?,
            widen: self.linear(&[name("intermediate.dense")], wide, hidden)?,
            narrow: self.linear(&[name("output.dense")], hidden, wide)?,
            narrow_norm: self.norm(&name("output.LayerNorm"))?,
        })
    }
}
