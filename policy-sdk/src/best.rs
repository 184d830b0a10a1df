//! The best rows of a pass over all of them.
//!
//! Rows that may be among the best are gathered until there is no room for more. Then a limit is
//! looked for that few more than enough do not exceed; the others go, and from then on no row above
//! it is gathered. Who comes before whom is asked at the end, and before only where so many are
//! level that no limit tells them apart.

use core::ops::RangeInclusive;

use crate::lanes::{ALL, F32s, WIDTH, keep, score_of, up_to};
use crate::order::{Scored, Ties};

/// The best rows so far.
pub(crate) struct Best<'a> {
    ties: Ties<'a>,
    count: usize,
    /// The first `len` of these are all of the best `count`, and others.
    keys: Vec<i32>,
    rows: Vec<i32>,
    len: usize,
    /// The score above which rows are turned away, and the lanes of which nobody is.
    limit: f32,
    unlimited: u32,
    /// The worst of the best `count`, as long as so many are level with the limit that they had to
    /// be told apart.
    worst: Option<Scored>,
}

impl<'a> Best<'a> {
    /// The best `count` of that many rows; `count` is not 0.
    pub(crate) fn new(ties: Ties<'a>, count: usize, rows: usize) -> Self {
        // Either there is room for all rows, or for more than the best and a group besides; and for
        // a group behind the last.
        let least = count.saturating_add(2 * WIDTH);
        let room = count.saturating_mul(4).max(least).min(rows) + 2 * WIDTH;
        Self {
            ties,
            count,
            keys: vec![0; room],
            rows: vec![0; room],
            len: 0,
            limit: f32::INFINITY,
            unlimited: ALL,
            worst: None,
        }
    }

    /// The lanes of a group that may be among the best.
    #[inline(always)]
    pub(crate) fn candidates(&self, group: &F32s) -> u32 {
        group.up_to(self.limit) | self.unlimited
    }

    /// Adds some of the candidates of a group, whose first row is given.
    // A call from the loop over all rows would write the vectors of the group to memory and read
    // them again. Natively the loop is faster without it.
    #[cfg_attr(target_arch = "wasm32", inline(always))]
    #[cfg_attr(not(target_arch = "wasm32"), inline(never))]
    pub(crate) fn add(&mut self, group: &F32s, mut chosen: u32, first: usize) {
        if let Some(worst) = self.worst {
            chosen = self.ties.better(chosen, group, first, worst);
        }
        if self.keys.len() - self.len < 2 * WIDTH {
            self.narrow();
        }
        let keys = self.keys[self.len..].first_chunk_mut();
        if let (Some(keys), Some(rows)) = (keys, self.rows[self.len..].first_chunk_mut()) {
            self.len += group.push(chosen, first, keys, rows);
        }
    }

    /// Few more than the best.
    fn few(&self) -> usize {
        self.count.saturating_add(self.count / 4)
    }

    /// Turns rows away until there are few more than the best, of more than those.
    #[inline(never)]
    fn narrow(&mut self) {
        // What fills up the last group is above every limit.
        if let Some(rest) = self.keys[self.len..].first_chunk_mut() {
            *rest = [i32::MAX; WIDTH];
        }
        let groups = &self.keys.as_chunks().0[..self.len.div_ceil(WIDTH)];
        let limit = limit(groups, self.len, self.count..=self.few());
        self.len = keep(&mut self.keys, &mut self.rows, self.len, limit);
        self.set_limit(limit);
        self.worst = None;
        if self.len > self.few() {
            self.tell_apart();
        }
    }

    fn set_limit(&mut self, limit: i32) {
        self.limit = score_of(limit);
        self.unlimited = if self.limit < f32::INFINITY { 0 } else { ALL };
    }

    /// Keeps the best, and no more.
    #[cold]
    fn tell_apart(&mut self) {
        let mut all = self.scored();
        let nth = self.count - 1;
        let (_, &mut worst, _) = all.select_nth_unstable_by(nth, |&a, &b| self.ties.compare(a, b));
        self.len = self.count;
        for (at, scored) in all[..self.len].iter().enumerate() {
            self.keys[at] = scored.key();
            self.rows[at] = scored.row() as i32;
        }
        self.worst = Some(worst);
        self.set_limit(worst.key());
    }

