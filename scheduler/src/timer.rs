//! The deadlines of one worker, in one place.

use crate::time::Time;

/// What can fall due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// When the policy's answer stops being waited for.
    Decision,
    /// When outstanding predictions stop being waited for.
    Prediction,
    /// When the plan wants to be asked again.
    WakeUp,
    /// When the longest waiting job comes under the starvation guard.
    Starvation,
    /// When the first deferred job may be looked at again.
    Deferral,
}

const TIMERS: [Timer; 5] = [
    Timer::Decision,
    Timer::Prediction,
    Timer::WakeUp,
    Timer::Starvation,
    Timer::Deferral,
];

/// One entry for each timer.
#[derive(Debug, Clone, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct TimerTable([Option<Time>; TIMERS.len()]);

impl TimerTable {
    pub(crate) fn set(&mut self, timer: Timer, at: Option<Time>) {
        self.0[timer as usize] = at;
    }

    pub(crate) fn get(&self, timer: Timer) -> Option<Time> {
        self.0[timer as usize]
    }

    /// The earliest of all.
    pub(crate) fn next(&self) -> Option<Time> {
        self.0.iter().flatten().min().copied()
    }

    /// Takes a timer that is due.
    pub(crate) fn expire(&mut self, now: Time) -> Option<Timer> {
        let timer = TIMERS
            .into_iter()
            .find(|&t| self.get(t).is_some_and(|at| at <= now))?;
        self.set(timer, None);
        Some(timer)
    }
}
