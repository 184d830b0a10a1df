//! A few snapshots of the last seconds, for the trial of whoever wants to become live.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use elis_scheduler::snapshot::Snapshot;

use crate::still::Still;

/// Snapshots that are kept.
const KEPT: usize = 8;
/// Copying a thousand jobs takes some 50 us, so not every decision's is.
const PAUSE: Duration = Duration::from_millis(100);

/// The last snapshots.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    kept: VecDeque<Arc<Still>>,
    last: Option<Duration>,
}

impl Recent {
    /// Keeps the snapshot if the last one is old enough.
    pub(crate) fn offer(&mut self, now: Duration, snapshot: &Snapshot<'_>) {
        if self.last.is_some_and(|last| now < last + PAUSE) {
            return;
        }
        self.last = Some(now);
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Arc::new(Still::of(snapshot)));
    }

    /// What is kept, oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Still>> {
        self.kept.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_of_the_last_are_kept_and_none_too_often() {
        let mut recent = Recent::default();
        for ms in 0..2_000 {
            let mut still = crate::synthetic::queue(3);
            still.header.now_us = ms * 1_000;
            recent.offer(Duration::from_millis(ms), &still.snapshot());
        }
        let ms: Vec<u64> = recent
            .all()
            .iter()
            .map(|s| s.header.now_us / 1_000)
            .collect();
        assert_eq!(ms, [1200, 1300, 1400, 1500, 1600, 1700, 1800, 1900]);
    }
}
