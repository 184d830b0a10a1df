//! Linear layers of small integers: blocks of 32 with a scale, multiplied exactly.
//!
//! A weight is `scale * (code - offset) + min` with a code of 0..=255, an offset that the whole
//! matrix shares and no minimum unless the format has one. Q8_0 of GGUF is codes with offset 128;
//! Q4_1 is codes of 0..=15 with offset 0 and minima.
//!
//! Activations are quantised when they come: `scale * code + middle` with codes of -127..=127, a
//! scale and a middle for each block. The middle halves the error of blocks that lie on one side of
//! zero, as those behind GELU do.
//!
//! Sums over a block are integers and so exact; blocks are added in order, by the same fused
//! operations on every processor, hence the results have the same bits everywhere.

use crate::cpu::{Cpu, Level, versions};
use crate::packed::{Arrays, Plain, Weights};
use crate::panels::WIDTH;
use crate::scratch::{Scratch, grown};

/// Values that share a scale.
pub const BLOCK: usize = 32;
/// Rows that all weights meet before the next rows come: their codes stay in the second cache.
const ROWS_AT_ONCE: usize = 96;

/// 32 weights of one output: `scale * (code - offset) + min`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Block {
    /// One code for each input.
    pub codes: [u8; BLOCK],
    /// Step between neighbouring codes.
    pub scale: f32,
    /// What is added to each weight; read only where the format has minima.
    pub min: f32,
}

impl Block {
    /// The sum of the codes, offsets taken off: at most 32 * 255.
    pub(crate) fn count(&self, format: Format) -> i16 {
        let codes = self.codes.iter();
        let codes = codes.map(|&code| i32::from(code) - format.offset());
        codes.sum::<i32>() as i16
    }
}

/// How the codes of a matrix are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Offset 128, no minima: GGUF's Q8_0 with 128 added to each of its bytes.
    Q8,
    /// Offset 0, minima: GGUF's Q4_1 with a byte for each code.
    Min,
}

impl Format {
    fn offset(self) -> i32 {
        match self {
            Self::Q8 => 128,
            Self::Min => 0,
        }
    }
}

/// A tile of a product of integers: `rows` x `columns` outputs.
pub(crate) struct QuantTile<'a> {
    /// Activations: codes, scales, middles and sums of codes, `blocks` for each row.
    pub(crate) codes: &'a [i8],
    pub(crate) scales: &'a [f32],
    pub(crate) middles: &'a [f32],
    pub(crate) sums: &'a [i32],
    pub(crate) offset: i32,
    /// 32 outputs.
    pub(crate) bias: &'a [f32],
    pub(crate) blocks: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) out_stride: usize,
}

/// Quantised rows, each padded with zeros to whole blocks.
#[derive(Debug, Default)]
pub(crate) struct Activations {
    codes: Vec<i8>,
    scales: Vec<f32>,
    middles: Vec<f32>,
    sums: Vec<i32>,
}

/// Quantised rows where they lie.
#[derive(Clone, Copy)]
struct Rows<'a> {
    codes: &'a [i8],
    scales: &'a [f32],
    middles: &'a [f32],
    sums: &'a [i32],
}

/// Weights of a layer with `n` outputs and `k` inputs.
#[derive(Debug)]
pub(crate) struct Quant {
    cpu: Cpu,
    n: usize,
    k: usize,
    /// Padded with zeros to whole panels.
    bias: Vec<f32>,
    weights: Weights,
}

impl Quant {
    /// `block(output, i)` gives inputs `32 * i ..` of one output; inputs beyond `k` meet zeros.
    pub(crate) fn new(
        cpu: Cpu,
        (n, k): (usize, usize),
        format: Format,
        bias: &[f32],
        block: impl FnMut(usize, usize) -> Block,
    ) -> Self {
        assert_eq!(bias.len(), n);
        let mut padded = bias.to_vec();
        padded.resize(n.next_multiple_of(WIDTH), 0.0);
        Self {
            cpu,
            n,
            k,
            bias: padded,
            weights: Weights::new(format, (n, k.div_ceil(BLOCK)), block),
        }
    }

