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

/// The group of a column that begins at a row; past its end there are zeros.
#[inline(always)]
fn group<T: Copy + Default>(column: &[T], first: usize) -> [T; WIDTH] {
    match column[first.min(column.len())..].first_chunk() {
        Some(group) => *group,
        None => partial(column, first),
    }
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
        Self::from_array(group(column, first))
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
        Self(imp::U32s::from_array(group(column, first)))
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

    use super::WIDTH;

    #[derive(Debug, Clone, Copy)]
    pub(super) struct F32s([f32; WIDTH]);

    #[derive(Debug, Clone, Copy)]
    pub(super) struct U32s([u32; WIDTH]);

    impl F32s {
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
    }

    impl U32s {
        #[inline(always)]
        pub(super) fn from_array(values: [u32; WIDTH]) -> Self {
            Self(values)
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
        f32x4, f32x4_convert_i32x4, f32x4_extract_lane, f32x4_gt, f32x4_pmax, f32x4_splat,
        f32x4_sub, i32x4_bitmask, i32x4_eq, i32x4_splat, i32x4_sub, u32x4, u32x4_max, u32x4_splat,
        v128, v128_and, v128_bitselect,
    };
    use core::array::from_fn;

    use super::WIDTH;

    const VECTORS: usize = WIDTH / 4;

    #[derive(Debug, Clone, Copy)]
    pub(super) struct F32s([v128; VECTORS]);

    #[derive(Debug, Clone, Copy)]
    pub(super) struct U32s([v128; VECTORS]);

    impl F32s {
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
    }

    impl U32s {
        #[inline(always)]
        pub(super) fn from_array(v: [u32; WIDTH]) -> Self {
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
