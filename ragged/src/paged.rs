//! Causal attention over keys and values that lie in blocks, as vLLM's PagedAttention has them.
//!
//! A block holds 32 tokens of all layers. In it, a head's keys are a panel of the micro kernel,
//! inner index first, and its values are panels too: what attention multiplies is never packed
//! again. Sums run in the order of positions, one token after another, so a token's result has the
//! same bits in any batch, and however its sequence was cut into chunks.

use std::ops::Range;

use crate::attention::Heads;
use crate::cpu::Cpu;
use crate::dense::{ROWS, Start, Tile, tile};
use crate::elementwise::{scale_rows, softmax};
use crate::panels::WIDTH;
use crate::scratch::{Scratch, grown};

/// Tokens of a KV block.
pub const BLOCK_TOKENS: usize = WIDTH;

/// How keys and values lie in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvLayout {
    /// Layers of the model.
    pub layers: usize,
    /// Heads that have keys and values.
    pub heads: usize,
    /// Numbers in a key or value.
    pub dim: usize,
}

impl KvLayout {
    /// Floats of a block, all layers together.
    pub fn block_len(self) -> usize {
        self.layers * self.layer_len()
    }

    fn layer_len(self) -> usize {
        self.heads * self.head_len()
    }

    /// Keys, and values padded to whole panels.
    fn head_len(self) -> usize {
        self.key_len() + self.dim.next_multiple_of(WIDTH) * BLOCK_TOKENS
    }

    fn key_len(self) -> usize {
        self.dim * BLOCK_TOKENS
    }

    /// Where a head of a layer begins in a block.
    fn start(self, layer: usize, head: usize) -> usize {
        layer * self.layer_len() + head * self.head_len()
    }

    /// Writes one token's keys and values of a layer, heads one after another, into its block.
    ///
    /// # Panics
    ///
    /// If the slices are not of this layout.
    pub fn store(self, block: &mut [f32], layer: usize, slot: usize, keys: &[f32], values: &[f32]) {
        let dim = self.dim;
        assert!(slot < BLOCK_TOKENS && keys.len() == self.heads * dim);
        for head in 0..self.heads {
            let head_of = &mut block[self.start(layer, head)..][..self.head_len()];
            let (to_keys, to_values) = head_of.split_at_mut(self.key_len());
            let key = &keys[head * dim..(head + 1) * dim];
            for (row, &value) in to_keys.chunks_exact_mut(BLOCK_TOKENS).zip(key) {
                row[slot] = value;
            }
            let value = &values[head * dim..(head + 1) * dim];
            let panels = to_values.chunks_exact_mut(BLOCK_TOKENS * WIDTH);
            for (panel, part) in panels.zip(value.chunks(WIDTH)) {
                panel[slot * WIDTH..][..part.len()].copy_from_slice(part);
            }
        }
    }
}

/// One sequence of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// Its rows in the batch: tokens that are computed now.
    pub rows: Range<usize>,
    /// Tokens before them, whose keys and values are in the blocks already.
    pub context: usize,
    /// Its blocks in order, by number.
    pub table: &'a [u32],
}

/// A pool of blocks as attention reads it.
#[derive(Debug, Clone, Copy)]
pub struct KvPool<'a> {
    /// How a block is laid out.
    pub layout: KvLayout,
    /// Block `i` begins at `i * layout.block_len()`.
    pub blocks: &'a [f32],
}

impl KvPool<'_> {
    fn head(&self, block: u32, layer: usize, head: usize) -> (&[f32], &[f32]) {
        let start = block as usize * self.layout.block_len() + self.layout.start(layer, head);
        let of_head = &self.blocks[start..start + self.layout.head_len()];
        of_head.split_at(self.layout.key_len())
    }
}

/// Queries and their results: rows x (heads.count * heads.dim), the queries with a stride.
#[derive(Debug)]
pub struct Queries<'a> {
    /// The heads of queries; each key serves `heads.count / layout.heads` of them.
    pub heads: Heads,
    /// Row `i` begins at `i * stride`.
    pub values: &'a [f32],
    /// Floats from one row to the next.
    pub stride: usize,
    /// Where results go, without a stride.
    pub out: &'a mut [f32],
}

