//! Finds a live job by its id: a window of ids, since ids only grow.

use alloc::collections::VecDeque;

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Place {
    pub(crate) worker: u16,
    pub(crate) row: u32,
}

/// The places of all live jobs. Memory is bounded by the ids between the oldest live job and the
/// newest, eight bytes each.
#[derive(Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct JobIndex {
    /// The id that the front of the window stands for.
    first: u64,
    window: VecDeque<Option<Place>>,
    live: usize,
}

impl JobIndex {
    /// Whether an id is larger than all before it.
    pub(crate) fn is_next(&self, id: u64) -> bool {
        id >= self.first + self.window.len() as u64
    }

    /// Number of live jobs.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// The same, counted anew.
    #[cfg(feature = "serde")]
    pub(crate) fn count(&self) -> usize {
        self.window.iter().flatten().count()
    }

    /// Adds a job; its id must be [`Self::is_next`].
    pub(crate) fn insert(&mut self, id: u64, place: Place) {
        debug_assert!(self.is_next(id), "ids grow");
        if self.window.is_empty() {
            self.first = id;
        }
        while self.first + (self.window.len() as u64) < id {
            self.window.push_back(None);
        }
        self.window.push_back(Some(place));
        self.live += 1;
    }

    /// Moves a live job.
    pub(crate) fn set(&mut self, id: u64, place: Place) {
        if let Some(slot) = self.slot(id) {
            *slot = Some(place);
        }
    }

    /// Where a job is, if it is live.
    pub(crate) fn get(&self, id: u64) -> Option<Place> {
        let offset = usize::try_from(id.checked_sub(self.first)?).ok()?;
        *self.window.get(offset)?
    }

    /// Forgets a job.
    pub(crate) fn remove(&mut self, id: u64) {
        if let Some(slot) = self.slot(id)
            && slot.take().is_some()
        {
            self.live -= 1;
        }
        // One entry stays, so that `is_next` remembers the largest id.
        while self.window.len() > 1 && self.window.front() == Some(&None) {
            self.window.pop_front();
            self.first += 1;
        }
    }

    fn slot(&mut self, id: u64) -> Option<&mut Option<Place>> {
        let offset = usize::try_from(id.checked_sub(self.first)?).ok()?;
        self.window.get_mut(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(row: u32) -> Place {
        Place { worker: 0, row }
    }

    #[test]
    fn finds_moves_and_forgets() {
        let mut index = JobIndex::default();
        index.insert(5, place(0));
        index.insert(9, place(1));
        assert_eq!(index.get(5), Some(place(0)));
        assert_eq!(index.get(7), None);
        index.set(9, place(3));
        assert_eq!(index.get(9), Some(place(3)));
        index.remove(5);
        assert_eq!((index.get(5), index.len()), (None, 1));
    }

    #[test]
    fn the_window_shrinks_and_ids_never_come_again() {
        let mut index = JobIndex::default();
        for id in 0..1_000 {
            index.insert(id, place(0));
            index.remove(id);
        }
        assert!(index.window.len() <= 1);
        assert!(!index.is_next(999));
        assert!(index.is_next(1_000));
    }
}
