//! Quantised weights at rest. For one row the work on a weight takes less time than its way from
//! memory, so they lie there as small as their values allow: where codes are below 16, and scales
//! and minima are half floats, as in GGUF's Q4_1, a block of 32 outputs and 32 inputs takes 704
//! bytes of one stream, half of what it is when unpacked.

use half::f16;

use crate::cpu::{Cpu, versions};
use crate::panels::WIDTH;
use crate::quant::{BLOCK, Block, Format};
use crate::scratch::grown;

/// Codes of 4 inputs of a panel.
pub(crate) const GROUP: usize = 4 * WIDTH;

/// The weights of a layer, in panels of 32 outputs; outputs that are not there are zero.
#[derive(Debug)]
pub(crate) struct Weights {
    format: Format,
    /// Blocks of an output.
    blocks: usize,
    kept: Kept,
}

/// For each panel, its blocks.
#[derive(Debug)]
enum Kept {
    Plain(Arrays),
    Packed(Vec<Packed>),
}

/// Weights as the kernels multiply them.
#[derive(Debug, Default)]
pub(crate) struct Arrays {
    /// For each block, 8 groups of 4 inputs of 32 outputs.
    codes: Vec<u8>,
    /// For each block, 32 outputs.
    scales: Vec<f32>,
    /// The same: sums of a block's weights, which middles are multiplied by.
    sums: Vec<f32>,
    /// The same, or nothing where the format has none.
    mins: Vec<f32>,
}

/// A block of 32 outputs and 32 inputs.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(crate) struct Packed {
    /// For each group, the codes of the first 16 outputs in the low halves of 64 bytes, those of
    /// the others in the high ones.
    pub(crate) codes: [u8; BLOCK * WIDTH / 2],
    /// Half floats.
    pub(crate) scales: [u16; WIDTH],
    /// Half floats.
    pub(crate) mins: [u16; WIDTH],
    /// Sums of codes.
    pub(crate) counts: [i16; WIDTH],
}

/// One panel.
#[derive(Clone, Copy)]
pub(crate) enum Panel<'a> {
    Plain(Plain<'a>),
    Packed(&'a [Packed]),
}

/// One panel as the kernels multiply it.
#[derive(Clone, Copy)]
pub(crate) struct Plain<'a> {
    pub(crate) codes: &'a [u8],
    pub(crate) scales: &'a [f32],
    pub(crate) sums: &'a [f32],
    pub(crate) mins: &'a [f32],
}

impl Weights {
    /// `block(output, i)` gives inputs `32 * i ..` of one output.
    pub(crate) fn new(
        format: Format,
        (n, blocks): (usize, usize),
        mut block: impl FnMut(usize, usize) -> Block,
    ) -> Self {
        let len = n.div_ceil(WIDTH) * blocks * WIDTH;
        let mut arrays = Arrays::default();
        arrays.grow(len, format == Format::Min);
        let mut counts = vec![0; len];
        for output in 0..n {
            for i in 0..blocks {
                let from = block(output, i);
                let (row, column) = (output / WIDTH * blocks + i, output % WIDTH);
                let at = row * WIDTH + column;
                counts[at] = from.count(format);
                arrays.scales[at] = from.scale;
                if let Some(min) = arrays.mins.get_mut(at) {
                    *min = from.min;
                }
                for (input, code) in from.codes.into_iter().enumerate() {
                    let group = row * (BLOCK / 4) + input / 4;
                    arrays.codes[group * GROUP + column * 4 + input % 4] = code;
                }
            }
        }
        for (at, count) in counts.iter().enumerate() {
            let min = arrays.mins.get(at).copied().unwrap_or_default();
            arrays.sums[at] = f32::from(*count) * arrays.scales[at] + BLOCK as f32 * min;
        }
        let kept = match arrays.packed(&counts) {
            Some(packed) => Kept::Packed(packed),
            None => Kept::Plain(arrays),
        };
        Self {
            format,
            blocks,
            kept,
        }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// A panel as it lies there.
    pub(crate) fn panel(&self, index: usize) -> Panel<'_> {
        match &self.kept {
            Kept::Plain(arrays) => Panel::Plain(arrays.panel(index, self.blocks)),
            Kept::Packed(packed) => {
                Panel::Packed(&packed[index * self.blocks..(index + 1) * self.blocks])
            }
        }
    }

    /// A panel, unpacked if need be; `room` has it already unless it is `fresh`.
    pub(crate) fn plain<'a>(
        &'a self,
        cpu: Cpu,
        index: usize,
        fresh: bool,
        room: &'a mut Arrays,
    ) -> Plain<'a> {
        match self.panel(index) {
            Panel::Plain(plain) => plain,
            Panel::Packed(packed) => {
                if fresh {
                    room.grow(self.blocks * WIDTH, true);
                    unpack(cpu, packed, room);
                }
                room.panel(0, self.blocks)
            }
        }
    }
}

impl Arrays {
    fn grow(&mut self, len: usize, mins: bool) {
        grown(&mut self.codes, len * BLOCK);
        grown(&mut self.scales, len);
        grown(&mut self.sums, len);
        grown(&mut self.mins, if mins { len } else { 0 });
    }

