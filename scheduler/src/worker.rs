//! One worker as the core sees it: its queue, its memory, its plan and what it is doing.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::config::{Config, WorkerConfig};
use crate::index::JobIndex;
use crate::kv::KvPool;
use crate::message::Output;
use crate::plan::{Interest, Preemption};
use crate::queue::Queue;
use crate::snapshot::Triggers;
use crate::stats::{PlanFault, PlanFaults, Stats};
use crate::step::Step;
use crate::time::{Span, Time};
use crate::timer::{Timer, TimerTable};

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum Phase {
    /// Nothing runs and nothing can.
    Idle,
    /// A step runs; the flag says that it was asked to end early.
    Running { since: Time, interrupted: bool },
    /// At a boundary, until outstanding predictions are in.
    AwaitingPredictions,
    /// At a boundary, until the policy has answered.
    Deciding { revision: u64 },
    /// Lost.
    Down,
}

/// The plan in force, checked.
#[derive(Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct ActivePlan {
    /// Live jobs of this worker, each once, first the one that should run.
    pub(crate) order: Vec<u64>,
    /// Prefill tokens for each of `order` in the first iteration under the plan; then empty.
    pub(crate) tokens: Vec<u32>,
    /// Everything before it has a slot, is gone, or was passed over.
    pub(crate) cursor: usize,
    pub(crate) bypass: bool,
    pub(crate) victims: Vec<u64>,
    pub(crate) victim_mode: Preemption,
    /// Overrides of the policy, already inside the limits; 0 none.
    pub(crate) window_tokens: u32,
    pub(crate) max_num_seqs: u32,
    pub(crate) max_batched_tokens: u32,
    pub(crate) reserve_blocks: u32,
    /// The slots have not been handed out by it yet.
    pub(crate) fresh: bool,
}

/// What every part of the core needs beside the worker it works on.
pub(crate) struct Context<'a> {
    pub(crate) now: Time,
    pub(crate) config: &'a Config,
    pub(crate) interest: Interest,
    pub(crate) index: &'a mut JobIndex,
    pub(crate) stats: &'a mut Stats,
    /// Those of this worker's plans.
    pub(crate) faults: &'a mut PlanFaults,
    pub(crate) outputs: &'a mut VecDeque<Output>,
    pub(crate) revision: &'a mut u64,
    /// KV memory ran short while this boundary was composed.
    pub(crate) pressure: bool,
}

impl Context<'_> {
    /// Counts a fault of a plan.
    pub(crate) fn fault(&mut self, fault: PlanFault) {
        self.stats.faults[fault as usize] += 1;
        self.faults[fault as usize] += 1;
    }
}

/// One worker.
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Worker {
    pub(crate) number: u16,
    pub(crate) config: WorkerConfig,
    /// That of the policy which decides here.
    pub(crate) interest: Interest,
    pub(crate) queue: Queue,
    pub(crate) kv: KvPool,
    pub(crate) phase: Phase,
    pub(crate) plan: ActivePlan,
    pub(crate) step: Step,
    /// Whether the driver has seen `step`, so that it may be written anew.
    pub(crate) step_sent: bool,
    pub(crate) timers: TimerTable,
    /// Triggers since the policy was last asked, and those that it was asked with.
    pub(crate) fired: Triggers,
    pub(crate) asked: Triggers,
    /// Jobs that have arrived since the policy was last asked, and those that it was asked with.
    pub(crate) arrived: Vec<u64>,
    pub(crate) shown: Vec<u64>,
    /// Tenants that the policy was shown as newly backlogged.
    pub(crate) shown_edges: Vec<u32>,
    /// Jobs past the longest wait, in the order in which they came to it.
    pub(crate) overdue: Vec<u64>,
    /// Jobs in the order in which they began to wait; stale entries are skipped.
    pub(crate) wait_order: VecDeque<(u64, u64)>,
    /// Whether the head of the plan waits for KV memory, so that an arrival changes nothing.
    pub(crate) blocked: bool,
    /// Computed tokens dropped since this worker last generated one.
    pub(crate) dropped_tokens: u64,
    /// Arrival order stands, because nothing came of the policy's plans, until a job has left.
    pub(crate) stalled: bool,
    /// Inside a window of [`crate::config::Boundary::Batch`]: nobody joins until it ends.
    pub(crate) batch_open: bool,
    /// Distinguishes the lists of plans, so that duplicates show.
    pub(crate) stamp: u64,
    pub(crate) last_iteration: Span,
    pub(crate) recent_tokens_per_s: f32,
}

impl Worker {
    pub(crate) fn new(number: u16, config: WorkerConfig) -> Self {
        Self {
            number,
            config,
            interest: Interest::default(),
            queue: Queue::new(number),
            kv: KvPool::new(
                config.block_size_tokens,
                config.gpu_blocks,
                config.cpu_blocks,
            ),
            phase: Phase::Idle,
            plan: ActivePlan::default(),
            step: Step::default(),
            step_sent: false,
            timers: TimerTable::default(),
            fired: Triggers::NONE,
            asked: Triggers::NONE,
            arrived: Vec::new(),
            shown: Vec::new(),
            shown_edges: Vec::new(),
            overdue: Vec::new(),
            wait_order: VecDeque::new(),
            blocked: false,
            dropped_tokens: 0,
            stalled: false,
            batch_open: false,
            stamp: 0,
            last_iteration: Span::ZERO,
            recent_tokens_per_s: 0.0,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.phase != Phase::Down
    }

    /// Sequences that may have a slot under the plan in force.
    pub(crate) fn max_seqs(&self) -> usize {
        match self.plan.max_num_seqs {
            0 => self.config.max_num_seqs as usize,
            seqs => seqs as usize,
        }
    }

    /// Tokens that one iteration may compute under the plan in force.
    pub(crate) fn token_budget(&self) -> u32 {
        match self.plan.max_batched_tokens {
            0 => self.config.max_batched_tokens,
            tokens => tokens,
        }
    }

    /// The row of a job, if it is one of this worker's.
    pub(crate) fn row(&self, id: u64, index: &JobIndex) -> Option<usize> {
        let place = index.get(id)?;
        (place.worker == self.number).then_some(place.row as usize)
    }

    /// Notes that a job waits from now on, for the starvation guard.
    pub(crate) fn note_wait(&mut self, row: usize, max_wait: Span) {
        if max_wait > Span::ZERO {
            let since = self.queue.jobs.queued_since_us[row];
            // A job of a lost worker has waited longer than some that are here already.
            let at = self
                .wait_order
                .partition_point(|&(other, _)| other <= since);
            self.wait_order.insert(at, (since, self.queue.jobs.id[row]));
        }
    }

    /// Notes that a job is not to be looked at before a time.
    pub(crate) fn note_deferral(&mut self, until: Time, now: Time) {
        if until > now {
            let due = self.timers.get(Timer::Deferral);
            let due = due.map_or(until, |at| at.min(until));
            self.timers.set(Timer::Deferral, Some(due));
        }
    }

    /// Asks the driver to end the step at the next iteration, once.
    pub(crate) fn interrupt(&mut self, outputs: &mut VecDeque<Output>) {
        if let Phase::Running { interrupted, .. } = &mut self.phase
            && !*interrupted
            && self.step.max_iterations > 1
        {
            *interrupted = true;
            outputs.push_back(Output::Interrupt {
                worker: self.number,
            });
        }
    }
}
