//! The policies of the scheduling thread: the live one, those before it, and one in shadow.
//!
//! ```text
//!            promote                     first decision
//! prepared ----------> live, on trial ------------------> live ----> warm, when another follows
//!                           |                              |            |
//!                           | it fails                     | quarantine | rollback, or a fall
//!                           v                              v            v
//!                        dropped  <---------------------  dropped      live
//! ```
//!
//! Beside it a canary may decide for a share of the workers (`canary.rs`).
//!
//! All of it happens between two decisions, so there is always a policy to ask. Who falls is
//! dropped, and the one before it decides on the very snapshot. The last one left has nobody to
//! fall back to: it serves its quarantines, with arrival order in its stead.

mod board;
mod canary;
mod divergence;
mod recent;
mod seat;
mod shadow;
mod share;
mod side;
mod tally;

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use elis_policy_runtime::{Decision, LoadedPolicy, StartError};
use elis_scheduler::plan::Interest;
use elis_scheduler::snapshot::Snapshot;
use elis_scheduler::stats::PlanFaults;
use elis_scheduler::{Scheduler, Time};

use crate::shelf::{Choice, Digest, LiveRecord};
use crate::still::Still;

pub(crate) use board::{Board, Standing};
pub use canary::{CanaryReport, Guard, Stage, Trial};
pub(crate) use seat::Seat;
pub(crate) use shadow::Shadow;
pub use shadow::{Estimate, ShadowCounts};
pub use side::SideReport;
pub use tally::{Counts, Fault};

use canary::Canary;
use recent::Recent;

/// Policies that stay warm behind the live one.
const WARM_MAX: usize = 4;
/// The largest state that is handed from one policy to the next, in bytes.
pub(crate) const STATE_BYTES_MAX: usize = 1 << 20;

/// What the deck is told.
pub(crate) enum Order {
    /// Say what a candidate can be tried on.
    Recent(Sender<Vec<Arc<Still>>>),
    /// Make this the live policy, if nothing has changed since `epoch`.
    Promote {
        seat: Box<Seat>,
        epoch: u64,
        /// Whether it takes over the state of the live one, where that has the same name.
        hand_over: bool,
        reply: Sender<Result<Installed, Refusal>>,
    },
    /// Go back to the policy before, if nothing has changed since `epoch`.
    Rollback {
        epoch: u64,
        reply: Sender<Result<Installed, Refusal>>,
    },
    /// Let this decide for a share of the workers, if nothing has changed since `epoch`.
    Canary {
        seat: Box<Seat>,
        trial: Trial,
        epoch: u64,
        reply: Sender<Result<(), Refusal>>,
    },
    /// The canary is over: it becomes the live policy, or nobody's any more.
    EndCanary {
        promote: bool,
        reply: Sender<Result<(), Refusal>>,
    },
    /// Let this decide in shadow, or nobody any more.
    Shadow {
        shadow: Option<Box<Shadow>>,
        reply: Sender<()>,
    },
}

/// A policy has become the live one.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) record: LiveRecord,
    /// Bytes of state that were handed over.
    pub(crate) state_bytes: usize,
    /// How long the scheduling thread was held up.
    pub(crate) took: Duration,
    /// How its first decision ends; `None` while nobody waits, when there is nothing to decide.
    pub(crate) first: Option<std::sync::mpsc::Receiver<Result<(), String>>>,
}

/// Why nothing was changed.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Something else was changed before; this is the epoch now.
    Epoch(u64),
    /// There is no policy to go back to.
    NoneBefore,
    /// The state could not be handed over.
    State(StartError),
    /// The state is larger than what is handed over.
    StateBytes(usize),
    /// A canary is under way.
    Canary,
    /// No canary is under way.
    NoCanary,
    /// There is no share of one worker.
    OneWorker,
}

/// What the deck did, for who keeps the files.
#[derive(Debug)]
pub(crate) enum Note {
    /// The ladder took a policy down.
    Fall {
        record: LiveRecord,
        fallen: Choice,
        why: String,
    },
    /// A canary is over, or its time is.
    Canary {
        /// Where it has become the live policy.
        record: Option<LiveRecord>,
        digest: Digest,
        outcome: String,
    },
}

