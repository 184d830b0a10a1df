//! A policy that decides for a share of the workers, and the guard that takes it back by itself.
//!
//! ```text
//!           canary                  time is over, guard unbroken
//! prepared ---------> some workers ------------------------------> live, or it stays
//!                          |
//!                          | a guard is crossed, quarantine, the operator
//!                          v
//!             the live policy decides there too, on the very snapshot
//! ```
//!
//! The core places requests by load and knows no sides, so both get the same kind of requests. Only
//! those that arrive after the beginning are counted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use elis_policy_runtime::Decision;
use elis_scheduler::columns::JobTable;
use elis_scheduler::snapshot::Snapshot;
use elis_scheduler::{Scheduler, Span, Time};
use serde::Serialize;

use super::seat::Seat;
use super::side::{Side, SideReport};
use super::{Deck, Note, Refusal};
use crate::shelf::{Choice, LiveRecord};

/// How often the guard looks at those that wait.
const LOOK_EVERY: Span = Span::from_ms(100);

/// What takes a canary back.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Guard {
    /// The time within which 99 of 100 first tokens have to come, milliseconds; none is no limit.
    pub max_p99_ttft_ms: Option<f64>,
    /// The share of requests that may fail or be refused by the policy.
    pub max_error_rate: f64,
    /// Failed decisions and faults of plans that are forgiven.
    pub max_faults: u64,
    /// Shares are of so many requests at least, and before so many nothing is promoted.
    pub min_requests: u64,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            max_p99_ttft_ms: None,
            max_error_rate: 0.01,
            max_faults: 0,
            min_requests: 100,
        }
    }
}

impl Guard {
    fn is_late(&self, ttft_s: f64) -> bool {
        self.max_p99_ttft_ms
            .is_some_and(|limit| ttft_s * 1e3 > limit)
    }

    /// Which guard is crossed, if one is.
    fn crossed(&self, side: &Side) -> Option<String> {
        if side.faults > self.max_faults {
            return Some(format!(
                "{} faults, and {} are allowed",
                side.faults, self.max_faults
            ));
        }
        let ended = side.requests + side.errors;
        let errors_max = self.max_error_rate * ended.max(self.min_requests) as f64;
        if side.errors as f64 > errors_max {
            return Some(format!(
                "{} of {ended} requests failed or were refused, and a share of {} is allowed",
                side.errors, self.max_error_rate
            ));
        }
        let (late, known) = side.lateness();
        let limit = self.max_p99_ttft_ms?;
        (late > known.max(self.min_requests) / 100).then(|| {
            format!(
                "{late} of {known} first tokens took longer than {limit} ms, and one of a hundred \
                 may"
            )
        })
    }
}

/// How a policy is to be tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Its configuration, TOML.
    pub config: String,
    /// What the trial is meant for; without it, how things stand when the wish comes in.
    pub epoch: Option<u64>,
    /// The share of workers, above 0 and below 1.
    pub share: f64,
    /// What takes it back.
    pub guard: Guard,
    /// How long it has to hold.
    pub lasts: Duration,
    /// Whether it becomes the live one then; otherwise it stays as it is, guarded.
    pub promote: bool,
    /// Whether the state of the live policy is left behind.
    pub fresh_state: bool,
}

/// How far a canary has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// It decides for its share, and its time is not over.
    Running,
    /// Its time is over and no guard was crossed; it goes on.
    Passed,
    /// It has become the live policy.
    Promoted,
    /// A guard was crossed, and the live policy decides everywhere.
    RolledBack,
    /// It was ended by hand, or with the live policy.
    Ended,
}

impl Stage {
    /// Whether it decides for anybody as a canary.
    pub fn is_under_way(self) -> bool {
        matches!(self, Self::Running | Self::Passed)
    }

    /// Its name in metrics and in the audit log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Passed => "passed",
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled-back",
            Self::Ended => "ended",
        }
    }
}

