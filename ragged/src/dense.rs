//! Linear layers of 32-bit floats.

use crate::cpu::{Cpu, Level, versions};
use crate::panels::{WIDTH, pack_transposed};
use crate::product::{Matrix, product};
use crate::scratch::{Scratch, grown};

/// How far the inner index runs before the sums go back to memory: 12 rows of activations of this
/// length and the panel that they meet stay in the first two caches.
const DEPTH: usize = 512;
/// Bytes of weights that all rows pass before the next: half of a usual second cache.
const GROUP_BYTES: usize = 384 * 1024;

/// Rows of a tile: 24 sums, 2 weights and 1 activation are in 27 of the 32 registers of AVX-512.
pub(crate) const ROWS: usize = 12;

/// What the sums of a tile begin with.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a> {
    /// Nothing.
    Zero,
    /// 32 values, one for each column.
    Bias(&'a [f32]),
    /// What is in the output.
    Output,
}

/// A tile of a product: `rows` x `columns` outputs that each sum over `k`.
pub(crate) struct Tile<'a> {
    /// Rows of the left matrix, `a_stride` floats apart.
    pub(crate) a: &'a [f32],
    pub(crate) a_stride: usize,
    /// A panel of the right matrix, `k` times 32 floats.
    pub(crate) panel: &'a [f32],
    pub(crate) k: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) start: Start<'a>,
    pub(crate) out_stride: usize,
}

/// Weights of a layer with `n` outputs and `k` inputs.
#[derive(Debug)]
pub(crate) struct Dense {
    cpu: Cpu,
    n: usize,
    k: usize,
    /// Padded with zeros to whole panels.
    bias: Vec<f32>,
    /// Row-major `n` x `k`, or panels of 32 outputs where a micro kernel of ours reads them.
    weights: Vec<f32>,
}

impl Dense {
    /// `weights` is row-major, `n` x `k`; `bias` has `n` values.
    pub(crate) fn new(cpu: Cpu, n: usize, k: usize, weights: &[f32], bias: &[f32]) -> Self {
        assert_eq!((weights.len(), bias.len()), (n * k, n));
        let panels = n.div_ceil(WIDTH);
        let mut padded = bias.to_vec();
        padded.resize(panels * WIDTH, 0.0);
        let weights = if cpu.level() == Level::Avx512 {
            let mut packed = vec![0.0; panels * WIDTH * k];
            for (i, panel) in packed.chunks_exact_mut((WIDTH * k).max(1)).enumerate() {
                let count = WIDTH.min(n - i * WIDTH);
                pack_transposed(panel, &weights[i * WIDTH * k..], k, k, count);
            }
            packed
        } else {
            weights.to_vec()
        };
        Self {
            cpu,
            n,
            k,
            bias: padded,
            weights,
        }
    }

    pub(crate) fn shape(&self) -> (usize, usize) {
        (self.n, self.k)
    }

    pub(crate) fn forward(&self, x: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        let (n, k) = self.shape();
        let rows = x.len() / k;
        if rows == 0 {
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if self.cpu.level() == Level::Avx512 {
            return self.forward_tiles(x, rows, out, scratch);
        }
        let _ = scratch;
        for row in out.chunks_exact_mut(n) {
            row.copy_from_slice(&self.bias[..n]);
        }
        let left = Matrix {
            values: x,
            row_stride: k,
            column_stride: 1,
        };
        let right = Matrix {
            values: &self.weights,
            row_stride: 1,
            column_stride: k,
        };
        product((rows, n, k), left, right, out, n, true);
    }

    #[cfg(target_arch = "x86_64")]
    fn forward_tiles(&self, x: &[f32], rows: usize, out: &mut [f32], scratch: &mut Scratch) {
        use crate::avx512;
        let (n, k) = self.shape();
        let panels = n.div_ceil(WIDTH);
        for from in (0..k).step_by(DEPTH) {
            let depth = DEPTH.min(k - from);
            let block = grown(&mut scratch.rows, ROWS * depth);
            let group = (GROUP_BYTES / (depth * WIDTH * 4)).max(1);
            for first in (0..panels).step_by(group) {
                for row in (0..rows).step_by(ROWS) {
                    let count = ROWS.min(rows - row);
                    // Beside one another the rows cannot fall into the same sets of the cache.
                    for (r, to) in block.chunks_exact_mut(depth).take(count).enumerate() {
                        let at = (row + r) * k + from;
                        to.copy_from_slice(&x[at..at + depth]);
                    }
                    for panel in first..(first + group).min(panels) {
                        let column = panel * WIDTH;
                        let start = if from == 0 {
                            Start::Bias(&self.bias[column..])
                        } else {
                            Start::Output
                        };
                        let tile = Tile {
                            a: block,
                            a_stride: depth,
                            panel: &self.weights[(panel * k + from) * WIDTH..],
                            k: depth,
                            rows: count,
                            columns: WIDTH.min(n - column),
                            start,
                            out_stride: n,
                        };
                        avx512::dense(self.cpu, &tile, &mut out[row * n + column..]);
                    }
                }
            }
        }
    }
}

/// Writes one tile of at most 12 rows by whichever kernel the processor has; the sum of an output
/// runs in the same order whatever else is in the tile.
///
/// # Panics
///
/// If the tile leaves one of its slices.
pub(crate) fn tile(cpu: Cpu, tile: &Tile<'_>, out: &mut [f32]) {
    match cpu.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => crate::avx512::dense(cpu, tile, out),
        _ => plain_tile(cpu, tile, out),
    }
}

versions! { plain_tile = plain_rows(tile: &Tile<'_>, out: &mut [f32]) }

#[inline(always)]
fn plain_rows<const FMA: bool>(tile: &Tile<'_>, out: &mut [f32]) {
    for r in 0..tile.rows {
        let a = &tile.a[r * tile.a_stride..][..tile.k];
        let out = &mut out[r * tile.out_stride..][..tile.columns];
        let mut sums = [0.0f32; WIDTH];
        match tile.start {
            Start::Zero => {}
            Start::Bias(bias) => sums.copy_from_slice(&bias[..WIDTH]),
            Start::Output => sums[..tile.columns].copy_from_slice(out),
        }
        for (&x, weights) in a.iter().zip(tile.panel.as_chunks::<WIDTH>().0) {
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum = if FMA {
                    x.mul_add(*weight, *sum)
                } else {
                    x * weight + *sum
                };
            }
        }
        out.copy_from_slice(&sums[..tile.columns]);
    }
}
