//! Attention in which every token sees its whole sequence, and no other.

use crate::cpu::{Cpu, Level};
use crate::elementwise::{scale_rows, softmax};
use crate::layout::Ragged;
use crate::product::{Matrix, product};
use crate::scratch::{Scratch, grown};

/// The heads of a layer; the width of the model is `count * dim`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Number of heads.
    pub count: usize,
    /// Numbers in a query, key or value.
    pub dim: usize,
}

impl Heads {
    pub(crate) fn width(self) -> usize {
        self.count * self.dim
    }

    pub(crate) fn scale(self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }
}

/// Queries that are scored at once without a micro kernel.
const QUERIES: usize = 64;

/// Fills `out`, rows x width, from `qkv`, rows x three widths: queries, keys and values beside one
/// another. Scores are divided by the square root of `heads.dim`.
///
/// # Panics
///
/// If the lengths do not match the layout.
pub fn bidirectional(
    cpu: Cpu,
    layout: &Ragged,
    heads: Heads,
    qkv: &[f32],
    out: &mut [f32],
    scratch: &mut Scratch,
) {
    let width = heads.width();
    assert_eq!(qkv.len(), layout.rows() * 3 * width);
    assert_eq!(out.len(), layout.rows() * width);
    for rows in layout.ranges().filter(|rows| !rows.is_empty()) {
        let qkv = &qkv[rows.start * 3 * width..rows.end * 3 * width];
        let out = &mut out[rows.start * width..rows.end * width];
        for head in 0..heads.count {
            let one = Head {
                cpu,
                heads,
                qkv: &qkv[head * heads.dim..],
                tokens: rows.len(),
            };
            let out = &mut out[head * heads.dim..];
            #[cfg(target_arch = "x86_64")]
            if cpu.level() == Level::Avx512 {
                one.by_tiles(out, scratch);
                continue;
            }
            one.by_products(out, scratch);
        }
    }
}

/// One head of one sequence.
struct Head<'a> {
    cpu: Cpu,
    heads: Heads,
    /// Begins at this head's first query.
    qkv: &'a [f32],
    tokens: usize,
}

impl Head<'_> {
    fn by_products(&self, out: &mut [f32], scratch: &mut Scratch) {
        let (width, dim, tokens) = (self.heads.width(), self.heads.dim, self.tokens);
        let part = |from: usize, row_stride, column_stride| Matrix {
            values: &self.qkv[from..],
            row_stride,
            column_stride,
        };
        let keys = part(width, 1, 3 * width);
        let values = part(2 * width, 3 * width, 1);
        for first in (0..tokens).step_by(QUERIES) {
            let count = QUERIES.min(tokens - first);
            let queries = part(first * 3 * width, 3 * width, 1);
            let scores = grown(&mut scratch.scores, count * tokens);
            product((count, tokens, dim), queries, keys, scores, tokens, false);
            scale_rows(
                self.cpu,
                scores,
                tokens,
                tokens,
                &[self.heads.scale(); QUERIES],
            );
            let mut inverses = [0.0; QUERIES];
            softmax(self.cpu, scores, tokens, tokens, &mut inverses);
            let scores = Matrix {
                values: scores,
                row_stride: tokens,
                column_stride: 1,
            };
            let out = &mut out[first * width..];
            product((count, dim, tokens), scores, values, out, width, false);
            scale_rows(self.cpu, out, width, dim, &inverses[..count]);
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn by_tiles(&self, out: &mut [f32], scratch: &mut Scratch) {
        use crate::dense::ROWS;
        use crate::panels::{WIDTH, pack, pack_transposed};
        let (width, dim, tokens) = (self.heads.width(), self.heads.dim, self.tokens);
        let padded = tokens.next_multiple_of(WIDTH);
        let keys = grown(&mut scratch.keys, padded * dim);
        for (i, panel) in keys.chunks_exact_mut(dim * WIDTH).enumerate() {
            let from = &self.qkv[i * WIDTH * 3 * width + width..];
            pack_transposed(panel, from, 3 * width, dim, WIDTH.min(tokens - i * WIDTH));
        }
        let parts = dim.div_ceil(WIDTH);
        let values = grown(&mut scratch.values, parts * tokens * WIDTH);
        for (i, panel) in values.chunks_exact_mut(tokens * WIDTH).enumerate() {
            let from = &self.qkv[2 * width + i * WIDTH..];
            pack(panel, from, 3 * width, tokens, WIDTH.min(dim - i * WIDTH));
        }
        let queries = grown(&mut scratch.rows, ROWS * dim);
        let scores = grown(&mut scratch.scores, ROWS * padded);
        for first in (0..tokens).step_by(ROWS) {
            let count = ROWS.min(tokens - first);
            for (r, to) in queries.chunks_exact_mut(dim).take(count).enumerate() {
                let at = (first + r) * 3 * width;
                for (to, from) in to.iter_mut().zip(&self.qkv[at..at + dim]) {
                    *to = from * self.heads.scale();
                }
            }
            self.tiles(queries, (count, tokens, dim), keys, scores, padded);
            let mut inverses = [0.0; ROWS];
            let rows = &mut scores[..count * padded];
            softmax(self.cpu, rows, padded, tokens, &mut inverses);
            let out = &mut out[first * width..];
            self.tiles_strided(rows, padded, (count, dim, tokens), values, out, width);
            scale_rows(self.cpu, out, width, dim, &inverses[..count]);
        }
    }

    /// `a`, rows of `k` beside one another, times panels.
    #[cfg(target_arch = "x86_64")]
    fn tiles(
        &self,
        a: &[f32],
        shape: (usize, usize, usize),
        panels: &[f32],
        out: &mut [f32],
        out_stride: usize,
    ) {
        self.tiles_strided(a, shape.2, shape, panels, out, out_stride);
    }

    /// At most 12 rows of `a` times panels of `k` x 32, into rows x n outputs.
    #[cfg(target_arch = "x86_64")]
    fn tiles_strided(
        &self,
        a: &[f32],
        a_stride: usize,
        (rows, n, k): (usize, usize, usize),
        panels: &[f32],
        out: &mut [f32],
        out_stride: usize,
    ) {
        use crate::dense::{Start, Tile};
        use crate::panels::WIDTH;
        for (i, panel) in panels.chunks_exact(k * WIDTH).enumerate() {
            let tile = Tile {
                a,
                a_stride,
                panel,
                k,
                rows,
                columns: WIDTH.min(n - i * WIDTH),
                start: Start::Zero,
                out_stride,
            };
            crate::avx512::dense(self.cpu, &tile, &mut out[i * WIDTH..]);
        }
    }
}