pub(crate) struct Deck {
    live: Seat,
    /// Those before it, the last one last.
    warm: Vec<Seat>,
    epoch: u64,
    /// Who waits for the first decision of the live policy.
    trial: Option<Sender<Result<(), String>>>,
    recent: Recent,
    shadow: Option<Shadow>,
    canary: Option<Canary>,
    last_canary: Option<Arc<canary::Run>>,
    board: Arc<Board>,
    notes: Sender<Note>,
    begin: Instant,
    /// By worker whether the core has been told who decides.
    told: Vec<bool>,
    /// Grows with every change of who decides for whom.
    changes: u64,
    /// The last instance that has come to decide.
    numbers: u64,
    faults: Vec<PlanFaults>,
}

impl Deck {
    pub(crate) fn new(
        live: Seat,
        warm: Vec<Seat>,
        epoch: u64,
        workers: usize,
        board: Arc<Board>,
        notes: Sender<Note>,
    ) -> Self {
        let mut deck = Self {
            live,
            warm,
            epoch,
            trial: None,
            recent: Recent::default(),
            shadow: None,
            canary: None,
            last_canary: None,
            board,
            notes,
            begin: Instant::now(),
            told: vec![false; workers],
            changes: 0,
            numbers: 0,
            faults: vec![PlanFaults::default(); workers],
        };
        for seat in deck.warm.iter_mut().chain([&mut deck.live]) {
            deck.numbers += 1;
            seat.number = deck.numbers;
        }
        deck.post();
        deck
    }

    /// The live policy.
    pub(crate) fn live(&self) -> &LoadedPolicy {
        self.live.policy()
    }

    /// Who decides for whom: the workers, none named for all, and the instance.
    pub(crate) fn seats(&self) -> Vec<(Vec<u16>, &Seat)> {
        let Some(canary) = &self.canary else {
            return vec![(Vec::new(), &self.live)];
        };
        let all = 0..self.told.len() as u16;
        let control = all.filter(|&worker| !canary.holds(worker)).collect();
        vec![
            (control, &self.live),
            (canary.workers().to_vec(), &canary.seat),
        ]
    }

    /// Who decides for a worker.
    pub(crate) fn seat(&self, worker: u16) -> &Seat {
        let canary = self.canary.as_ref().filter(|canary| canary.holds(worker));
        canary.map_or(&self.live, |canary| &canary.seat)
    }

    /// Grows with every change of who decides for whom.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// The next that the core must be told: who decides on a worker, or on all of them.
    pub(crate) fn news(&mut self) -> Option<(Option<u16>, Interest)> {
        if self.canary.is_none() && !self.told.contains(&true) {
            self.told.fill(true);
            return Some((None, self.interest()));
        }
        let untold = self.told.iter().position(|told| !told)?;
        self.told[untold] = true;
        let worker = untold as u16;
        let canary = self.canary.as_ref().filter(|canary| canary.holds(worker));
        let interest = canary.map_or_else(|| self.interest(), |canary| canary.seat.interest());
        Some((Some(worker), interest))
    }

    /// Gives an instance that comes to decide its number.
    fn number(&mut self, seat: &mut Seat) {
        self.numbers += 1;
        seat.number = self.numbers;
    }

    /// The core has to be told anew who decides: on all workers, or on those of a new canary.
    fn retell(&mut self) {
        self.changes += 1;
        match &self.canary {
            Some(canary) => {
                for &worker in canary.workers() {
                    self.told[usize::from(worker)] = false;
                }
            }
            None => self.told.fill(false),
        }
        self.post();
    }

    /// The live policy has not changed, but what has to be predicted for it has.
    fn retell_live(&mut self) {
        for worker in 0..self.told.len() as u16 {
            let canary = self.canary.as_ref();
            if canary.is_none_or(|canary| !canary.holds(worker)) {
                self.told[usize::from(worker)] = false;
            }
        }
    }

