//! Sixteen rows of a column at a time.
//!
//! At each turn of a loop the sandbox looks at the clock, and that costs as much as scoring a row.
//! A rule that scores sixteen rows a turn pays it once for all of them. On WebAssembly a group is
//! four vectors; natively it is an array, with the same bits in every lane.

use core::ops::Sub;

/// Rows in a group.
pub const WIDTH: usize = 16;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use vector as imp;

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
use array as imp;

/// Sixteen scores.
#[derive(Debug, Clone, Copy)]
pub struct F32s(imp::F32s);

/// Sixteen counts or sets of flags.
#[derive(Debug, Clone, Copy)]
pub struct U32s(imp::U32s);

/// Maps a score to an integer with the same order. In integers throughout: the sandbox has to make
/// every NaN that float arithmetic yields the same, which costs more than the arithmetic.
#[inline(always)]
pub(crate) fn sort_key(score: f32) -> u32 {
    const SIGN: u32 = 1 << 31;
    let infinity = f32::INFINITY.to_bits();
    let bits = match score.to_bits() {
        SIGN => 0,
        bits if bits & !SIGN > infinity => infinity,
        bits => bits,
    };
    // The bits of floats order like integers, except that negative ones run backwards.
    bits ^ ((bits.cast_signed() >> 31).cast_unsigned() | SIGN)
}

/// A key and its row as one word that sorts like the key.
#[inline(always)]
pub(crate) fn pack(key: u32, row: usize) -> u64 {
    u64::from(key) << 32 | row as u64
}

/// The group of a column that begins at a row, if it is a whole one.
#[inline(always)]
fn whole<T>(column: &[T], first: usize) -> Option<&[T; WIDTH]> {
    column.get(first..)?.first_chunk()
}

/// The last group of a column whose length is no multiple of sixteen.
#[cold]
fn partial<T: Copy + Default>(column: &[T], first: usize) -> [T; WIDTH] {
    let mut group = [T::default(); WIDTH];
    let rest = &column[first.min(column.len())..];
    group[..rest.len()].copy_from_slice(rest);
    group
}

impl F32s {
    /// Rows `first..first + 16` of a column.
    #[inline(always)]
    pub fn load(column: &[f32], first: usize) -> Self {
        Self(imp::F32s::load(column, first))
    }

    /// Sixteen values.
    #[inline(always)]
    pub fn from_array(values: [f32; WIDTH]) -> Self {
        Self(imp::F32s::from_array(values))
    }

    /// The sixteen values.
    #[inline(always)]
    pub fn to_array(self) -> [f32; WIDTH] {
        self.0.to_array()
    }

    /// Zero for what is below it. Unlike `max` it leaves a NaN, a missing prediction, as it is.
    #[inline(always)]
    #[must_use]
    pub fn floor_at_zero(self) -> Self {
        Self(self.0.floor_at_zero())
    }

    /// `value` in the lanes whose flags have one of these bits.
    #[inline(always)]
    #[must_use]
    pub fn replace_where(self, flags: U32s, bits: u32, value: f32) -> Self {
        Self(self.0.replace_where(flags.0, bits, value))
    }

    /// The lanes that are not above a limit, as bits; a NaN is not.
    #[inline(always)]
    pub fn not_above(self, limit: f32) -> u32 {
        self.0.not_above(limit)
    }

    /// The lanes that are not below a limit, as bits; a NaN is not.
    #[inline(always)]
    pub(crate) fn not_below(self, limit: f32) -> u32 {
        self.0.not_below(limit)
    }

    /// Packs the chosen lanes with their rows, of which the first is given, and says how many there
    /// are. What stands behind them in `free` afterwards means nothing.
    #[inline(always)]
    pub(crate) fn pack(self, chosen: u32, first: usize, free: &mut [u64; WIDTH]) -> usize {
        self.0.pack(chosen, first, free)
    }
}

impl Sub for F32s {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(self.0.sub(other.0))
    }
}

impl U32s {
    /// Rows `first..first + 16` of a column.
    #[inline(always)]
    pub fn load(column: &[u32], first: usize) -> Self {
        Self(imp::U32s::load(column, first))
    }

    /// The difference, or 0 where it would be negative.
    #[inline(always)]
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// As floats. Signed, since there is an instruction that converts four of those at once.
    #[inline(always)]
    pub fn cast_signed_f32(self) -> F32s {
        F32s(self.0.cast_signed_f32())
    }
}