    fn panel(&self, index: usize, blocks: usize) -> Plain<'_> {
        let at = index * blocks * WIDTH..(index + 1) * blocks * WIDTH;
        Plain {
            codes: &self.codes[at.start * BLOCK..at.end * BLOCK],
            scales: &self.scales[at.clone()],
            sums: &self.sums[at.clone()],
            mins: self.mins.get(at).unwrap_or_default(),
        }
    }

    /// The same, smaller, if nothing is lost.
    fn packed(&self, counts: &[i16]) -> Option<Vec<Packed>> {
        let half = |value: &f32| f16::from_f32(*value).to_f32().to_bits() == value.to_bits();
        let codes = self.codes.iter().all(|&code| code < 16);
        if self.mins.is_empty() || !codes || !self.scales.iter().chain(&self.mins).all(half) {
            return None;
        }
        let block = |i: usize| {
            let codes = &self.codes[i * BLOCK * WIDTH..];
            let code = |j: usize| {
                let at = j / (GROUP / 2) * GROUP + j % (GROUP / 2);
                codes[at] | codes[at + GROUP / 2] << 4
            };
            let halves = |values: &[f32]| {
                std::array::from_fn(|j| f16::from_f32(values[i * WIDTH + j]).to_bits())
            };
            Packed {
                codes: std::array::from_fn(code),
                scales: halves(&self.scales),
                mins: halves(&self.mins),
                counts: std::array::from_fn(|j| counts[i * WIDTH + j]),
            }
        };
        Some((0..self.scales.len() / WIDTH).map(block).collect())
    }
}

versions! {
    /// Unpacks the blocks of a panel to the bits that they were made from.
    unpack = unpack_blocks(packed: &[Packed], out: &mut Arrays)
}

#[inline(always)]
fn unpack_blocks<const FMA: bool>(packed: &[Packed], out: &mut Arrays) {
    let codes = out
        .codes
        .as_chunks_mut::<GROUP>()
        .0
        .chunks_exact_mut(BLOCK / 4);
    let scales = out.scales.as_chunks_mut::<WIDTH>().0.iter_mut();
    let mins = out.mins.as_chunks_mut::<WIDTH>().0.iter_mut();
    let sums = out.sums.as_chunks_mut::<WIDTH>().0.iter_mut();
    let out = codes.zip(scales.zip(mins).zip(sums));
    // Fixed lengths and plain indices, so that compilers make vectors of the loops.
    for (from, (codes, ((scales, mins), sums))) in packed.iter().zip(out) {
        let packed = from.codes.as_chunks::<{ GROUP / 2 }>().0;
        for (packed, group) in packed.iter().zip(codes) {
            for i in 0..GROUP / 2 {
                group[i] = packed[i] & 15;
                group[i + GROUP / 2] = packed[i] >> 4;
            }
        }
        *scales = from.scales.map(single);
        *mins = from.mins.map(single);
        for j in 0..WIDTH {
            sums[j] = f32::from(from.counts[j]) * scales[j] + BLOCK as f32 * mins[j];
        }
    }
}

/// The value of a half float that is finite.
#[inline(always)]
fn single(half: u16) -> f32 {
    /// 2^112: the exponents of the two kinds are so far apart.
    const SHIFT: f32 = f32::from_bits((112 + 127) << 23);
    let (half, sign) = (u32::from(half & 0x7fff), u32::from(half & 0x8000));
    let magnitude = f32::from_bits(half << 13) * SHIFT;
    f32::from_bits(magnitude.to_bits() | sign << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether 40 outputs of 3 blocks are packed; they must come out as they went in.
    fn packs(format: Format, block: impl Fn(usize, usize) -> Block) -> bool {
        let weights = Weights::new(format, (40, 3), &block);
        for (cpu, output) in Cpu::all()
            .into_iter()
            .flat_map(|cpu| (0..40).map(move |o| (cpu, o)))
        {
            let mut room = Arrays::default();
            let panel = weights.plain(cpu, output / WIDTH, true, &mut room);
            for i in 0..3 {
                let at = i * WIDTH + output % WIDTH;
                let code = |input: usize| {
                    let group = i * (BLOCK / 4) + input / 4;
                    panel.codes[group * GROUP + output % WIDTH * 4 + input % 4]
                };
                let min = panel.mins.get(at).copied().unwrap_or_default();
                let one = Block {
                    codes: std::array::from_fn(code),
                    scale: panel.scales[at],
                    min,
                };
                let sum = f32::from(one.count(format)) * one.scale + BLOCK as f32 * min;
                assert_eq!(panel.sums[at].to_bits(), sum.to_bits());
                assert_eq!(one, block(output, i), "output {output}, block {i}");
            }
        }
        matches!(weights.kept, Kept::Packed(_))
    }

    #[test]
    fn a_panel_is_what_it_was_made_from() {
        let block = |most: u8, scale: f32, min: f32| {
            move |output: usize, i: usize| Block {
                codes: std::array::from_fn(|j| ((output * 7 + i * 5 + j * 3) as u8) & most),
                scale: scale * (1 + output) as f32,
                min: min * (1 + i) as f32,
            }
        };
        // Of half floats, the least ones have no leading one.
        for scale in [0.0, 0.5, 2f32.powi(-24)] {
            assert!(packs(Format::Min, block(15, scale, -0.25)));
        }
        for (codes, scale) in [(255, 0.5), (15, 0.1), (15, 1e-9), (15, 1e6)] {
            assert!(
                !packs(Format::Min, block(codes, scale, -0.25)),
                "{codes} {scale}"
            );
        }
        assert!(
            !packs(Format::Q8, block(15, 0.5, 0.0)),
            "there is nothing to gain"
        );
    }

    #[test]
    fn half_floats_are_read_exactly() {
        for half in (0..=u16::MAX)
            .map(f16::from_bits)
            .filter(|half| half.is_finite())
        {
            assert_eq!(
                single(half.to_bits()).to_bits(),
                half.to_f32().to_bits(),
                "{half}"
            );
        }
    }
}
