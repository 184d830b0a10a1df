//! The one order: by score, lower first; then by arrival; then by id.

use core::cmp::Ordering;

use crate::lanes::{F32s, WIDTH, sort_key};

/// A row with its key, as one word: to compare two is to compare two words unless the keys are the
/// same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scored(i64);

impl Scored {
    #[inline(always)]
    pub(crate) fn new(key: i32, row: usize) -> Self {
        Self(i64::from(key) << 32 | row as i64)
    }

    #[inline(always)]
    pub(crate) fn key(self) -> i32 {
        (self.0 >> 32) as i32
    }

    #[inline(always)]
    pub(crate) fn row(self) -> usize {
        (self.0 & i64::from(u32::MAX)) as usize
    }
}

/// Those of some lanes for which something is true.
pub(crate) fn filter(lanes: u32, is_true: impl Fn(usize) -> bool) -> u32 {
    let mut left = lanes;
    let mut chosen = 0;
    while left != 0 {
        let lane = left.trailing_zeros();
        left &= left - 1;
        chosen |= u32::from(is_true(lane as usize)) << lane;
    }
    chosen
}

/// What breaks ties between equal scores.
#[derive(Debug, Clone, Copy)]
pub struct Ties<'a> {
    /// The column `job-arrival-us`.
    pub arrival_us: &'a [u64],
    /// The column `job-id`.
    pub id: &'a [u64],
}

impl Ties<'_> {
    pub(crate) fn rows(&self) -> usize {
        self.arrival_us.len().min(self.id.len())
    }

    pub(crate) fn compare(&self, a: Scored, b: Scored) -> Ordering {
        if a.key() == b.key() {
            let rank = |row: usize| (self.arrival_us[row], self.id[row], row);
            rank(a.row()).cmp(&rank(b.row()))
        } else {
            a.cmp(&b)
        }
    }

    /// Sorts the rows. Words sort faster than a comparison that might look at the ties, so those
    /// are put right afterwards, where that has not brought them into order.
    pub(crate) fn sort(&self, rows: &mut [Scored]) {
        rows.sort_unstable();
        if self.has_misplaced_ties(rows) {
            self.order_ties(rows);
        }
    }

    /// Whether two that follow each other are level and the wrong way round.
    fn has_misplaced_ties(&self, rows: &[Scored]) -> bool {
        let next = rows.get(1..).unwrap_or_default();
        let (groups, rest) = rows[..next.len()].as_chunks::<WIDTH>();
        let (next_groups, next_rest) = next.as_chunks::<WIDTH>();
        let misplaced = |a: &[Scored], b: &[Scored]| {
            let level = a
                .iter()
                .zip(b)
                .zip(0u32..)
                .fold(0, |level, ((a, b), lane)| {
                    level | u32::from(a.key() == b.key()) << lane
                });
            filter(level, |lane| self.compare(a[lane], b[lane]).is_gt()) != 0
        };
        groups.iter().zip(next_groups).any(|(a, b)| misplaced(a, b)) || misplaced(rest, next_rest)
    }

    /// The ids of the rows.
    pub(crate) fn names(&self, rows: &[Scored]) -> Vec<u64> {
        let mut ids = Vec::with_capacity(rows.len());
        let (groups, rest) = rows.as_chunks::<WIDTH>();
        for group in groups {
            ids.extend_from_slice(&group.map(|scored| self.id[scored.row()]));
        }
        ids.extend(rest.iter().map(|scored| self.id[scored.row()]));
        ids
    }

    /// The ids of the rows, best first.
    pub(crate) fn ids(&self, mut rows: Vec<Scored>) -> Vec<u64> {
        self.sort(&mut rows);
        self.names(&rows)
    }

    #[cold]
    fn order_ties(&self, rows: &mut [Scored]) {
        for equal in rows.chunk_by_mut(|a, b| a.key() == b.key()) {
            equal.sort_unstable_by(|&a, &b| self.compare(a, b));
        }
    }

    /// Those of some lanes that are better than the worst of the best.
    #[cold]
    pub(crate) fn better(&self, lanes: u32, group: &F32s, first: usize, worst: Scored) -> u32 {
        let scores = group.to_array();
        filter(lanes, |lane| {
            let scored = Scored::new(sort_key(scores[lane % WIDTH]), first + lane);
            self.compare(scored, worst).is_lt()
        })
    }
}