/// A canary under way or, until the next one begins, the last one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CanaryReport {
    /// The policy.
    #[serde(flatten)]
    pub choice: Choice,
    /// Its name.
    pub name: String,
    /// How far it has come.
    pub stage: Stage,
    /// Why it is over, if it is.
    pub why: Option<String>,
    /// The workers that it decides for, or did.
    pub workers: Vec<u16>,
    /// What takes it back.
    pub guard: Guard,
    /// How long it has to hold, seconds.
    pub for_s: f64,
    /// Whether it becomes the live one then.
    pub promote: bool,
    /// How long it has decided, seconds.
    pub elapsed_s: f64,
    /// Requests on the other workers, under the live policy.
    pub control: SideReport,
    /// Requests on its own.
    pub canary: SideReport,
}

/// What everybody may see of a canary.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) choice: Choice,
    name: String,
    trial: Trial,
    workers: Vec<u16>,
    began: Time,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    why: Option<String>,
    /// The time of the last look.
    seen: Time,
    control: Side,
    canary: Side,
}

impl Run {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.lock().stage.is_under_way()
    }

    pub(crate) fn report(&self) -> CanaryReport {
        let state = self.lock();
        CanaryReport {
            choice: self.choice.clone(),
            name: self.name.clone(),
            stage: state.stage,
            why: state.why.clone(),
            workers: self.workers.clone(),
            guard: self.trial.guard,
            for_s: self.trial.lasts.as_secs_f64(),
            promote: self.trial.promote,
            elapsed_s: (state.seen - self.began).as_ns() as f64 / 1e9,
            control: state.control.report(),
            canary: state.canary.report(),
        }
    }

    fn holds(&self, worker: u16) -> bool {
        self.workers.contains(&worker)
    }

    /// Changes the counts of a worker's side.
    fn side(&self, worker: u16, change: impl FnOnce(&mut Side)) {
        let mut state = self.lock();
        let state = &mut *state;
        change(if self.holds(worker) {
            &mut state.canary
        } else {
            &mut state.control
        });
    }

    /// Counts those of a side that are here still: late ones, and all that are late or not.
    fn here(&self, canary: bool, scheduler: &Scheduler, now: Time) -> (u64, u64) {
        let all = 0..scheduler.config().workers.len() as u16;
        let side = all.filter(|&worker| self.holds(worker) == canary);
        let queues = side.filter_map(|worker| scheduler.snapshot(worker));
        queues.fold((0, 0), |(late, known), queue| {
            let (more, all) = self.lateness(queue.jobs, now);
            (late + more, known + all)
        })
    }

    fn lateness(&self, jobs: &JobTable, now: Time) -> (u64, u64) {
        let began_us = self.began.as_us();
        let counted = (0..jobs.len()).filter(|&row| jobs.arrival_us[row] >= began_us);
        counted.fold((0, 0), |(late, known), row| {
            let first_us = jobs.first_token_us[row];
            let until_us = if first_us > 0 { first_us } else { now.as_us() };
            let waited_s = until_us.saturating_sub(jobs.arrival_us[row]) as f64 / 1e6;
            let is_late = self.trial.guard.is_late(waited_s);
            let is_known = is_late || first_us > 0;
            (late + u64::from(is_late), known + u64::from(is_known))
        })
    }
}

/// A canary as the scheduling thread has it.
#[derive(Debug)]
pub(super) struct Canary {
    pub(super) seat: Seat,
    pub(super) run: Arc<Run>,
    /// When the guard looks again.
    next: Time,
}

impl Canary {
    pub(super) fn holds(&self, worker: u16) -> bool {
        self.run.holds(worker)
    }

    pub(super) fn workers(&self) -> &[u16] {
        &self.run.workers
    }
}

/// Of so many workers the last ones: where nobody waits the first ones get the requests, so that
/// a canary gets its share at most.
fn share_of(workers: u16, share: f64) -> Vec<u16> {
    let wanted = (f64::from(workers) * share).round() as u16;
    let wanted = wanted.clamp(1, workers.saturating_sub(1).max(1));
    (workers - wanted..workers).collect()
}

