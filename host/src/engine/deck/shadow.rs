//! A policy that decides beside the live one, on copies, and whose plans nobody runs.
//!
//! It has a thread of its own, a queue of a few snapshots and a share of the processor, copying
//! included. What is beyond these is not shown to it, and counted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use elis_policy_runtime::Decision;
use elis_scheduler::plan::{Interest, Plan, PolicyExit};
use elis_scheduler::snapshot::Snapshot;
use serde::Serialize;

use super::divergence::Divergence;
use super::seat::Seat;
use super::share::Share;
use crate::shelf::Choice;
use crate::still::Still;

/// Snapshots that may wait.
const WAITING_MAX: usize = 4;

/// A decision of the live policy, to be taken again.
#[derive(Debug)]
struct Case {
    still: Still,
    live: Result<Plan, PolicyExit>,
}

/// What came of a shadow run so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ShadowCounts {
    /// Decisions of the live policy since it began.
    pub offered: u64,
    /// Of these it saw so many; the rest was beyond its share of the processor, or its queue.
    pub seen: u64,
    /// Decisions in which both gave a plan.
    pub compared: u64,
    /// Of these, those in which other jobs would have got the slots.
    pub differed: u64,
    /// Mean of Kendall's tau of the two orders; none before there is one.
    pub kendall_tau: Option<f64>,
    /// Its decisions that failed.
    pub failed: u64,
    /// Time of its thread, seconds.
    pub cpu_s: f64,
    /// What it would have made of completion times, when somebody last asked for that.
    pub estimate: Option<Estimate>,
    /// Why there is none, if it was asked for.
    pub no_estimate: Option<String>,
}

/// The requests since a shadow run began, simulated under the live policy and under the one in
/// shadow, on a worker that is fitted to the recorded iterations.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// Requests that came and went within that time.
    pub requests: usize,
    /// How much of it is recorded, seconds.
    pub window_s: f64,
    /// Their mean time from arrival to the last token under the live policy, simulated, seconds.
    pub live_jct_s: f64,
    /// The same under the policy in shadow.
    pub shadow_jct_s: f64,
    /// The second over the first, less 1: below 0 is faster.
    pub change: f64,
    /// The simulated mean under the live policy over the recorded one, less 1. No change that is
    /// smaller than this means much.
    pub calibration_error: f64,
}

/// The counts as they grow.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    used_ns: AtomicU64,
    done: AtomicBool,
    sums: Mutex<Sums>,
}

#[derive(Debug, Default)]
struct Sums {
    counts: ShadowCounts,
    tau: f64,
    taus: u64,
}

impl Observed {
    /// Notes what an estimate has found.
    pub(crate) fn estimated(&self, estimate: Result<Estimate, String>) {
        self.change(|sums| {
            let counts = &mut sums.counts;
            (counts.estimate, counts.no_estimate) = match estimate {
                Ok(estimate) => (Some(estimate), None),
                Err(why) => (None, Some(why)),
            };
        });
    }

    pub(crate) fn counts(&self) -> ShadowCounts {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts = sums.counts.clone();
        counts.kendall_tau = (sums.taus > 0).then(|| sums.tau / sums.taus as f64);
        counts.cpu_s = self.used().as_secs_f64();
        counts
    }

    fn used(&self) -> Duration {
        Duration::from_nanos(self.used_ns.load(Ordering::Relaxed))
    }

    fn spend(&self, span: Duration) {
        let ns = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.used_ns.fetch_add(ns, Ordering::Relaxed);
    }

    fn change(&self, change: impl FnOnce(&mut Sums)) {
        change(&mut self.sums.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A running shadow, as the scheduling thread has it. Its thread ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Shadow {
    pub(crate) choice: Choice,
    pub(crate) interest: Interest,
    pub(crate) observed: Arc<Observed>,
    cases: SyncSender<Case>,
    share: Share,
}

impl Shadow {
    /// Starts the thread; `share` is of one core.
    pub(crate) fn start(seat: Seat, share: f64) -> std::io::Result<Self> {
        let (cases, waiting) = sync_channel(WAITING_MAX);
        let observed = Arc::<Observed>::default();
        let shadow = Self {
            choice: seat.choice.clone(),
            interest: seat.interest(),
            observed: Arc::clone(&observed),
            cases,
            share: Share::new(share),
        };
        let thread = thread::Builder::new().name("elis-shadow".to_owned());
        thread.spawn(move || run(seat, &waiting, &observed))?;
        Ok(shadow)
    }

    /// Shows it what the live policy has just decided on, if there is room.
    pub(crate) fn offer(&mut self, now: Duration, snapshot: &Snapshot<'_>, decision: &Decision) {
        let room = self.share.allows(now, self.observed.used());
        self.observed.change(|sums| sums.counts.offered += 1);
        if !room {
            return;
        }
        let begin = Instant::now();
        let case = Case {
            still: Still::of(snapshot),
            live: decision.plan.clone(),
        };
        // Full, it goes without this one.
        let seen = self.cases.try_send(case).is_ok();
        self.observed.spend(begin.elapsed());
        self.observed
            .change(|sums| sums.counts.seen += u64::from(seen));
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        self.observed.done.store(true, Ordering::Relaxed);
    }
}

fn run(mut seat: Seat, cases: &Receiver<Case>, observed: &Observed) {
    while let Ok(case) = cases.recv() {
        if observed.done.load(Ordering::Relaxed) {
            return;
        }
        let begin = ThreadTime::now();
        let decision = seat.decide(&case.still.snapshot());
        let divergence = match (&case.live, &decision.plan) {
            (Ok(live), Ok(shadow)) => Some(Divergence::between(&case.still, live, shadow)),
            _ => None,
        };
        observed.change(|sums| {
            sums.counts.failed += u64::from(decision.plan.is_err());
            if let Some(Divergence { tau, differs }) = divergence {
                sums.counts.compared += 1;
                sums.counts.differed += u64::from(differs);
                sums.tau += tau.unwrap_or(0.0);
                sums.taus += u64::from(tau.is_some());
            }
        });
        observed.spend(begin.elapsed());
    }
}