    pub(crate) fn shape(&self) -> (usize, usize) {
        (self.n, self.k)
    }

    pub(crate) fn forward(&self, x: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        let (n, k) = self.shape();
        let rows = x.chunks(ROWS_AT_ONCE * k);
        for (x, out) in rows.zip(out.chunks_mut(ROWS_AT_ONCE * n)) {
            let rows = x.len() / k;
            let blocks = k.div_ceil(BLOCK);
            let Activations {
                codes,
                scales,
                middles,
                sums,
            } = &mut scratch.activations;
            let codes = grown(codes, rows * blocks * BLOCK);
            let scales = grown(scales, rows * blocks);
            let middles = grown(middles, rows * blocks);
            let sums = grown(sums, rows * blocks);
            quantise(self.cpu, x, k, codes, scales, middles, sums);
            let rows_of = Rows {
                codes,
                scales,
                middles,
                sums,
            };
            self.tiles(rows_of, out, rows, &mut scratch.panel);
        }
    }

    fn tiles(&self, x: Rows<'_>, out: &mut [f32], rows: usize, room: &mut Arrays) {
        let blocks = self.k.div_ceil(BLOCK);
        let at_once = match self.cpu.level() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => crate::avx512::QUANT_ROWS,
            _ => 1,
        };
        for panel in 0..self.n.div_ceil(WIDTH) {
            let column = panel * WIDTH;
            for row in (0..rows).step_by(at_once) {
                let tile = QuantTile {
                    codes: &x.codes[row * blocks * BLOCK..],
                    scales: &x.scales[row * blocks..],
                    middles: &x.middles[row * blocks..],
                    sums: &x.sums[row * blocks..],
                    offset: self.weights.format().offset(),
                    bias: &self.bias[column..column + WIDTH],
                    blocks,
                    rows: at_once.min(rows - row),
                    columns: WIDTH.min(self.n - column),
                    out_stride: self.n,
                };
                let out = &mut out[row * self.n + column..];
                match self.cpu.level() {
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 => {
                        crate::avx512::quant(self.cpu, &tile, self.weights.panel(panel), out);
                    }
                    _ => {
                        let plain = self.weights.plain(self.cpu, panel, row == 0, room);
                        portable_tile(self.cpu, &tile, plain, out);
                    }
                }
            }
        }
    }
}

/// Quantises 32 weights as Q8_0 does: the largest magnitude is 127 steps.
pub fn quantise_weights(weights: &[f32]) -> Block {
    let largest = weights.iter().fold(0.0f32, |most, w| most.max(w.abs()));
    let scale = largest / 127.0;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let mut codes = [128; BLOCK];
    for (code, weight) in codes.iter_mut().zip(weights) {
        let step = (weight * inverse).round().clamp(-127.0, 127.0);
        *code = (step as i32 + 128) as u8;
    }
    Block {
        codes,
        scale,
        min: 0.0,
    }
}

versions! {
    /// Quantises rows of `k` floats block by block.
    quantise = quantise_rows(
        x: &[f32],
        k: usize,
        codes: &mut [i8],
        scales: &mut [f32],
        middles: &mut [f32],
        sums: &mut [i32],
    )
}

#[inline(always)]
fn quantise_rows<const FMA: bool>(
    x: &[f32],
    k: usize,
    codes: &mut [i8],
    scales: &mut [f32],
    middles: &mut [f32],
    sums: &mut [i32],
) {
    let blocks = k.div_ceil(BLOCK);
    for (r, row) in x.chunks_exact(k).enumerate() {
        for (b, values) in row.chunks(BLOCK).enumerate() {
            let mut padded = [0.0; BLOCK];
            let values: &[f32; BLOCK] = match values.try_into() {
                Ok(values) => values,
                Err(_) => {
                    padded[..values.len()].copy_from_slice(values);
                    &padded
                }
            };
            let at = r * blocks + b;
            let codes = &mut codes.as_chunks_mut::<BLOCK>().0[at];
            (scales[at], middles[at], sums[at]) = quantise_block(values, codes);
        }
    }
}

