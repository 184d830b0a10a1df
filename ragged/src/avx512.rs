//! Micro kernels for AVX-512: one tile of the output, up to 12 rows by 32 columns, kept in
//! registers while the sum runs.
#![expect(
    unsafe_code,
    reason = "vector instructions by name, and pointers into checked slices"
)]

use std::arch::x86_64::*;

use crate::cpu::{Cpu, Level};
use crate::dense::{ROWS, Start, Tile};
use crate::packed::{GROUP, Packed, Panel, Plain};
use crate::panels::WIDTH;
use crate::quant::{BLOCK, QuantTile};

/// Rows of a tile of integers, which needs a second set of sums for the block at hand.
pub(crate) const QUANT_ROWS: usize = 6;

/// Lanes that are inside the output, for both halves of a panel.
fn masks(columns: usize) -> [__mmask16; 2] {
    let lanes = |n: usize| ((1u32 << n.min(16)) - 1) as __mmask16;
    [lanes(columns), lanes(columns.saturating_sub(16))]
}

/// Writes one tile of `a * panel`, which begins at `out[0]`.
///
/// # Panics
///
/// If the tile leaves one of its slices or the processor has no AVX-512.
pub(crate) fn dense(cpu: Cpu, tile: &Tile<'_>, out: &mut [f32]) {
    assert!(cpu.level() == Level::Avx512);
    assert!((1..=ROWS).contains(&tile.rows) && (1..=WIDTH).contains(&tile.columns));
    assert!(tile.a.len() >= (tile.rows - 1) * tile.a_stride + tile.k);
    assert!(tile.panel.len() >= tile.k * WIDTH);
    assert!(out.len() >= (tile.rows - 1) * tile.out_stride + tile.columns);
    if let Start::Bias(bias) = tile.start {
        assert!(bias.len() >= WIDTH);
    }
    macro_rules! by_rows {
        ($($rows:literal)*) => {
            match tile.rows {
                // SAFETY: the level is AVX-512, and what the tile reads and writes was just
                // found to lie inside the slices.
                $($rows => unsafe { dense_rows::<$rows>(tile, out.as_mut_ptr()) },)*
                _ => unreachable!("checked above"),
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8 9 10 11 12);
}

/// # Safety
///
/// The tile has `R` rows and lies inside its slices; the processor has AVX-512 F.
#[target_feature(enable = "avx512f")]
unsafe fn dense_rows<const R: usize>(tile: &Tile<'_>, out: *mut f32) {
    let masks = masks(tile.columns);
    let mut sums = [[_mm512_setzero_ps(); 2]; R];
    // SAFETY: as the caller promises; masked lanes are not touched.
    unsafe {
        match tile.start {
            Start::Zero => {}
            Start::Bias(bias) => {
                let bias = [
                    _mm512_loadu_ps(bias.as_ptr()),
                    _mm512_loadu_ps(bias.as_ptr().add(16)),
                ];
                sums = [bias; R];
            }
            Start::Output => {
                for (r, sums) in sums.iter_mut().enumerate() {
                    for (c, sum) in sums.iter_mut().enumerate() {
                        let from = out.wrapping_add(r * tile.out_stride + c * 16);
                        *sum = _mm512_maskz_loadu_ps(masks[c], from);
                    }
                }
            }
        }
        let mut a = tile.a.as_ptr();
        let mut b = tile.panel.as_ptr();
        for _ in 0..tile.k {
            let weights = [_mm512_loadu_ps(b), _mm512_loadu_ps(b.add(16))];
            for (r, sums) in sums.iter_mut().enumerate() {
                let x = _mm512_set1_ps(*a.add(r * tile.a_stride));
                sums[0] = _mm512_fmadd_ps(x, weights[0], sums[0]);
                sums[1] = _mm512_fmadd_ps(x, weights[1], sums[1]);
            }
            a = a.wrapping_add(1);
            b = b.add(WIDTH);
        }
        for (r, sums) in sums.iter().enumerate() {
            for (c, sum) in sums.iter().enumerate() {
                let to = out.wrapping_add(r * tile.out_stride + c * 16);
                _mm512_mask_storeu_ps(to, masks[c], *sum);
            }
        }
    }
}

/// Writes one tile of quantised activations times quantised weights, beginning at `out[0]`.
///
/// # Panics
///
/// If the tile leaves one of its slices or the processor has no AVX-512 VNNI.
pub(crate) fn quant(cpu: Cpu, tile: &QuantTile<'_>, panel: Panel<'_>, out: &mut [f32]) {
    assert!(cpu.level() == Level::Avx512);
    assert!((1..=QUANT_ROWS).contains(&tile.rows) && (1..=WIDTH).contains(&tile.columns));
    assert!(tile.codes.len() >= tile.rows * tile.blocks * BLOCK);
    assert!(tile.scales.len() >= tile.rows * tile.blocks);
    assert!(tile.middles.len() >= tile.rows * tile.blocks);
    assert!(tile.sums.len() >= tile.rows * tile.blocks);
    assert!(tile.bias.len() >= WIDTH);
    assert!(out.len() >= (tile.rows - 1) * tile.out_stride + tile.columns);
    let out = out.as_mut_ptr();
    macro_rules! by_rows {
        ($panel:expr, $($rows:literal)*) => {
            match tile.rows {
                // SAFETY: the level is AVX-512 with VNNI, what the tile reads and writes was just
                // found to lie inside the slices, and the panel has all its blocks.
                $($rows => unsafe { quant_rows::<$rows, _>(tile, $panel, out) },)*
                _ => unreachable!("checked above"),
            }
        };
    }
    match panel {
        Panel::Packed(packed) => {
            assert!(packed.len() >= tile.blocks);
            by_rows!(&packed, 1 2 3 4 5 6);
        }
        Panel::Plain(plain) => {
            assert!(plain.codes.len() >= tile.blocks * BLOCK * WIDTH);
            assert!(plain.scales.len() >= tile.blocks * WIDTH);
            assert!(plain.sums.len() >= tile.blocks * WIDTH);
            if plain.mins.is_empty() {
                by_rows!(&WithoutMins(plain), 1 2 3 4 5 6);
            } else {
                assert!(plain.mins.len() >= tile.blocks * WIDTH);
                by_rows!(&plain, 1 2 3 4 5 6);
            }
        }
    }
}

/// Where a kernel's weights come from.
trait Source {
    /// Whether weights have minima.
    const MINS: bool;

    /// The codes of a group of 4 inputs, of both halves of the panel.
    ///
    /// # Safety
    ///
    /// There are the block and the group; the processor has AVX-512 F.
    unsafe fn codes(&self, block: usize, group: usize) -> [__m512i; 2];

    /// Scales, sums and minima of a block.
    ///
    /// # Safety
    ///
    /// There is the block; the processor has AVX-512 F.
    unsafe fn factors(&self, block: usize) -> [[__m512; 2]; 3];
}

impl Source for Plain<'_> {
    const MINS: bool = true;

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn codes(&self, block: usize, group: usize) -> [__m512i; 2] {
        // SAFETY: as the caller promises.
        unsafe {
            let from = self
                .codes
                .as_ptr()
                .add((block * (BLOCK / 4) + group) * GROUP);
            [
                _mm512_loadu_si512(from.cast()),
                _mm512_loadu_si512(from.add(GROUP / 2).cast()),
            ]
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn factors(&self, block: usize) -> [[__m512; 2]; 3] {
        // SAFETY: as the caller promises.
        [self.scales, self.sums, self.mins].map(|values| unsafe {
            let from = values.as_ptr().add(block * WIDTH);
            [_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(16))]
        })
    }
}

/// The same of a format without minima.
struct WithoutMins<'a>(Plain<'a>);

impl Source for WithoutMins<'_> {
    const MINS: bool = false;

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn codes(&self, block: usize, group: usize) -> [__m512i; 2] {
        // SAFETY: as the caller promises.
        unsafe { self.0.codes(block, group) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn factors(&self, block: usize) -> [[__m512; 2]; 3] {
        // SAFETY: as the caller promises.
        let [scales, sums] = [self.0.scales, self.0.sums].map(|values| unsafe {
            let from = values.as_ptr().add(block * WIDTH);
            [_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(16))]
        });
        [scales, sums, [_mm512_setzero_ps(); 2]]
    }
}

impl Source for &[Packed] {
    const MINS: bool = true;

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn codes(&self, block: usize, group: usize) -> [__m512i; 2] {
        // SAFETY: as the caller promises.
        let both = unsafe {
            let codes = self.get_unchecked(block).codes.as_ptr();
            _mm512_loadu_si512(codes.add(group * GROUP / 2).cast())
        };
        let low = _mm512_set1_epi32(0x0f0f_0f0f);
        let high = _mm512_srli_epi32::<4>(both);
        [_mm512_and_si512(both, low), _mm512_and_si512(high, low)]
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn factors(&self, block: usize) -> [[__m512; 2]; 3] {
        // SAFETY: as the caller promises; each array has 32 elements of two bytes.
        unsafe {
            let block = self.get_unchecked(block);
            let halves =
                |from: *const u16| [0, 16].map(|at| _mm256_loadu_si256(from.add(at).cast()));
            let scales = halves(block.scales.as_ptr()).map(|half| _mm512_cvtph_ps(half));
            let mins = halves(block.mins.as_ptr()).map(|half| _mm512_cvtph_ps(half));
            let counts = halves(block.counts.as_ptr().cast())
                .map(|half| _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(half)));
            let block_len = _mm512_set1_ps(BLOCK as f32);
            // 32 times a minimum is exact, so that one rounding is that of the sum.
            let sums = [0, 1]
                .map(|c| _mm512_fmadd_ps(block_len, mins[c], _mm512_mul_ps(counts[c], scales[c])));
            [scales, sums, mins]
        }
    }
}

/// # Safety
///
/// The tile has `R` rows and lies inside its slices, the source has its blocks; the processor has
/// AVX-512 F and VNNI.
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn quant_rows<const R: usize, S: Source>(tile: &QuantTile<'_>, source: &S, out: *mut f32) {
    let blocks = tile.blocks;
    let masks = masks(tile.columns);
    // SAFETY: as the caller promises; masked lanes are not touched.
    unsafe {
        let bias = tile.bias.as_ptr();
        let mut totals = [[_mm512_loadu_ps(bias), _mm512_loadu_ps(bias.add(16))]; R];
        for block in 0..blocks {
            let codes = tile.codes.as_ptr().add(block * BLOCK);
            let mut sums = [[_mm512_setzero_si512(); 2]; R];
            if tile.offset != 0 {
                for (r, sums) in sums.iter_mut().enumerate() {
                    let sum = *tile.sums.as_ptr().add(r * blocks + block);
                    *sums = [_mm512_set1_epi32(sum * -tile.offset); 2];
                }
            }
            for group in 0..BLOCK / 4 {
                let [low, high] = source.codes(block, group);
                for (r, sums) in sums.iter_mut().enumerate() {
                    let four = codes.add(r * blocks * BLOCK + group * 4).cast::<i32>();
                    let x = _mm512_set1_epi32(four.read_unaligned());
                    sums[0] = _mm512_dpbusd_epi32(sums[0], low, x);
                    sums[1] = _mm512_dpbusd_epi32(sums[1], high, x);
                }
            }
            let [scales, weight_sums, mins] = source.factors(block);
            for r in 0..R {
                let middle = _mm512_set1_ps(*tile.middles.as_ptr().add(r * blocks + block));
                let scale = *tile.scales.as_ptr().add(r * blocks + block);
                for c in 0..2 {
                    let dot = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[r][c]), scales[c]);
                    totals[r][c] = _mm512_fmadd_ps(dot, _mm512_set1_ps(scale), totals[r][c]);
                    if S::MINS {
                        let sum = *tile.sums.as_ptr().add(r * blocks + block) as f32;
                        let shift = _mm512_set1_ps(sum * scale);
                        totals[r][c] = _mm512_fmadd_ps(mins[c], shift, totals[r][c]);
                    }
                    totals[r][c] = _mm512_fmadd_ps(weight_sums[c], middle, totals[r][c]);
                }
            }
        }
        for (r, totals) in totals.iter().enumerate() {
            for (c, total) in totals.iter().enumerate() {
                let to = out.wrapping_add(r * tile.out_stride + c * 16);
                _mm512_mask_storeu_ps(to, masks[c], *total);
            }
        }
    }
}