impl Deck {
    /// Lets a policy decide for a share of the workers.
    pub(super) fn begin_canary(
        &mut self,
        mut seat: Seat,
        trial: Trial,
        epoch: u64,
        now: Time,
    ) -> Result<(), Refusal> {
        if epoch != self.epoch {
            return Err(Refusal::Epoch(self.epoch));
        }
        if self.canary.is_some() {
            return Err(Refusal::Canary);
        }
        if self.told.len() < 2 {
            return Err(Refusal::OneWorker);
        }
        if !trial.fresh_state {
            self.hand_over(&mut seat)?;
        }
        self.number(&mut seat);
        let run = Arc::new(Run {
            choice: seat.choice.clone(),
            name: seat.policy().info().name.clone(),
            workers: share_of(self.told.len() as u16, trial.share),
            began: now,
            trial,
            state: Mutex::new(State {
                stage: Stage::Running,
                why: None,
                seen: now,
                control: Side::default(),
                canary: Side::default(),
            }),
        });
        let canary = Canary {
            seat,
            run,
            next: now,
        };
        tracing::info!(
            policy = canary.run.name,
            digest = canary.run.choice.digest.short(),
            workers = ?canary.run.workers,
            "a canary begins"
        );
        self.last_canary = Some(Arc::clone(&canary.run));
        self.canary = Some(canary);
        self.retell();
        Ok(())
    }

    /// Has the canary of a worker decide, if there is one there; one that has to go is gone then,
    /// and the live policy decides on the same snapshot.
    pub(super) fn decide_by_canary(&mut self, snapshot: &Snapshot<'_>) -> Option<Decision> {
        let worker = snapshot.header.worker as u16;
        let canary = self.canary.as_mut().filter(|canary| canary.holds(worker))?;
        let decision = canary.seat.decide(snapshot);
        let Err(exit) = decision.plan else {
            return Some(decision);
        };
        let mut crossed = None;
        canary.run.side(worker, |side| {
            side.faults += 1;
            crossed = canary.run.trial.guard.crossed(side);
        });
        let quarantined = canary.seat.slot.is_quarantined();
        let crossed = crossed.or_else(|| quarantined.then(|| "quarantined".to_owned()));
        let Some(crossed) = crossed else {
            return Some(decision);
        };
        let detail = decision.detail.as_deref().unwrap_or("no detail");
        let why = format!("{crossed}; the last was {} ({detail})", exit.name());
        self.end_canary(Stage::RolledBack, &why);
        None
    }

    /// Notes faults that the core has found in plans for a worker.
    pub(super) fn note_canary_faults(&mut self, worker: u16, faults: u64) {
        if let Some(canary) = &self.canary {
            canary.run.side(worker, |side| side.faults += faults);
        }
    }

    /// When [`Self::look`] has something to do.
    pub(crate) fn due(&self) -> Option<Time> {
        self.canary.as_ref().map(|canary| canary.next)
    }

    /// Looks whether the canary's guard holds and whether its time is over.
    pub(crate) fn look(&mut self, now: Time, scheduler: &Scheduler) {
        let Some(canary) = self.canary.as_mut().filter(|canary| canary.next <= now) else {
            return;
        };
        canary.next = now + LOOK_EVERY;
        let run = Arc::clone(&canary.run);
        let mut state = run.lock();
        state.seen = now;
        state.control.here(run.here(false, scheduler, now));
        state.canary.here(run.here(true, scheduler, now));
        let crossed = run.trial.guard.crossed(&state.canary);
        let enough = state.canary.requests >= run.trial.guard.min_requests;
        let lasts = u64::try_from(run.trial.lasts.as_nanos()).unwrap_or(u64::MAX);
        let over = now - run.began >= Span::from_ns(lasts) && enough;
        let passes = over && crossed.is_none() && state.stage == Stage::Running;
        if passes {
            state.stage = Stage::Passed;
        }
        drop(state);
        match crossed {
            Some(why) => self.end_canary(Stage::RolledBack, &why),
            None if passes && run.trial.promote => {
                self.promote_canary("its time was over and no guard crossed");
            }
            None if passes => {
                let why = "its time is over and no guard crossed; it goes on";
                self.note_canary(&run, Stage::Passed, why, None);
            }
            None => {}
        }
    }

    /// Ends the canary: the live policy decides everywhere.
    pub(super) fn end_canary(&mut self, stage: Stage, why: &str) {
        let Some(Canary { run, .. }) = self.canary.take() else {
            return;
        };
        tracing::warn!(
            policy = run.name,
            digest = run.choice.digest.short(),
            stage = stage.name(),
            why,
            "the canary is over"
        );
        self.retell_only(&run.workers);
        self.close_canary(&run, stage, why, None);
    }

