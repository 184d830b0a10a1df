//! The best few of many rows, in one pass and without sorting the rest.
//!
//! Everything here uses one total order: by score, lower first; then by arrival; then by id. It
//! does not depend on the order of the rows. A score that is NaN counts as plus infinity, and minus
//! zero equals zero.

use crate::best::Best;
use crate::lanes::{F32s, WIDTH, sort_key};
use crate::order::{Scored, filter};

pub use crate::order::Ties;

impl Ties<'_> {
    /// The ids of the best `count` rows, best first; `scores` has one for each row.
    ///
    /// The cost is one look at each score and one step for each of the few that are among the best
    /// so far: about `count * ln(rows / count)` in an arbitrary order.
    pub fn best(&self, count: usize, scores: &[f32]) -> Vec<u64> {
        self.best_where(count, scores, |_| true)
    }

    /// The same among the rows that are `eligible`.
    pub fn best_where(
        &self,
        count: usize,
        scores: &[f32],
        eligible: impl Fn(usize) -> bool,
    ) -> Vec<u64> {
        let rows = self.rows().min(scores.len());
        let eligible = |first, lanes| filter(lanes, |lane| eligible(first + lane));
        self.pick(count, rows, |first| F32s::load(scores, first), eligible)
    }

    /// The ids of the best `count` rows, where `score` gives the scores of the 16 rows from `first`
    /// on: a rule that is written with [`crate::lanes`] needs no column of scores. It is asked for
    /// each group once, in order; what it says of rows past the last counts for nothing.
    pub fn best_by(&self, count: usize, score: impl Fn(usize) -> F32s) -> Vec<u64> {
        self.pick(count, self.rows(), score, |_, lanes| lanes)
    }

    #[inline(always)]
    fn pick(
        &self,
        count: usize,
        rows: usize,
        score: impl Fn(usize) -> F32s,
        eligible: impl Fn(usize, u32) -> u32,
    ) -> Vec<u64> {
        if count == 0 {
            return Vec::new();
        }
        let mut best = Best::new(*self, count, rows);
        for first in (0..rows).step_by(WIDTH) {
            let group = score(first);
            let mut chosen = best.candidates(&group);
            if rows - first < WIDTH {
                chosen &= (1 << (rows - first)) - 1;
            }
            chosen = eligible(first, chosen);
            if chosen != 0 {
                best.add(&group, chosen, first);
            }
        }
        best.into_ids()
    }
}

impl Ties<'_> {
    /// The ids of the `eligible` rows that are not among `named`, worst first: of those who hold
    /// memory and are not about to run, who gives it up.
    pub fn others_worst_first(
        &self,
        named: &[u64],
        scores: &[f32],
        eligible: impl Fn(usize) -> bool,
    ) -> Vec<u64> {
        let mut named = named.to_vec();
        named.sort_unstable();
        let other = |row: &usize| eligible(*row) && named.binary_search(&self.id[*row]).is_err();
        let rows = 0..self.rows().min(scores.len());
        let rows = rows.filter(other);
        let rows = rows.map(|row| Scored::new(sort_key(scores[row]), row));
        let mut ids = self.ids(rows.collect());
        ids.reverse();
        ids
    }

    /// The ids of all rows, best first.
    pub fn order_all(&self, scores: &[f32]) -> Vec<u64> {
        self.best(self.rows(), scores)
    }
}

/// The place of a score in the one order, as a number: lower sooner, NaN last, both zeros alike.
pub fn key(score: f32) -> u32 {
    sort_key(score).cast_unsigned() ^ 1 << 31
}

