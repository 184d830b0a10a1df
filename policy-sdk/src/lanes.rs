//! Sixteen rows of a column at a time.
//!
//! At each turn of a loop the sandbox looks at the clock, and that costs as much as scoring a row.
//! A rule that scores sixteen rows a turn pays it once for all of them. On WebAssembly a group is
//! four vectors; natively it is an array, with the same bits in every lane.

use core::ops::Sub;

/// Rows in a group.
pub const WIDTH: usize = 16;
/// All lanes of a group, as bits.
pub(crate) const ALL: u32 = (1 << WIDTH) - 1;

#[cfg_attr(
    all(target_arch = "wasm32", target_feature = "simd128"),
    expect(dead_code, reason = "vectors take their place")
)]
mod array;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod vector;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use vector as imp;

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
use array as imp;

pub(crate) use imp::{keep, up_to};

/// Sixteen scores.
#[derive(Debug, Clone, Copy)]
pub struct F32s(imp::F32s);

/// Sixteen counts or sets of flags.
#[derive(Debug, Clone, Copy)]
pub struct U32s(imp::U32s);

/// Maps a score to an integer with the same order: NaN like infinity, both zeros alike. In integers
/// throughout: the sandbox has to make every NaN that float arithmetic yields the same, which costs
/// more than the arithmetic.
#[inline(always)]
pub(crate) fn sort_key(score: f32) -> i32 {
    let infinity = f32::INFINITY.to_bits().cast_signed();
    let bits = match score.to_bits().cast_signed() {
        i32::MIN => 0,
        bits if bits & i32::MAX > infinity => infinity,
        bits => bits,
    };
    // The bits of floats order like integers, except that negative ones run backwards.
    bits ^ (bits >> 31 & i32::MAX)
}

/// The score that has that key.
pub(crate) fn score_of(key: i32) -> f32 {
    f32::from_bits((key ^ (key >> 31 & i32::MAX)).cast_unsigned())
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

    /// The lanes that are not above a limit, as bits; a NaN is above any.
    #[inline(always)]
    pub fn up_to(self, limit: f32) -> u32 {
        self.0.up_to(limit)
    }

    /// Writes the keys of the chosen lanes side by side to the front of `keys`, and their rows, of
    /// which the first is given, to that of `rows`; says how many there are. What stands behind
    /// them afterwards means nothing.
    #[inline(always)]
    pub(crate) fn push(
        self,
        chosen: u32,
        first: usize,
        keys: &mut [i32; WIDTH],
        rows: &mut [i32; WIDTH],
    ) -> usize {
        self.0.push(chosen, first, keys, rows)
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