/// Plain arrays, for every machine.
#[cfg_attr(
    all(target_arch = "wasm32", target_feature = "simd128"),
    expect(dead_code, reason = "vectors take their place")
)]
mod array {
    use core::array::from_fn;

    use super::{WIDTH, pack, partial, sort_key, whole};

    #[derive(Debug, Clone, Copy)]
    pub(super) struct F32s([f32; WIDTH]);

    #[derive(Debug, Clone, Copy)]
    pub(super) struct U32s([u32; WIDTH]);

    /// The group of a column that begins at a row; past its end there are zeros.
    #[inline(always)]
    fn group<T: Copy + Default>(column: &[T], first: usize) -> [T; WIDTH] {
        let whole = whole(column, first).copied();
        whole.unwrap_or_else(|| partial(column, first))
    }

    impl F32s {
        #[inline(always)]
        pub(super) fn load(column: &[f32], first: usize) -> Self {
            Self(group(column, first))
        }

        #[inline(always)]
        pub(super) fn from_array(values: [f32; WIDTH]) -> Self {
            Self(values)
        }

        #[inline(always)]
        pub(super) fn to_array(self) -> [f32; WIDTH] {
            self.0
        }

        #[inline(always)]
        pub(super) fn sub(self, other: Self) -> Self {
            Self(from_fn(|lane| self.0[lane] - other.0[lane]))
        }

        #[inline(always)]
        pub(super) fn floor_at_zero(self) -> Self {
            Self(self.0.map(|value| if value < 0.0 { 0.0 } else { value }))
        }

        #[inline(always)]
        pub(super) fn replace_where(self, flags: U32s, bits: u32, value: f32) -> Self {
            Self(from_fn(|lane| {
                let chosen = flags.0[lane] & bits != 0;
                if chosen { value } else { self.0[lane] }
            }))
        }

        #[inline(always)]
        pub(super) fn not_above(self, limit: f32) -> u32 {
            let mut lanes = [0u32; WIDTH];
            for ((bit, value), lane) in lanes.iter_mut().zip(self.0).zip(0u32..) {
                *bit = if value > limit { 0 } else { 1 << lane };
            }
            lanes.iter().fold(0, |all, bit| all | bit)
        }

        #[inline(always)]
        pub(super) fn not_below(self, limit: f32) -> u32 {
            let mut lanes = [0u32; WIDTH];
            for ((bit, value), lane) in lanes.iter_mut().zip(self.0).zip(0u32..) {
                *bit = if value < limit { 0 } else { 1 << lane };
            }
            lanes.iter().fold(0, |all, bit| all | bit)
        }

        #[inline(always)]
        pub(super) fn pack(self, chosen: u32, first: usize, free: &mut [u64; WIDTH]) -> usize {
            let mut left = chosen;
            let mut len = 0;
            while left != 0 {
                let lane = left.trailing_zeros() as usize % WIDTH;
                left &= left - 1;
                free[len % WIDTH] = pack(sort_key(self.0[lane]), first + lane);
                len += 1;
            }
            len
        }
    }

    impl U32s {
        #[inline(always)]
        pub(super) fn load(column: &[u32], first: usize) -> Self {
            Self(group(column, first))
        }

        #[inline(always)]
        pub(super) fn saturating_sub(self, other: Self) -> Self {
            Self(from_fn(|lane| self.0[lane].saturating_sub(other.0[lane])))
        }

        #[inline(always)]
        pub(super) fn cast_signed_f32(self) -> F32s {
            F32s(self.0.map(|count| count.cast_signed() as f32))
        }
    }
}

