//! Micro kernels for AVX-512: one tile of the output, up to 12 rows by 32 columns, kept in
//! registers while the sum runs.
#![expect(
    unsafe_code,
    reason = "vector instructions by name, and pointers into checked slices"
)]

use std::arch::x86_64::*;

use crate::cpu::{Cpu, Level};
use crate::dense::{ROWS, Start, Tile};
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
pub(crate) fn quant(cpu: Cpu, tile: &QuantTile<'_>, out: &mut [f32]) {
    assert!(cpu.level() == Level::Avx512);
    assert!((1..=QUANT_ROWS).contains(&tile.rows) && (1..=WIDTH).contains(&tile.columns));
    assert!(tile.codes.len() >= tile.rows * tile.blocks * BLOCK);
    assert!(tile.scales.len() >= tile.rows * tile.blocks);
    assert!(tile.middles.len() >= tile.rows * tile.blocks);
    assert!(tile.sums.len() >= tile.rows * tile.blocks);
    assert!(tile.weights.len() >= tile.blocks * BLOCK * WIDTH);
    assert!(tile.weight_scales.len() >= tile.blocks * WIDTH);
    assert!(tile.weight_sums.len() >= tile.blocks * WIDTH);
    assert!(tile.weight_mins.is_empty() || tile.weight_mins.len() >= tile.blocks * WIDTH);
    assert!(tile.bias.len() >= WIDTH);
    assert!(out.len() >= (tile.rows - 1) * tile.out_stride + tile.columns);
    macro_rules! by_rows {
        ($($rows:literal)*) => {
            match (tile.rows, tile.weight_mins.is_empty()) {
                $(
                    // SAFETY: the level is AVX-512 with VNNI, and what the tile reads and writes
                    // was just found to lie inside the slices.
                    ($rows, true) => unsafe { quant_rows::<$rows, false>(tile, out.as_mut_ptr()) },
                    // SAFETY: the same.
                    ($rows, false) => unsafe { quant_rows::<$rows, true>(tile, out.as_mut_ptr()) },
                )*
                _ => unreachable!("checked above"),
            }
        };
    }
    by_rows!(1 2 3 4 5 6);
}

/// # Safety
///
/// The tile has `R` rows, minima if `MINS`, and lies inside its slices; the processor has AVX-512
/// F and VNNI.
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn quant_rows<const R: usize, const MINS: bool>(tile: &QuantTile<'_>, out: *mut f32) {
    let blocks = tile.blocks;
    let masks = masks(tile.columns);
    // SAFETY: as the caller promises; masked lanes are not touched.
    unsafe {
        let bias = tile.bias.as_ptr();
        let mut totals = [[_mm512_loadu_ps(bias), _mm512_loadu_ps(bias.add(16))]; R];
        for block in 0..blocks {
            let codes = tile.codes.as_ptr().add(block * BLOCK);
            let weights = tile.weights.as_ptr().add(block * BLOCK * WIDTH);
            let mut sums = [[_mm512_setzero_si512(); 2]; R];
            if tile.offset != 0 {
                for (r, sums) in sums.iter_mut().enumerate() {
                    let sum = *tile.sums.as_ptr().add(r * blocks + block);
                    *sums = [_mm512_set1_epi32(sum * -tile.offset); 2];
                }
            }
            for group in 0..BLOCK / 4 {
                let from = weights.add(group * 4 * WIDTH);
                let low = _mm512_loadu_si512(from.cast());
                let high = _mm512_loadu_si512(from.add(64).cast());
                for (r, sums) in sums.iter_mut().enumerate() {
                    let four = codes.add(r * blocks * BLOCK + group * 4).cast::<i32>();
                    let x = _mm512_set1_epi32(four.read_unaligned());
                    sums[0] = _mm512_dpbusd_epi32(sums[0], low, x);
                    sums[1] = _mm512_dpbusd_epi32(sums[1], high, x);
                }
            }
            let at = tile.weight_scales.as_ptr().add(block * WIDTH);
            let scales = [_mm512_loadu_ps(at), _mm512_loadu_ps(at.add(16))];
            let at = tile.weight_sums.as_ptr().add(block * WIDTH);
            let weight_sums = [_mm512_loadu_ps(at), _mm512_loadu_ps(at.add(16))];
            for r in 0..R {
                let middle = _mm512_set1_ps(*tile.middles.as_ptr().add(r * blocks + block));
                let scale = *tile.scales.as_ptr().add(r * blocks + block);
                for c in 0..2 {
                    let dot = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[r][c]), scales[c]);
                    totals[r][c] = _mm512_fmadd_ps(dot, _mm512_set1_ps(scale), totals[r][c]);
                    if MINS {
                        let sum = *tile.sums.as_ptr().add(r * blocks + block) as f32;
                        let at = tile.weight_mins.as_ptr().add(block * WIDTH + c * 16);
                        let min = _mm512_loadu_ps(at);
                        let shift = _mm512_set1_ps(sum * scale);
                        totals[r][c] = _mm512_fmadd_ps(min, shift, totals[r][c]);
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
