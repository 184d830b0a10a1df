//! Four vectors of four lanes.

use core::arch::wasm32::{
    f32x4, f32x4_convert_i32x4, f32x4_extract_lane, f32x4_le, f32x4_pmax, f32x4_splat, f32x4_sub,
    i8x16_swizzle, i32x4, i32x4_add, i32x4_bitmask, i32x4_eq, i32x4_extract_lane, i32x4_gt,
    i32x4_le, i32x4_shr, i32x4_splat, i32x4_sub, u8x16, u32x4, u32x4_max, u32x4_splat, v128,
    v128_and, v128_andnot, v128_bitselect, v128_xor,
};
use core::array::from_fn;

use super::{WIDTH, partial, whole};

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
    pub(super) fn up_to(self, limit: f32) -> u32 {
        let limit = f32x4_splat(limit);
        lanes(self.0.map(|v| f32x4_le(v, limit)))
    }

    #[inline(always)]
    pub(super) fn push(
        self,
        chosen: u32,
        first: usize,
        keys: &mut [i32; WIDTH],
        rows: &mut [i32; WIDTH],
    ) -> usize {
        let four = i32x4_splat(4);
        let mut row = i32x4_add(i32x4_splat(first as i32), i32x4(0, 1, 2, 3));
        let mut len = 0;
        for (v, i) in self.0.into_iter().zip(0u32..) {
            let chosen = chosen >> (4 * i) & 15;
            squeeze(row, chosen, rows, len);
            len += squeeze(sort_keys(v), chosen, keys, len);
            row = i32x4_add(row, four);
        }
        len
    }
}

/// [`super::sort_key`] of four scores.
#[inline(always)]
fn sort_keys(v: v128) -> v128 {
    let (most, infinity) = (i32x4_splat(i32::MAX), f32x4_splat(f32::INFINITY));
    let is_nan = i32x4_gt(v128_and(v, most), infinity);
    let v = v128_bitselect(infinity, v, is_nan);
    let v = v128_andnot(v, i32x4_eq(v, i32x4_splat(i32::MIN)));
    v128_xor(v, v128_and(i32x4_shr(v, 31), most))
}

/// For each choice among four lanes: the bytes of those, side by side.
static SQUEEZED: [v128; 16] = squeezed();

const fn squeezed() -> [v128; 16] {
    let mut all = [i32x4(0, 0, 0, 0); 16];
    let mut chosen = 0;
    while chosen < 16 {
        let mut from = [0u8; 4];
        let (mut len, mut lane) = (0, 0);
        while lane < 4 {
            if chosen >> lane & 1 == 1 {
                from[len] = 4 * lane;
                len += 1;
            }
            lane += 1;
        }
        let [a, b, c, d] = from;
        all[chosen] = u8x16(
            a,
            a + 1,
            a + 2,
            a + 3,
            b,
            b + 1,
            b + 2,
            b + 3,
            c,
            c + 1,
            c + 2,
            c + 3,
            d,
            d + 1,
            d + 2,
            d + 3,
        );
        chosen += 1;
    }
    all
}

/// Writes the chosen lanes of four side by side behind the first `len` of sixteen, and says how
/// many there are.
#[inline(always)]
fn squeeze(v: v128, chosen: u32, to: &mut [i32; WIDTH], len: usize) -> usize {
    let v = i8x16_swizzle(v, SQUEEZED[chosen as usize]);
    if let Some(to) = to.get_mut(len..).and_then(|to| to.first_chunk_mut()) {
        *to = [
            i32x4_extract_lane::<0>(v),
            i32x4_extract_lane::<1>(v),
            i32x4_extract_lane::<2>(v),
            i32x4_extract_lane::<3>(v),
        ];
    }
    chosen.count_ones() as usize
}

/// Writes the lanes for which something is true side by side to the front, and says how many there
/// are.
#[inline(always)]
fn squeeze_all(v: [v128; VECTORS], is_true: [v128; VECTORS], to: &mut [i32; WIDTH]) -> usize {
    let mut len = 0;
    for (v, is_true) in v.into_iter().zip(is_true) {
        len += squeeze(v, u32::from(i32x4_bitmask(is_true)), to, len);
    }
    len
}

/// The lanes for which something is true, as bits.
#[inline(always)]
fn lanes(is_true: [v128; VECTORS]) -> u32 {
    (0u32..).zip(is_true).fold(0, |all, (i, is_true)| {
        all | u32::from(i32x4_bitmask(is_true)) << (4 * i)
    })
}

#[inline(always)]
fn vectors(v: &[i32; WIDTH]) -> [v128; VECTORS] {
    from_fn(|i| i32x4(v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]))
}

/// Room for a group behind the first `len` words.
#[inline(always)]
fn room(words: &mut [i32], len: usize) -> Option<&mut [i32; WIDTH]> {
    words.get_mut(len..)?.first_chunk_mut()
}

/// [`super::array::up_to`].
pub(crate) fn up_to(groups: &[[i32; WIDTH]], limit: i32) -> usize {
    let most = i32x4_splat(limit);
    let mut counts = [i32x4_splat(0); VECTORS];
    let mut count = |group: &[i32; WIDTH]| {
        let v = vectors(group);
        counts = from_fn(|i| i32x4_sub(counts[i], i32x4_le(v[i], most)));
    };
    // Each turn of a loop looks at the clock.
    let (fours, rest) = groups.as_chunks::<4>();
    for four in fours {
        four.iter().for_each(&mut count);
    }
    rest.iter().for_each(count);
    let [a, b, c, d] = counts;
    let all = i32x4_add(i32x4_add(a, b), i32x4_add(c, d));
    let all = i32x4_extract_lane::<0>(all)
        + i32x4_extract_lane::<1>(all)
        + i32x4_extract_lane::<2>(all)
        + i32x4_extract_lane::<3>(all);
    all as usize
}

/// [`super::array::keep`].
pub(crate) fn keep(keys: &mut [i32], rows: &mut [i32], n: usize, limit: i32) -> usize {
    let limit = i32x4_splat(limit);
    let mut kept = 0;
    for first in (0..n).step_by(WIDTH) {
        let (Some(k), Some(r)) = (whole(keys, first), whole(rows, first)) else {
            break;
        };
        let (k, r) = (vectors(k), vectors(r));
        let chosen = k.map(|k| i32x4_le(k, limit));
        if let Some(to) = room(rows, kept) {
            squeeze_all(r, chosen, to);
        }
        if let Some(to) = room(keys, kept) {
            kept += squeeze_all(k, chosen, to);
        }
    }
    kept
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