/// Adding this rounds a float of less than 2^22 to an integer in its lowest bits, ties to even, on
/// every processor: 1.5 * 2^23.
const ROUNDER: f32 = 12_582_912.0;

/// Quantises one block and returns its scale, its middle and the sum of its codes. Loops are short
/// and apart, so that compilers make vectors of each.
#[inline(always)]
fn quantise_block(values: &[f32; BLOCK], codes: &mut [i8; BLOCK]) -> (f32, f32, i32) {
    let low = narrowed(values, |a, b| if b < a { b } else { a });
    let high = narrowed(values, |a, b| if b > a { b } else { a });
    let (half, middle) = (high * 0.5 - low * 0.5, high * 0.5 + low * 0.5);
    // So small that the reciprocal overflows is zero for a sum of this kind.
    let (scale, inverse) = if half > 1e-30 && half < f32::INFINITY {
        (half / 127.0, 127.0 / half)
    } else {
        (0.0, 0.0)
    };
    let mut steps = [0i32; BLOCK];
    for (step, value) in steps.iter_mut().zip(values) {
        let bits = ((value - middle) * inverse + ROUNDER).to_bits() as i32;
        *step = bits.wrapping_sub(ROUNDER.to_bits() as i32);
    }
    for (code, step) in codes.iter_mut().zip(steps) {
        *code = step as i8;
    }
    let mut sum = 0;
    for code in codes {
        sum += i32::from(*code);
    }
    (scale, middle, sum)
}

/// The least or the largest of a block, by halves.
#[inline(always)]
fn narrowed(values: &[f32; BLOCK], pick: impl Fn(f32, f32) -> f32) -> f32 {
    let mut left = *values;
    let mut half = BLOCK / 2;
    while half > 0 {
        for i in 0..half {
            left[i] = pick(left[i], left[i + half]);
        }
        half /= 2;
    }
    left[0]
}

versions! {
    /// One row of a tile, in the order of sums that the micro kernel has.
    portable_tile = portable_row(tile: &QuantTile<'_>, panel: Plain<'_>, out: &mut [f32])
}

#[inline(always)]
fn portable_row<const FMA: bool>(tile: &QuantTile<'_>, panel: Plain<'_>, out: &mut [f32]) {
    let mut totals = [0.0f32; WIDTH];
    totals.copy_from_slice(tile.bias);
    for block in 0..tile.blocks {
        let codes = &tile.codes[block * BLOCK..(block + 1) * BLOCK];
        let weights = &panel.codes[block * BLOCK * WIDTH..(block + 1) * BLOCK * WIDTH];
        let sum = tile.sums[block];
        let mut sums = [sum * -tile.offset; WIDTH];
        let groups = codes.chunks_exact(4);
        for (x, weights) in groups.zip(weights.chunks_exact(4 * WIDTH)) {
            for (sum, w) in sums.iter_mut().zip(weights.chunks_exact(4)) {
                for i in 0..4 {
                    *sum += i32::from(w[i]) * i32::from(x[i]);
                }
            }
        }
        let scale = tile.scales[block];
        let at = block * WIDTH..(block + 1) * WIDTH;
        let scales = &panel.scales[at.clone()];
        for j in 0..WIDTH {
            // Fused on every processor, in software where it must be: once for 32 products.
            totals[j] = (sums[j] as f32 * scales[j]).mul_add(scale, totals[j]);
        }
        if let Some(mins) = panel.mins.get(at) {
            for j in 0..WIDTH {
                totals[j] = mins[j].mul_add(sum as f32 * scale, totals[j]);
            }
        }
        let (middle, at) = (tile.middles[block], block * WIDTH..(block + 1) * WIDTH);
        for (total, sum) in totals.iter_mut().zip(&panel.sums[at]) {
            *total = sum.mul_add(middle, *total);
        }
    }
    out[..tile.columns].copy_from_slice(&totals[..tile.columns]);
}