    fn scored(&self) -> Vec<Scored> {
        let rows = &self.rows[..self.len];
        let scored = self.keys.iter().zip(rows);
        scored
            .map(|(&key, &row)| Scored::new(key, row as usize))
            .collect()
    }

    /// The ids of the best, best first.
    pub(crate) fn into_ids(mut self) -> Vec<u64> {
        if self.len > self.few() {
            self.narrow();
        }
        let mut best = self.scored();
        self.ties.sort(&mut best);
        best.truncate(self.count);
        self.ties.names(&best)
    }
}

/// A key that as many of the first `n` do not exceed as are wanted, or more if they are level with
/// it. Wanted are at least one and not more than there are.
fn limit(groups: &[[i32; WIDTH]], n: usize, wanted: RangeInclusive<usize>) -> i32 {
    let keys = &groups.as_flattened()[..n];
    let sample = sample(keys);
    // Eight of them cut all into nine parts of about the same size.
    let mut at = 9 * wanted.start() / n;
    let mut others = keys.iter().copied();
    // Too few do not exceed the one, and too many the other.
    let (mut low, mut high) = (i32::MIN, i32::MAX);
    loop {
        let is_between = |key: &i32| low < *key && *key < high;
        // One of the sample as long as the next in it helps; then any that is still in question.
        let probe = sample.get(at).copied().filter(is_between);
        let Some(probe) = probe.or_else(|| others.find(is_between)) else {
            return high;
        };
        let count = up_to(groups, probe);
        if count < *wanted.start() {
            low = probe;
            at = at.wrapping_add(1);
        } else if count > *wanted.end() {
            high = probe;
            at = at.wrapping_sub(1);
        } else {
            return probe;
        }
    }
}

/// Eight of the keys, in order, by a sorting network: it has no loop, at each turn of which the
/// sandbox would look at the clock.
#[inline(always)]
fn sample(keys: &[i32]) -> [i32; 8] {
    let sample = core::array::from_fn(|i| keys[i * keys.len() / 8]);
    let sample = exchange(sample, [(0, 2), (1, 3), (4, 6), (5, 7)]);
    let sample = exchange(sample, [(0, 4), (1, 5), (2, 6), (3, 7)]);
    let sample = exchange(sample, [(0, 1), (2, 3), (4, 5), (6, 7)]);
    let sample = exchange(sample, [(2, 4), (3, 5)]);
    let sample = exchange(sample, [(1, 4), (3, 6)]);
    exchange(sample, [(1, 2), (3, 4), (5, 6)])
}

/// Puts each pair into order.
#[inline(always)]
fn exchange<const N: usize>(mut keys: [i32; 8], pairs: [(usize, usize); N]) -> [i32; 8] {
    for (a, b) in pairs {
        let (x, y) = (keys[a], keys[b]);
        (keys[a], keys[b]) = (x.min(y), x.max(y));
    }
    keys
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_limit_leaves_as_many_as_wanted_unless_more_are_level(
            keys in prop_oneof![
                prop::collection::vec(any::<i32>(), 2..300),
                prop::collection::vec(0i32..9, 2..300),
            ],
            part in 0.0f64..1.0,
            more in 0usize..40,
        ) {
            let n = keys.len();
            let least = 1 + (part * (n - 1) as f64) as usize;
            let mut groups: Vec<[i32; WIDTH]> = vec![[i32::MAX; WIDTH]; n.div_ceil(WIDTH)];
            groups.as_flattened_mut()[..n].copy_from_slice(&keys);
            let limit = limit(&groups, n, least..=least + more);
            let level = keys.iter().filter(|&&key| key == limit).count();
            let left = keys.iter().filter(|&&key| key <= limit).count();
            prop_assert!(keys.contains(&limit));
            prop_assert!(left >= least);
            prop_assert!(left - level < least || left <= least + more);
        }

        #[test]
        fn a_sample_is_in_order(keys in prop::collection::vec(any::<i32>(), 1..40)) {
            prop_assert!(sample(&keys).is_sorted());
        }
    }
}