/// Attention of each row to all tokens of its sequence up to itself. Their keys and values, those
/// of the rows too, must be in the pool.
///
/// # Panics
///
/// If slices, tables and layout do not fit together.
pub fn causal(
    cpu: Cpu,
    pool: KvPool<'_>,
    layer: usize,
    chunks: &[Chunk<'_>],
    queries: &mut Queries<'_>,
    scratch: &mut Scratch,
) {
    let heads = queries.heads;
    assert!(heads.count.is_multiple_of(pool.layout.heads) && heads.dim == pool.layout.dim);
    let group = heads.count / pool.layout.heads;
    for chunk in chunks {
        for kv_head in 0..pool.layout.heads {
            let one = KvHead {
                cpu,
                pool,
                layer,
                kv_head,
                group,
                chunk,
            };
            // Queries of a row that share keys, and rows after one another, share a tile.
            let all = chunk.rows.len() * group;
            for first in (0..all).step_by(ROWS) {
                one.tile(first..all.min(first + ROWS), queries, scratch);
            }
        }
    }
}

/// The queries of one sequence that share a head of keys.
struct KvHead<'a> {
    cpu: Cpu,
    pool: KvPool<'a>,
    layer: usize,
    kv_head: usize,
    group: usize,
    chunk: &'a Chunk<'a>,
}

impl KvHead<'_> {
    /// The row and the first column of a query.
    fn place(&self, query: usize, dim: usize) -> (usize, usize) {
        let row = self.chunk.rows.start + query / self.group;
        (row, (self.kv_head * self.group + query % self.group) * dim)
    }

    fn tile(&self, which: Range<usize>, queries: &mut Queries<'_>, scratch: &mut Scratch) {
        let Heads { dim, .. } = queries.heads;
        let count = which.len();
        let tokens_of = |query: usize| self.chunk.context + query / self.group + 1;
        let tokens = tokens_of(which.end - 1);
        let table = &self.chunk.table[..tokens.div_ceil(BLOCK_TOKENS)];
        let padded = table.len() * BLOCK_TOKENS;
        let gathered = grown(&mut scratch.rows, ROWS * dim);
        for (to, query) in gathered.chunks_exact_mut(dim).zip(which.clone()) {
            let (row, column) = self.place(query, dim);
            let from = &queries.values[row * queries.stride + column..][..dim];
            for (to, from) in to.iter_mut().zip(from) {
                *to = from * queries.heads.scale();
            }
        }
        let scores = grown(&mut scratch.scores, ROWS * padded);
        self.score(gathered, (count, padded, dim), table, scores);
        let mut inverses = [0.0; ROWS];
        let rows = scores.chunks_exact_mut(padded).zip(&mut inverses);
        for ((row, inverse), query) in rows.zip(which.clone()) {
            let seen = tokens_of(query);
            softmax(self.cpu, row, padded, seen, std::slice::from_mut(inverse));
            row[seen..].fill(0.0);
        }
        // The queries are done with, and a result is as long as a query.
        self.mix(scores, (count, tokens, padded), table, gathered, dim);
        scale_rows(self.cpu, gathered, dim, dim, &inverses[..count]);
        let width = queries.heads.width();
        for (from, query) in gathered.chunks_exact(dim).zip(which) {
            let (row, column) = self.place(query, dim);
            queries.out[row * width + column..][..dim].copy_from_slice(from);
        }
    }

    /// Products of queries and keys; those of later tokens are there too and mean nothing.
    fn score(
        &self,
        gathered: &[f32],
        (count, padded, dim): (usize, usize, usize),
        table: &[u32],
        scores: &mut [f32],
    ) {
        for (i, &block) in table.iter().enumerate() {
            let (keys, _) = self.pool.head(block, self.layer, self.kv_head);
            let product = Tile {
                a: gathered,
                a_stride: dim,
                panel: keys,
                k: dim,
                rows: count,
                columns: BLOCK_TOKENS,
                start: Start::Zero,
                out_stride: padded,
            };
            tile(self.cpu, &product, &mut scores[i * BLOCK_TOKENS..]);
        }
    }

    /// Sums of values, weighted by scores.
    fn mix(
        &self,
        scores: &[f32],
        (count, tokens, padded): (usize, usize, usize),
        table: &[u32],
        out: &mut [f32],
        dim: usize,
    ) {
        for part in 0..dim.div_ceil(WIDTH) {
            for (i, &block) in table.iter().enumerate() {
                let (_, values) = self.pool.head(block, self.layer, self.kv_head);
                let sum = Tile {
                    a: &scores[i * BLOCK_TOKENS..],
                    a_stride: padded,
                    panel: &values[part * BLOCK_TOKENS * WIDTH..][..BLOCK_TOKENS * WIDTH],
                    k: BLOCK_TOKENS.min(tokens - i * BLOCK_TOKENS),
                    rows: count,
                    columns: WIDTH.min(dim - part * WIDTH),
                    start: if i == 0 { Start::Zero } else { Start::Output },
                    out_stride: dim,
                };
                tile(self.cpu, &sum, &mut out[part * WIDTH..]);
            }
        }
    }
}
