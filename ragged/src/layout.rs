//! Packed sequences of different lengths: where each begins and ends.

use std::ops::Range;

/// The rows of several sequences, one after another without padding.
///
/// Row `offsets[i]` is the first token of sequence `i`; the last offset is the number of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ragged {
    offsets: Vec<usize>,
}

impl Default for Ragged {
    fn default() -> Self {
        Self { offsets: vec![0] }
    }
}

impl Ragged {
    /// The layout of sequences with these lengths, in tokens.
    pub fn from_lengths(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut layout = Self::default();
        for length in lengths {
            layout.push(length);
        }
        layout
    }

    /// Adds a sequence of so many tokens at the end.
    pub fn push(&mut self, tokens: usize) {
        self.offsets.push(self.rows() + tokens);
    }

    /// Takes all sequences out and keeps the memory.
    pub fn clear(&mut self) {
        self.offsets.truncate(1);
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of rows, which is tokens of all sequences.
    pub fn rows(&self) -> usize {
        self.offsets.last().copied().unwrap_or_default()
    }

    /// The rows of one sequence.
    ///
    /// # Panics
    ///
    /// If there are not so many sequences.
    pub fn range(&self, sequence: usize) -> Range<usize> {
        self.offsets[sequence]..self.offsets[sequence + 1]
    }

    /// The rows of each sequence, in order.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.offsets.windows(2).map(|pair| pair[0]..pair[1])
    }

    /// Tokens of the longest sequence.
    pub fn longest(&self) -> usize {
        self.ranges().map(|range| range.len()).max().unwrap_or(0)
    }

    /// Runs of neighbouring sequences with at most `rows_max` rows each, or one longer sequence.
    ///
    /// A model that takes a batch in such groups needs memory for one group only, and the group
    /// stays in the caches.
    pub fn groups(&self, rows_max: usize) -> Vec<Range<usize>> {
        let mut groups = Vec::new();
        let mut start = 0;
        for end in 1..=self.sequences() {
            let last = end == self.sequences();
            if last || self.offsets[end + 1] - self.offsets[start] > rows_max {
                groups.push(start..end);
                start = end;
            }
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_add_up() {
        let layout = Ragged::from_lengths([3, 0, 5]);
        assert_eq!((layout.sequences(), layout.rows()), (3, 8));
        assert_eq!(layout.range(1), 3..3);
        assert_eq!(layout.range(2), 3..8);
        assert_eq!(layout.longest(), 5);
    }

    #[test]
    fn groups_cover_all_and_split_nothing() {
        let layout = Ragged::from_lengths([3, 4, 20, 1, 1, 8]);
        assert_eq!(layout.groups(8), [0..2, 2..3, 3..5, 5..6]);
        assert_eq!(layout.groups(1000), vec![0..6]);
        assert!(Ragged::default().groups(8).is_empty());
    }

    #[test]
    fn a_cleared_layout_is_empty() {
        let mut layout = Ragged::from_lengths([2, 2]);
        layout.clear();
        assert_eq!(layout, Ragged::default());
    }
}
