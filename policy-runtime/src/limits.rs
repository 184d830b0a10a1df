//! What one instance may take: memory is counted here, time by fuel or epochs.

use std::time::Duration;

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

/// Time of the calling thread that a call may use.
#[derive(Debug, Clone, Copy)]
struct CpuGrant {
    began: Duration,
    budget: Duration,
    /// Whether the clock ran out before the budget did.
    stalled: bool,
}

/// How much the calling thread has run. It stands still while the machine runs somebody else.
pub(crate) fn thread_time() -> Duration {
    ThreadTime::now().as_duration()
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

    /// From now on a call may use that much time of this thread.
    pub(crate) fn grant_cpu(&mut self, budget: Duration) {
        self.cpu = Some(CpuGrant {
            began: thread_time(),
            budget,
            stalled: false,
        });
    }

    /// The clock has run out. A policy cannot wait for anything, so what it has used is what its
    /// thread has run: if that is less than the budget, the machine was busy with others, and the
    /// policy goes on with what is left of its own.
    pub(crate) fn deadline(&mut self) -> UpdateDeadline {
        let Some(grant) = &mut self.cpu else {
            return UpdateDeadline::Interrupt;
        };
        match left(grant.budget, thread_time().saturating_sub(grant.began)) {
            None => UpdateDeadline::Interrupt,
            Some(ticks) => {
                grant.stalled = true;
                UpdateDeadline::Continue(ticks)
            }
        }
    }

    /// Whether the machine kept the last call from running.
    pub(crate) fn stalled(&self) -> bool {
        self.cpu.is_some_and(|grant| grant.stalled)
    }
}

/// Ticks until the rest of a budget is used if the thread runs all the time; `None` if it is used.
fn left(budget: Duration, used: Duration) -> Option<u64> {
    let left = budget.checked_sub(used).filter(|left| !left.is_zero())?;
    Some(left.as_micros().div_ceil(TICK.as_micros()) as u64)
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
    fn a_budget_is_used_by_running_and_not_by_waiting() {
        let ms = Duration::from_millis;
        assert_eq!(left(ms(2), ms(0)), Some(8), "ticks of a quarter of a ms");
        assert_eq!(left(ms(2), Duration::from_micros(1_990)), Some(1));
        assert_eq!(left(ms(2), ms(2)), None);
        assert_eq!(left(ms(2), ms(9)), None);
    }
}