    fn retell_only(&mut self, workers: &[u16]) {
        self.changes += 1;
        for &worker in workers {
            self.told[usize::from(worker)] = false;
        }
    }

    /// That of the live policy; who decides in shadow has its predictions made too.
    fn interest(&self) -> Interest {
        let mut interest = self.live.interest();
        let shadow = self.shadow.as_ref().map(|shadow| shadow.interest);
        interest.predictions |= shadow.is_some_and(|shadow| shadow.predictions);
        interest
    }

    /// Asks for a decision. Whatever policies do, this returns.
    pub(crate) fn decide(&mut self, snapshot: &Snapshot<'_>) -> Decision {
        if let Some(decision) = self.decide_by_canary(snapshot) {
            return decision;
        }
        let mut decision = self.live.decide(snapshot);
        let why = self.judge(&decision);
        if let Some(why) = why
            && self.fall(&why)
        {
            decision = self.live.decide(snapshot);
        }
        let now = self.begin.elapsed();
        self.recent.offer(now, snapshot);
        if let Some(shadow) = &mut self.shadow {
            shadow.offer(now, snapshot, &decision);
        }
        decision
    }

    /// Why the live policy has to go, if it has to.
    fn judge(&mut self, decision: &Decision) -> Option<String> {
        let failed = decision.plan.as_ref().err().map(|exit| {
            let detail = decision.detail.as_deref().unwrap_or("no detail");
            format!("{} ({detail})", exit.name())
        });
        match (self.trial.take(), failed) {
            (None, None) => None,
            (None, Some(why)) => {
                let quarantined = self.live.slot.is_quarantined();
                quarantined.then(|| format!("quarantined after {why}"))
            }
            (Some(trial), None) => {
                // Who asked may have stopped waiting.
                let _ = trial.send(Ok(()));
                None
            }
            (Some(trial), Some(why)) => {
                let _ = trial.send(Err(why.clone()));
                Some(format!("its first decision failed: {why}"))
            }
        }
    }

    /// Goes back to the last good policy by itself. Whether there is one.
    fn fall(&mut self, why: &str) -> bool {
        let Some(previous) = self.warm.pop() else {
            return false;
        };
        self.end_canary(Stage::Ended, "the live policy was taken down");
        let fallen = std::mem::replace(&mut self.live, previous);
        self.changed();
        self.board.swapped("fall");
        tracing::error!(
            policy = fallen.policy().info().name,
            digest = fallen.choice.digest.short(),
            why,
            back_to = self.live.policy().info().name,
            "the live policy was taken down"
        );
        // Without anybody to note it the fall is no less real.
        let _ = self.notes.send(Note::Fall {
            record: self.record(),
            fallen: fallen.choice,
            why: why.to_owned(),
        });
        true
    }

    /// Does as it is told. `waiting` says whether somebody waits for a decision.
    pub(crate) fn order(&mut self, order: Order, waiting: bool, now: Time) {
        match order {
            Order::Recent(reply) => {
                let _ = reply.send(self.recent.all());
            }
            Order::Promote {
                seat,
                epoch,
                hand_over,
                reply,
            } => {
                let _ = reply.send(self.promote(*seat, epoch, hand_over, waiting));
            }
            Order::Rollback { epoch, reply } => {
                let _ = reply.send(self.rollback(epoch, waiting));
            }
            Order::Canary {
                seat,
                trial,
                epoch,
                reply,
            } => {
                let _ = reply.send(self.begin_canary(*seat, trial, epoch, now));
            }
            Order::EndCanary { promote, reply } => {
                let under_way = self.canary.is_some();
                match promote {
                    true => self.promote_canary("by hand"),
                    false => self.end_canary(Stage::Ended, "by hand"),
                }
                let _ = reply.send(under_way.then_some(()).ok_or(Refusal::NoCanary));
            }
            Order::Shadow { shadow, reply } => {
                let before = self.interest();
                self.shadow = shadow.map(|shadow| *shadow);
                // A question too many would cost the live policy its plan.
                if self.interest() != before {
                    self.retell_live();
                }
                self.post();
                let _ = reply.send(());
            }
        }
    }

