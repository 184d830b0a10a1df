//! What one instance may take: memory is counted here, time by fuel or epochs.

use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use wasmtime::{ResourceLimiter, UpdateDeadline};

use crate::engine::TICK;

/// The data of a store: its memory limit, what is in use, and whether the guest ran into it.
#[derive(Debug)]
pub(crate) struct Limits {
    memory_bytes: usize,
    /// Bytes of all memories and elements of all tables: an interpreter comes as a component of
    /// several modules, each with some of its own, and the limit is one for all.
    memory_used: usize,
    table_used: usize,
    /// Set when growth was denied: the trap that usually follows is then one of memory, though the
    /// guest's allocator reports it as a bare `unreachable`.
    pub(crate) denied: bool,
    /// What the call that is under way may use, where calls are metered by the clock.
    cpu: Option<CpuGrant>,
}

/// Ticks until a call's thread is looked at. To ask the system how long a thread has run takes as
/// long as to choose among sixty jobs, so nobody asks about a call that ends before that.
const FIRST_LOOK_TICKS: u64 = 2;

/// Time of the calling thread that a call may use.
#[derive(Debug, Clone, Copy)]
struct CpuGrant {
    began: Instant,
    budget: Duration,
    /// What the thread had run when it was first looked at, and what counts as used by then.
    first_look: Option<(Duration, Duration)>,
    /// Whether the clock ran out before the budget did.
    stalled: bool,
}

/// How much the calling thread has run. It stands still while the machine runs somebody else.
fn thread_time() -> Duration {
    ThreadTime::now().as_duration()
}

/// What counts as used of a call that nobody has looked at yet: what the clock says, but not more
/// than the thread can have run by the ticks.
fn unseen(wall: Duration) -> Duration {
    wall.min(TICK * FIRST_LOOK_TICKS as u32)
}

/// Tables hold function references, eight bytes each on the host; real policies need hundreds.
const MAX_TABLE_ELEMENTS: usize = 100_000;

impl Limits {
    pub(crate) fn new(memory_bytes: usize) -> Self {
        Self {
            memory_bytes,
            memory_used: 0,
            table_used: 0,
            denied: false,
            cpu: None,
        }
    }

    /// A call that begins now may use that much time of this thread. Says after how many ticks
    /// [`Limits::deadline`] is to be asked.
    pub(crate) fn grant_cpu(&mut self, now: Instant, budget: Duration) -> u64 {
        self.cpu = Some(CpuGrant {
            began: now,
            budget,
            first_look: None,
            stalled: false,
        });
        ticks(budget).min(FIRST_LOOK_TICKS)
    }

    /// The clock has run out. A policy cannot wait for anything, so what it has used is what its
    /// thread has run: if that is less than the budget, it goes on with what is left of its own. If
    /// it has had time enough by the clock, the machine was busy with others.
    pub(crate) fn deadline(&mut self) -> UpdateDeadline {
        let Some(grant) = &mut self.cpu else {
            return UpdateDeadline::Interrupt;
        };
        let first = grant.first_look.is_none();
        let wall = grant.began.elapsed();
        let used = grant.used(wall);
        match left(grant.budget, used) {
            None => UpdateDeadline::Interrupt,
            Some(left) => {
                grant.stalled |= !first || wall >= grant.budget;
                if first {
                    grant.first_look = Some((thread_time(), used));
                }
                UpdateDeadline::Continue(left)
            }
        }
    }

    /// What a call that has taken that long by the clock has used of its grant; zero where there is
    /// none.
    pub(crate) fn used(&self, wall: Duration) -> Duration {
        self.cpu.map_or(Duration::ZERO, |grant| grant.used(wall))
    }

    /// Whether the machine kept the last call from running.
    pub(crate) fn stalled(&self) -> bool {
        self.cpu.is_some_and(|grant| grant.stalled)
    }
}

impl CpuGrant {
    fn used(self, wall: Duration) -> Duration {
        match self.first_look {
            None => unseen(wall),
            Some((ran, used)) => used + thread_time().saturating_sub(ran),
        }
    }
}

/// Ticks until the rest of a budget is used if the thread runs all the time; `None` if it is used.
fn left(budget: Duration, used: Duration) -> Option<u64> {
    let left = budget.checked_sub(used).filter(|left| !left.is_zero())?;
    Some(ticks(left))
}

/// Ticks after which at least that much time has gone by; the first may come at once.
fn ticks(time: Duration) -> u64 {
    time.as_micros().div_ceil(TICK.as_micros()) as u64 + 1
}

/// Grants growth of one part if all of them together stay within the limit.
fn grant(used: &mut usize, current: usize, desired: usize, limit: usize) -> bool {
    let all = used.saturating_sub(current).saturating_add(desired);
    let granted = all <= limit;
    if granted {
        *used = all;
    }
    granted
}

impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = grant(&mut self.memory_used, current, desired, self.memory_bytes);
        self.denied |= !granted;
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = grant(&mut self.table_used, current, desired, MAX_TABLE_ELEMENTS);
        self.denied |= !granted;
        Ok(granted)
    }

    // What each of these costs the host is bounded here, what they hold above. Python comes as some
    // twenty modules with as many stubs.
    fn instances(&self) -> usize {
        128
    }

    fn memories(&self) -> usize {
        32
    }

    fn tables(&self) -> usize {
        64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_one_for_all_memories() {
        let mut limits = Limits::new(100);
        assert!(limits.memory_growing(0, 60, None).unwrap());
        assert!(limits.memory_growing(0, 30, None).unwrap());
        assert!(!limits.denied);
        assert!(!limits.memory_growing(30, 41, None).unwrap(), "60 and 41");
        assert!(limits.denied);
        assert!(limits.memory_growing(30, 40, None).unwrap());
        assert!(!limits.memory_growing(60, 61, None).unwrap());
    }

    #[test]
    fn a_short_call_counts_by_the_clock_and_a_long_one_until_it_is_looked_at() {
        assert_eq!(unseen(Duration::from_micros(9)), Duration::from_micros(9));
        assert_eq!(unseen(Duration::from_secs(1)), Duration::from_micros(500));
    }

    #[test]
    fn a_budget_is_used_by_running_and_not_by_waiting() {
        let ms = Duration::from_millis;
        assert_eq!(left(ms(2), ms(0)), Some(9), "ticks of a quarter of a ms");
        assert_eq!(left(ms(2), Duration::from_micros(1_990)), Some(2));
        assert_eq!(left(ms(2), ms(2)), None);
        assert_eq!(left(ms(2), ms(9)), None);
    }
}