    /// The canary becomes the live policy.
    pub(super) fn promote_canary(&mut self, why: &str) {
        let Some(Canary { seat, run, .. }) = self.canary.take() else {
            return;
        };
        let digest = seat.choice.digest;
        self.take_over(seat);
        self.board.swapped("canary");
        self.changed();
        tracing::info!(
            policy = run.name,
            digest = digest.short(),
            why,
            "the canary is live"
        );
        let record = Some(self.record());
        self.close_canary(&run, Stage::Promoted, why, record);
    }

    fn close_canary(&mut self, run: &Run, stage: Stage, why: &str, record: Option<LiveRecord>) {
        {
            let mut state = run.lock();
            state.stage = stage;
            state.why = Some(why.to_owned());
        }
        self.board.canary_over(stage.name());
        self.note_canary(run, stage, why, record);
    }

    fn note_canary(&mut self, run: &Run, stage: Stage, why: &str, record: Option<LiveRecord>) {
        self.post();
        // Without anybody to note it the end is no less real.
        let _ = self.notes.send(Note::Canary {
            record,
            digest: run.choice.digest,
            outcome: format!("{}: {why}", stage.name()),
        });
    }

    /// A request has finished on a worker.
    pub(crate) fn finished(&self, worker: u16, arrival: Time, jct_s: f64, ttft_s: f64) {
        self.seat(worker).tally.finished(jct_s, ttft_s);
        if let Some(canary) = &self.canary
            && arrival >= canary.run.began
        {
            let late = canary.run.trial.guard.is_late(ttft_s);
            canary
                .run
                .side(worker, |side| side.finished(jct_s, ttft_s, late));
        }
    }

    /// A request has failed on a worker, or its policy refused it.
    pub(crate) fn failed(&self, worker: u16) {
        if let Some(canary) = &self.canary {
            canary.run.side(worker, |side| side.errors += 1);
        }
    }

    /// A client has left; one that had no token yet may have waited too long.
    pub(crate) fn left(&self, worker: u16, arrival_us: u64, now: Time) {
        if let Some(canary) = &self.canary
            && arrival_us >= canary.run.began.as_us()
        {
            let waited_s = now.as_us().saturating_sub(arrival_us) as f64 / 1e6;
            if canary.run.trial.guard.is_late(waited_s) {
                canary.run.side(worker, Side::gave_up);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(requests: u64, late: u64) -> Side {
        let mut side = Side::default();
        for request in 0..requests {
            side.finished(1.0, 0.1, request < late);
        }
        side
    }

    #[test]
    fn a_guard_is_crossed_by_what_it_names() {
        let guard = Guard {
            max_p99_ttft_ms: Some(500.0),
            max_error_rate: 0.02,
            max_faults: 1,
            min_requests: 100,
        };
        assert_eq!(guard.crossed(&side(1_000, 10)), None, "one of a hundred");
        let why = guard.crossed(&side(1_000, 11)).unwrap();
        assert!(why.contains("11 of 1000"), "{why}");
        assert!(guard.is_late(0.501) && !guard.is_late(0.5));
        assert_eq!(guard.crossed(&side(3, 1)), None, "too few to tell");
        let mut stuck = side(0, 0);
        stuck.here((2, 2));
        assert!(guard.crossed(&stuck).is_some(), "nobody gets a token");
        let mut errors = side(200, 0);
        errors.errors = 4;
        assert_eq!(guard.crossed(&errors), None);
        errors.errors = 5;
        let why = guard.crossed(&errors).unwrap();
        assert!(why.contains("5 of 205"), "{why}");
        let mut faults = side(0, 0);
        faults.faults = 1;
        assert_eq!(guard.crossed(&faults), None);
        faults.faults = 2;
        assert!(guard.crossed(&faults).unwrap().contains("2 faults"));
        assert_eq!(Guard::default().crossed(&side(1_000, 0)), None);
    }

    #[test]
    fn a_share_is_of_the_last_workers_and_never_all_or_none() {
        assert_eq!(share_of(4, 0.25), [3]);
        assert_eq!(share_of(4, 0.5), [2, 3]);
        assert_eq!(share_of(8, 0.01), [7]);
        assert_eq!(share_of(2, 0.99), [1]);
        assert_eq!(share_of(3, 0.99), [1, 2]);
    }
}