    fn promote(
        &mut self,
        mut seat: Seat,
        epoch: u64,
        hand_over: bool,
        waiting: bool,
    ) -> Result<Installed, Refusal> {
        let begin = Instant::now();
        self.free_to_change(epoch)?;
        let state_bytes = if hand_over {
            self.hand_over(&mut seat)?
        } else {
            0
        };
        self.number(&mut seat);
        self.take_over(seat);
        self.board.swapped("promote");
        Ok(self.installed(begin, state_bytes, waiting))
    }

    /// The live policy becomes warm, and another one live in its place.
    fn take_over(&mut self, seat: Seat) {
        // Who has become live need not be watched any more.
        let digest = seat.choice.digest;
        drop(self.shadow.take_if(|shadow| shadow.choice.digest == digest));
        let old = std::mem::replace(&mut self.live, seat);
        self.warm.push(old);
        if self.warm.len() > WARM_MAX {
            self.warm.remove(0);
        }
    }

    fn free_to_change(&self, epoch: u64) -> Result<(), Refusal> {
        if epoch != self.epoch {
            return Err(Refusal::Epoch(self.epoch));
        }
        match self.canary {
            Some(_) => Err(Refusal::Canary),
            None => Ok(()),
        }
    }

    /// State means something to the policy that wrote it, in whatever version.
    fn hand_over(&mut self, heir: &mut Seat) -> Result<usize, Refusal> {
        if self.live.policy().info().name != heir.policy().info().name {
            return Ok(0);
        }
        let state = self.live.slot.export_state().map_err(Refusal::State)?;
        if state.len() > STATE_BYTES_MAX {
            return Err(Refusal::StateBytes(state.len()));
        }
        if !state.is_empty() {
            heir.slot.import_state(&state).map_err(Refusal::State)?;
        }
        let bytes = state.len();
        heir.memory = state;
        Ok(bytes)
    }

    fn rollback(&mut self, epoch: u64, waiting: bool) -> Result<Installed, Refusal> {
        let begin = Instant::now();
        self.free_to_change(epoch)?;
        let previous = self.warm.pop().ok_or(Refusal::NoneBefore)?;
        self.live = previous;
        self.board.swapped("rollback");
        Ok(self.installed(begin, 0, waiting))
    }

    fn installed(&mut self, begin: Instant, state_bytes: usize, waiting: bool) -> Installed {
        self.changed();
        let (sender, receiver) = std::sync::mpsc::channel();
        self.trial = Some(sender);
        let took = begin.elapsed();
        self.board.swap.observe(took.as_secs_f64());
        Installed {
            record: self.record(),
            state_bytes,
            took,
            first: waiting.then_some(receiver),
        }
    }

    fn changed(&mut self) {
        self.epoch += 1;
        self.trial = None;
        self.retell();
    }

    fn record(&self) -> LiveRecord {
        LiveRecord {
            epoch: self.epoch,
            live: self.live.choice.clone(),
            before: self.warm.iter().map(|seat| seat.choice.clone()).collect(),
        }
    }

    /// Lets everybody see how things stand.
    fn post(&self) {
        let shadow = self.shadow.as_ref();
        self.board.post(Standing {
            record: self.record(),
            canary: self.last_canary.clone(),
            shadow: shadow.map(|s| (s.choice.clone(), Arc::clone(&s.observed))),
        });
    }

    /// Looks at what the core has counted: faults of plans are those of who decides for a worker.
    pub(crate) fn note(&mut self, scheduler: &Scheduler) {
        for worker in 0..self.faults.len() as u16 {
            let Some(now) = scheduler.plan_faults(worker) else {
                continue;
            };
            let before = std::mem::replace(&mut self.faults[usize::from(worker)], *now);
            if before != *now {
                self.seat(worker).tally.planned(&before, now);
                let new = now.iter().sum::<u64>() - before.iter().sum::<u64>();
                self.note_canary_faults(worker, new);
            }
        }
    }
}
