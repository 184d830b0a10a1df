//! What an instance remembers of a worker: how far each job is behind arrival order, and how long
//! those that left lately would have taken in it.

use std::collections::{BTreeMap, VecDeque};

use elis_policy_sdk::words;

/// Jobs that have left, whose times in arrival order are remembered.
const RECENT: usize = 100;

/// The share of times in arrival order that is no longer than the common one.
const COMMON: f64 = 0.95;

/// A job of the last decision.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Seen {
    id: u64,
    /// How much later it ends than in arrival order, by what others had instead of it.
    behind_us: i64,
    /// Its time in arrival order, as it was known then.
    fair_us: i64,
}

/// A job of the snapshot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Present {
    pub(crate) id: u64,
    pub(crate) has_slot: bool,
}

/// One worker.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Book {
    /// When it was last asked.
    at_us: u64,
    /// How many jobs run at once where others have to wait: the slots, or what the KV holds.
    slots: usize,
    /// By id.
    seen: Vec<Seen>,
    /// Times in arrival order, the oldest first.
    recent: VecDeque<i64>,
}

impl Book {
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// Shares the time since the last decision among those that ran, and gives how far each job is
    /// behind arrival order now. `jobs` come by id.
    pub(crate) fn advance(&mut self, now_us: u64, max_slots: usize, jobs: &[Present]) -> Vec<i64> {
        let passed_us = crate::since_us(now_us, self.at_us);
        self.at_us = now_us;
        let mut seen = std::mem::take(&mut self.seen).into_iter().peekable();
        // Who ran, by id: whoever has a slot, and whoever has left since.
        let mut ran = Vec::new();
        let mut known = Vec::with_capacity(jobs.len());
        for job in jobs {
            while let Some(left) = seen.next_if(|old| old.id < job.id) {
                ran.push(left.id);
                self.leaves(left.fair_us);
            }
            known.push(seen.next_if(|old| old.id == job.id));
            if job.has_slot {
                ran.push(job.id);
            }
        }
        for left in seen {
            ran.push(left.id);
            self.leaves(left.fair_us);
        }
        let waited = known
            .iter()
            .zip(jobs)
            .any(|(old, job)| old.is_some() && !job.has_slot);
        if !waited {
            self.slots = max_slots;
        } else if passed_us > 0 {
            self.slots = ran.len().clamp(1, max_slots.max(1));
        }
        let share_us = passed_us / ran.len().max(1) as i64;
        let mut earlier = 0;
        let behind = |(before, (job, old)): (usize, (&Present, Option<Seen>))| {
            earlier += ran[earlier..].iter().take_while(|id| **id < job.id).count();
            let Some(old) = old else { return 0 };
            let later = ran.len() - earlier;
            // With a slot for it in arrival order it would have run; without one its predecessors
            // would have, and what they had brings its own turn nearer.
            let change_us = match (before < self.slots, job.has_slot) {
                (true, true) => 0,
                (true, false) => passed_us,
                (false, true) => share_us.saturating_mul(-(earlier as i64)),
                (false, false) => share_us.saturating_mul(later as i64),
            };
            old.behind_us.saturating_add(change_us)
        };
        jobs.iter().zip(known).enumerate().map(behind).collect()
    }

    fn leaves(&mut self, fair_us: i64) {
        self.recent.push_back(fair_us);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    /// Keeps what is known of the jobs that are there, all by id, for the next decision.
    pub(crate) fn keep(&mut self, jobs: &[Present], behind_us: &[i64], fair_us: &[i64]) {
        let times = behind_us.iter().zip(fair_us);
        let seen = |(job, (&behind_us, &fair_us)): (&Present, (&i64, &i64))| Seen {
            id: job.id,
            behind_us,
            fair_us,
        };
        self.seen = jobs.iter().zip(times).map(seen).collect();
    }

    /// What 95 in 100 do not exceed in arrival order, of those that left lately and those that are
    /// there; 0 where there is nobody.
    pub(crate) fn common_us(&self, present_us: &[i64]) -> i64 {
        let mut all: Vec<i64> = self.recent.iter().chain(present_us).copied().collect();
        let Some(last) = all.len().checked_sub(1) else {
            return 0;
        };
        let at = (last as f64 * COMMON) as usize;
        *all.select_nth_unstable(at).1
    }
}

/// All workers: a book for each line of jobs, which is all jobs of a worker or those of a tenant.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Memory(BTreeMap<u64, Book>);

/// The number of a line: the tenant, 0 where service is not shared, above the worker.
fn line(worker: u32, tenant: u32) -> u64 {
    u64::from(tenant) << 32 | u64::from(worker)
}

impl Memory {
    pub(crate) fn of(&mut self, worker: u32, tenant: u32) -> &mut Book {
        self.0.entry(line(worker, tenant)).or_default()
    }

    /// Forgets the lines of that worker but for those of some tenants.
    pub(crate) fn keep_only(&mut self, worker: u32, tenant: impl Fn(u32) -> bool) {
        self.0.retain(|&line, _| {
            line & u64::from(u32::MAX) != u64::from(worker) || tenant((line >> 32) as u32)
        });
    }

    /// As bytes, for another version of the policy.
    pub(crate) fn export(&self) -> Vec<u8> {
        let book = |(&line, book): (&u64, &Book)| {
            let lengths = [book.slots, book.seen.len(), book.recent.len()].map(|n| n as u64);
            let mut words = vec![line, book.at_us];
            words.extend(lengths);
            for seen in &book.seen {
                let times = [seen.behind_us, seen.fair_us].map(i64::cast_unsigned);
                words.push(seen.id);
                words.extend(times);
            }
            words.extend(book.recent.iter().map(|time| time.cast_unsigned()));
            words
        };
        words::to_bytes(self.0.iter().flat_map(book))
    }

    /// Again; nothing is empty.
    pub(crate) fn import(state: &[u8]) -> Result<Self, String> {
        let foreign = || "the state is not that of tether; start without one".to_owned();
        let words = words::from_bytes(state)?;
        let mut rest = words.as_slice();
        let mut books = BTreeMap::new();
        while let [line, at_us, slots, seen, recent, tail @ ..] = rest {
            let (book, after) = Book::read(tail, *seen, *recent).ok_or_else(foreign)?;
            let (at_us, slots) = (*at_us, usize::try_from(*slots).map_err(|_| foreign())?);
            books.insert(
                *line,
                Book {
                    at_us,
                    slots,
                    ..book
                },
            );
            rest = after;
        }
        if rest.is_empty() {
            Ok(Self(books))
        } else {
            Err(foreign())
        }
    }
}

impl Book {
    /// The jobs and the times of a book, and what comes after them.
    fn read(words: &[u64], seen: u64, recent: u64) -> Option<(Self, &[u64])> {
        let recent = usize::try_from(recent).ok().filter(|n| *n <= RECENT)?;
        let seen = usize::try_from(seen).ok()?.checked_mul(3)?;
        let (seen, rest) = words.split_at_checked(seen)?;
        let (recent, rest) = rest.split_at_checked(recent)?;
        let job = |words: &[u64; 3]| Seen {
            id: words[0],
            behind_us: words[1].cast_signed(),
            fair_us: words[2].cast_signed(),
        };
        let seen: Vec<Seen> = seen.as_chunks().0.iter().map(job).collect();
        let book = Self {
            seen,
            recent: recent.iter().map(|time| time.cast_signed()).collect(),
            ..Self::default()
        };
        book.seen
            .is_sorted_by_key(|seen| seen.id)
            .then_some((book, rest))
    }
}
