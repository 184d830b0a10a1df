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
//! All of it happens between two decisions, so there is always a policy to ask. Who falls is
//! dropped, and the one before it decides on the very snapshot. The last one left has nobody to
//! fall back to: it serves its quarantines, with arrival order in its stead.

mod board;
mod divergence;
mod recent;
mod seat;
mod shadow;
mod share;
mod tally;

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use elis_policy_runtime::{Decision, LoadedPolicy, StartError};
use elis_scheduler::plan::Interest;
use elis_scheduler::snapshot::Snapshot;
use elis_scheduler::stats::Stats;

use crate::shelf::{Choice, LiveRecord};
use crate::still::Still;

pub(crate) use board::{Board, Standing};
pub(crate) use seat::Seat;
pub(crate) use shadow::Shadow;
pub use shadow::ShadowCounts;
pub use tally::{Counts, Fault};

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
}

/// What the ladder did by itself.
#[derive(Debug)]
pub(crate) struct Fall {
    pub(crate) record: LiveRecord,
    pub(crate) fallen: Choice,
    pub(crate) why: String,
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
    board: Arc<Board>,
    falls: Sender<Fall>,
    begin: Instant,
    /// What the core has been told.
    told: Option<Interest>,
    stats: Stats,
}

impl Deck {
    pub(crate) fn new(
        live: Seat,
        warm: Vec<Seat>,
        epoch: u64,
        board: Arc<Board>,
        falls: Sender<Fall>,
    ) -> Self {
        let deck = Self {
            live,
            warm,
            epoch,
            trial: None,
            recent: Recent::default(),
            shadow: None,
            board,
            falls,
            begin: Instant::now(),
            told: None,
            stats: Stats::default(),
        };
        deck.post();
        deck
    }

    /// The live policy.
    pub(crate) fn live(&self) -> &LoadedPolicy {
        self.live.policy()
    }

    /// The configuration of the live policy.
    pub(crate) fn config(&self) -> &str {
        &self.live.choice.config
    }

    /// Grows with every change of the live policy.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What the core must be told, if that has changed.
    pub(crate) fn news(&mut self) -> Option<Interest> {
        if self.told.is_some() {
            return None;
        }
        self.told = Some(self.interest());
        self.told
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
        let _ = self.falls.send(Fall {
            record: self.record(),
            fallen: fallen.choice,
            why: why.to_owned(),
        });
        true
    }

    /// Does as it is told. `waiting` says whether somebody waits for a decision.
    pub(crate) fn order(&mut self, order: Order, waiting: bool) {
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
            Order::Shadow { shadow, reply } => {
                let before = self.interest();
                self.shadow = shadow.map(|shadow| *shadow);
                // A question too many would cost the live policy its plan.
                if self.interest() != before {
                    self.told = None;
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
        if epoch != self.epoch {
            return Err(Refusal::Epoch(self.epoch));
        }
        let state_bytes = if hand_over {
            self.hand_over(&mut seat)?
        } else {
            0
        };
        // Who has become live need not be watched any more.
        let digest = seat.choice.digest;
        drop(self.shadow.take_if(|shadow| shadow.choice.digest == digest));
        let old = std::mem::replace(&mut self.live, seat);
        self.warm.push(old);
        if self.warm.len() > WARM_MAX {
            self.warm.remove(0);
        }
        self.board.swapped("promote");
        Ok(self.installed(begin, state_bytes, waiting))
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
        Ok(state.len())
    }

    fn rollback(&mut self, epoch: u64, waiting: bool) -> Result<Installed, Refusal> {
        let begin = Instant::now();
        if epoch != self.epoch {
            return Err(Refusal::Epoch(self.epoch));
        }
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
        self.told = None;
        self.trial = None;
        self.post();
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
            shadow: shadow.map(|s| (s.choice.clone(), Arc::clone(&s.observed))),
        });
    }

    /// A request has finished: the live policy had the last word on it.
    pub(crate) fn finished(&self, jct_s: f64, ttft_s: f64) {
        self.live.tally.finished(jct_s, ttft_s);
    }

    /// Looks at what the core has counted: faults of plans are the live policy's.
    pub(crate) fn note(&mut self, stats: &Stats) {
        if self.stats.faults != stats.faults {
            self.live.tally.planned(&self.stats, stats);
            self.stats.clone_from(stats);
        }
    }
}
