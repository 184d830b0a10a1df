//! Plain arrays, for every machine.

use core::array::from_fn;

use super::{WIDTH, partial, sort_key, whole};

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

    /// The lanes of which something is true, as bits.
    #[inline(always)]
    fn lanes(self, is_true: impl Fn(f32) -> bool) -> u32 {
        let mut lanes = [0u32; WIDTH];
        for ((bit, value), lane) in lanes.iter_mut().zip(self.0).zip(0u32..) {
            *bit = if is_true(value) { 1 << lane } else { 0 };
        }
        lanes.iter().fold(0, |all, bit| all | bit)
    }

    #[inline(always)]
    pub(super) fn up_to(self, limit: f32) -> u32 {
        self.lanes(|value| value <= limit)
    }

    #[inline(always)]
    pub(super) fn push(
        self,
        chosen: u32,
        first: usize,
        keys: &mut [i32; WIDTH],
        rows: &mut [i32; WIDTH],
    ) -> usize {
        let mut left = chosen;
        let mut len = 0;
        while left != 0 {
            let lane = left.trailing_zeros() as usize % WIDTH;
            left &= left - 1;
            keys[len % WIDTH] = sort_key(self.0[lane]);
            rows[len % WIDTH] = (first + lane) as i32;
            len += 1;
        }
        len
    }
}

/// How many keys are not above a limit.
pub(crate) fn up_to(groups: &[[i32; WIDTH]], limit: i32) -> usize {
    let keys = groups.as_flattened().iter();
    let count: u32 = keys.map(|&key| u32::from(key <= limit)).sum();
    count as usize
}

/// Brings those of the first `n` rows whose key is not above a limit to the front, in the order in
/// which they stand, and says how many there are. There must be room for a group beyond the `n`;
/// what stands behind those that are counted means nothing afterwards.
pub(crate) fn keep(keys: &mut [i32], rows: &mut [i32], n: usize, limit: i32) -> usize {
    let mut kept = 0;
    let keys = &mut keys[..n];
    let rows = &mut rows[..n];
    for at in 0..n {
        let key = keys[at];
        keys[kept] = key;
        rows[kept] = rows[at];
        kept += usize::from(key <= limit);
    }
    kept
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