/// The `count` least keys, in order: for rules whose order is more than one number. Keys that end
/// with arrival and id are all different, so that nothing depends on the order in which they come.
pub fn least<K: Ord>(count: usize, mut keys: Vec<K>) -> Vec<K> {
    if count < keys.len() {
        keys.select_nth_unstable(count);
        keys.truncate(count);
    }
    keys.sort_unstable();
    keys
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The obvious way: sort all rows by the definition.
    fn twin(count: usize, rows: &[(Option<f32>, u64, u64)]) -> Vec<u64> {
        let mut rows: Vec<(f32, u64, u64)> = rows
            .iter()
            .filter_map(|&(score, arrival, id)| {
                score.map(|s| (if s.is_nan() { f32::INFINITY } else { s }, arrival, id))
            })
            .collect();
        rows.sort_by(|a, b| {
            a.0.partial_cmp(&b.0)
                .unwrap()
                .then((a.1, a.2).cmp(&(b.1, b.2)))
        });
        rows.into_iter().take(count).map(|row| row.2).collect()
    }

    fn score() -> impl Strategy<Value = Option<f32>> {
        prop_oneof![
            8 => prop::num::f32::ANY.prop_map(Some),
            8 => (0u8..6).prop_map(|s| Some(f32::from(s))),
            1 => prop::sample::select(vec![
                Some(f32::NAN), Some(f32::INFINITY), Some(f32::NEG_INFINITY), Some(-0.0), Some(0.0),
                Some(f32::from_bits(u32::MAX)), None,
            ]),
        ]
    }

    fn pick(count: usize, rows: &[(Option<f32>, u64, u64)]) -> Vec<u64> {
        let arrival_us: Vec<u64> = rows.iter().map(|row| row.1).collect();
        let id: Vec<u64> = rows.iter().map(|row| row.2).collect();
        let scores: Vec<f32> = rows.iter().map(|row| row.0.unwrap_or(0.0)).collect();
        let ties = Ties {
            arrival_us: &arrival_us,
            id: &id,
        };
        ties.best_where(count, &scores, |row| rows[row].0.is_some())
    }

    fn others(named: &[u64], rows: &[(Option<f32>, u64, u64)]) -> Vec<u64> {
        let arrival_us: Vec<u64> = rows.iter().map(|row| row.1).collect();
        let id: Vec<u64> = rows.iter().map(|row| row.2).collect();
        let scores: Vec<f32> = rows.iter().map(|row| row.0.unwrap_or(0.0)).collect();
        let ties = Ties {
            arrival_us: &arrival_us,
            id: &id,
        };
        ties.others_worst_first(named, &scores, |row| rows[row].0.is_some())
    }

    proptest! {
        #[test]
        fn best_is_what_a_full_sort_gives(
            rows in prop::collection::vec((score(), 0u64..5), 0..300),
            count in 0usize..120,
            shuffle in any::<u64>(),
        ) {
            let mut rows: Vec<_> = rows
                .into_iter()
                .enumerate()
                .map(|(i, (score, arrival))| (score, arrival, i as u64 + 1))
                .collect();
            let expected = twin(count, &rows);
            prop_assert_eq!(pick(count, &rows), expected.clone());
            // The others, from the back, are what the sort gives beyond.
            let all = twin(rows.len(), &rows);
            let rest: Vec<u64> = all[expected.len()..].iter().rev().copied().collect();
            prop_assert_eq!(others(&expected, &rows), rest);
            // Any order of the rows gives the same answer.
            rows.sort_by_key(|row| row.2.wrapping_mul(shuffle | 1).rotate_left(17));
            prop_assert_eq!(pick(count, &rows), expected);
        }
    }

    proptest! {
        #[test]
        fn least_is_a_sort_cut_short(
            mut keys in prop::collection::vec((0u8..4, any::<u16>()), 0..60),
            count in 0usize..80,
        ) {
            let least = least(count, keys.clone());
            keys.sort_unstable();
            keys.truncate(count);
            prop_assert_eq!(least, keys);
        }
    }

    #[test]
    fn equal_scores_come_in_order_of_arrival_then_id() {
        let rows = [
            (Some(f32::NAN), 1, 1),
            (Some(-0.0), 9, 2),
            (Some(0.0), 8, 4),
            (Some(0.0), 8, 3),
            (None, 0, 5),
        ];
        assert_eq!(pick(10, &rows), [3, 4, 2, 1]);
        assert_eq!(pick(0, &rows), [0u64; 0]);
    }
}