/// Four vectors of four lanes.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod vector {
    use core::arch::wasm32::{
        f32x4, f32x4_convert_i32x4, f32x4_extract_lane, f32x4_gt, f32x4_lt, f32x4_pmax,
        f32x4_splat, f32x4_sub, i32x4_bitmask, i32x4_eq, i32x4_gt, i32x4_shr, i32x4_splat,
        i32x4_sub, u32x4, u32x4_max, u32x4_splat, v128, v128_and, v128_andnot, v128_bitselect,
        v128_or, v128_xor,
    };
    use core::array::from_fn;

    use super::{WIDTH, pack, partial, whole};

    const VECTORS: usize = WIDTH / 4;

    #[derive(Debug, Clone, Copy)]
    pub(super) struct F32s([v128; VECTORS]);

    #[derive(Debug, Clone, Copy)]
    pub(super) struct U32s([v128; VECTORS]);

    impl F32s {
        #[inline(always)]
        pub(super) fn load(column: &[f32], first: usize) -> Self {
            // Two ways to make vectors, so that the usual one makes them without going over memory.
            match whole(column, first) {
                Some(group) => Self::from_array(*group),
                None => Self::from_array(partial(column, first)),
            }
        }

        #[inline(always)]
        pub(super) fn from_array(v: [f32; WIDTH]) -> Self {
            Self(from_fn(|i| {
                f32x4(v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3])
            }))
        }

        #[inline(always)]
        pub(super) fn to_array(self) -> [f32; WIDTH] {
            let lanes = self.0.map(|v| {
                [
                    f32x4_extract_lane::<0>(v),
                    f32x4_extract_lane::<1>(v),
                    f32x4_extract_lane::<2>(v),
                    f32x4_extract_lane::<3>(v),
                ]
            });
            from_fn(|lane| lanes[lane / 4][lane % 4])
        }

        #[inline(always)]
        pub(super) fn sub(self, other: Self) -> Self {
            Self(from_fn(|i| f32x4_sub(self.0[i], other.0[i])))
        }

        #[inline(always)]
        pub(super) fn floor_at_zero(self) -> Self {
            // The second where the first is less, which a NaN never is.
            Self(self.0.map(|v| f32x4_pmax(v, f32x4_splat(0.0))))
        }

        #[inline(always)]
        pub(super) fn replace_where(self, flags: U32s, bits: u32, value: f32) -> Self {
            Self(from_fn(|i| {
                let free = i32x4_eq(v128_and(flags.0[i], u32x4_splat(bits)), i32x4_splat(0));
                v128_bitselect(self.0[i], f32x4_splat(value), free)
            }))
        }

        #[inline(always)]
        pub(super) fn not_above(self, limit: f32) -> u32 {
            let limit = f32x4_splat(limit);
            let above = (0u32..).zip(self.0).fold(0, |all, (i, v)| {
                all | u32::from(i32x4_bitmask(f32x4_gt(v, limit))) << (4 * i)
            });
            above ^ ((1 << WIDTH) - 1)
        }

        #[inline(always)]
        pub(super) fn not_below(self, limit: f32) -> u32 {
            let limit = f32x4_splat(limit);
            let below = (0u32..).zip(self.0).fold(0, |all, (i, v)| {
                all | u32::from(i32x4_bitmask(f32x4_lt(v, limit))) << (4 * i)
            });
            below ^ ((1 << WIDTH) - 1)
        }

        #[inline(always)]
        pub(super) fn pack(self, chosen: u32, first: usize, free: &mut [u64; WIDTH]) -> usize {
            let keys = Self(self.0.map(sort_keys)).to_array();
            // All lanes are written, each over the one before it unless that was chosen: each turn
            // of a loop would look at the clock.
            let mut len = 0;
            for (key, lane) in keys.into_iter().zip(0..) {
                free[len % WIDTH] = pack(key.to_bits(), first + lane);
                len += (chosen >> lane & 1) as usize;
            }
            len
        }
    }

    /// [`super::sort_key`] of four scores.
    #[inline(always)]
    fn sort_keys(v: v128) -> v128 {
        let (sign, infinity) = (u32x4_splat(1 << 31), f32x4_splat(f32::INFINITY));
        let is_nan = i32x4_gt(v128_andnot(v, sign), infinity);
        let v = v128_bitselect(infinity, v, is_nan);
        let v = v128_andnot(v, i32x4_eq(v, sign));
        v128_xor(v, v128_or(i32x4_shr(v, 31), sign))
    }

    impl U32s {
        #[inline(always)]
        pub(super) fn load(column: &[u32], first: usize) -> Self {
            match whole(column, first) {
                Some(group) => Self::from_array(*group),
                None => Self::from_array(partial(column, first)),
            }
        }

        #[inline(always)]
        fn from_array(v: [u32; WIDTH]) -> Self {
            Self(from_fn(|i| {
                u32x4(v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3])
            }))
        }

        #[inline(always)]
        pub(super) fn saturating_sub(self, other: Self) -> Self {
            Self(from_fn(|i| {
                i32x4_sub(u32x4_max(self.0[i], other.0[i]), other.0[i])
            }))
        }

        #[inline(always)]
        pub(super) fn cast_signed_f32(self) -> F32s {
            F32s(self.0.map(|v| f32x4_convert_i32x4(v)))
        }
    }
}
