//! The state machine: inputs in, outputs out, and nothing else.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::columns::JobRow;
use crate::config::{Config, ConfigError};
use crate::index::JobIndex;
use crate::job::Request;
use crate::kv::KvPool;
use crate::limits;
use crate::message::{Input, Output, Predicted, RejectReason};
use crate::placement;
use crate::plan::Interest;
use crate::snapshot::{Header, Snapshot, Triggers, capabilities};
use crate::stats::{PlanFaults, Stats};
use crate::step::Step;
use crate::time::{Span, Time};
use crate::timer::{Timer, TimerTable};
use crate::worker::{ActivePlan, Context, Phase, Worker};

/// The scheduler core.
///
/// A driver owns one and calls, in this order and on one thread:
///
/// 1. [`Self::handle`] with what happened and when; times never go back.
/// 2. [`Self::poll_output`] until it gives `None`, and performs each output.
///    **After every `handle` all outputs are drained before the next `handle`.**
/// 3. [`Self::poll_timeout`] for the time at which [`Input::Tick`] is due.
///
/// It cannot fail: impossible requests are refused, invalid plans are counted, late answers are
/// dropped. The same inputs give the same outputs, in every build and under every driver.
#[derive(Debug)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "crate::checkpoint::State")
)]
pub struct Scheduler {
    pub(crate) config: Config,
    pub(crate) workers: Vec<Worker>,
    /// By worker.
    pub(crate) plan_faults: Vec<PlanFaults>,
    pub(crate) index: JobIndex,
    pub(crate) stats: Stats,
    /// Nothing between two inputs, which is when a state can be kept.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) revision: u64,
    pub(crate) now: Time,
}

impl Scheduler {
    /// A scheduler without a policy: arrival order until [`Input::PolicyInstalled`].
    ///
    /// # Errors
    /// A configuration under which nothing could run.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        let numbered = (0..).zip(&config.workers);
        let workers = numbered
            .map(|(number, worker)| Worker::new(number, *worker))
            .collect();
        Ok(Self {
            plan_faults: alloc::vec![PlanFaults::default(); config.workers.len()],
            config,
            workers,
            index: JobIndex::default(),
            stats: Stats::default(),
            outputs: VecDeque::new(),
            revision: 0,
            now: Time::ZERO,
        })
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        debug_assert!(
            self.outputs.is_empty(),
            "drain all outputs before the next input"
        );
        debug_assert!(now >= self.now, "time does not go back");
        self.now = now;
        match input {
            Input::PolicyInstalled { worker, interest } => match worker {
                Some(worker) => self.install_policy(worker, interest),
                None => {
                    for worker in 0..self.workers.len() as u16 {
                        self.install_policy(worker, interest);
                    }
                }
            },
            Input::Arrive(request) => self.arrive(&request),
            Input::Cancel { job } => self.cancel(job),
            Input::Predicted(prediction) => self.predicted(&prediction),
            Input::Decided {
                worker,
                revision,
                plan,
            } => {
                self.with(worker, |worker, ctx| {
                    worker.answered(revision, Ok(plan), ctx);
                });
            }
            Input::DecisionFailed {
                worker,
                revision,
                exit,
            } => {
                self.with(worker, |worker, ctx| {
                    worker.answered(revision, Err(exit), ctx);
                });
            }
            Input::StepDone {
                worker,
                iterations,
                finished,
            } => {
                self.with(worker, |worker, ctx| {
                    if matches!(worker.phase, Phase::Running { .. }) {
                        worker.step_done(iterations, finished, ctx);
                        worker.at_boundary(ctx);
                    }
                });
            }
            Input::WorkerLost { worker } => self.worker_lost(worker),
            Input::WorkerBack { worker } => self.worker_back(worker),
            Input::Tick => self.tick(),
        }
    }

    /// The next thing to do, or `None` when all is said.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is due, if nothing else happens before.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.workers
            .iter()
            .filter_map(|worker| worker.timers.next())
            .min()
    }

    /// The queue of a worker as its policy may see it; for [`Output::Decide`].
    pub fn snapshot(&self, worker: u16) -> Option<Snapshot<'_>> {
        let worker = self.workers.get(usize::from(worker))?;
        Some(Snapshot {
            header: self.header(worker),
            jobs: &worker.queue.jobs,
            tenants: &worker.queue.tenants,
            length_histogram: &worker.queue.histogram,
        })
    }

    /// What a worker runs; for [`Output::Dispatch`].
    pub fn step(&self, worker: u16) -> Option<&Step> {
        self.workers
            .get(usize::from(worker))
            .map(|worker| &worker.step)
    }

    /// A live job as it stands.
    pub fn job(&self, id: u64) -> Option<JobRow> {
        let place = self.index.get(id)?;
        let worker = self.workers.get(usize::from(place.worker))?;
        Some(worker.queue.jobs.row(place.row as usize))
    }

    /// The worker in whose queue a live job is.
    pub fn worker_of(&self, id: u64) -> Option<u16> {
        self.index.get(id).map(|place| place.worker)
    }

    /// Tokens that a live job has generated.
    pub fn generated_tokens(&self, id: u64) -> Option<u32> {
        let place = self.index.get(id)?;
        let worker = self.workers.get(usize::from(place.worker))?;
        worker
            .queue
            .jobs
            .generated_tokens
            .get(place.row as usize)
            .copied()
    }

    /// Jobs without and with a slot, and device blocks in use, over all workers.
    pub fn load(&self) -> (usize, usize, u32) {
        self.workers
            .iter()
            .fold((0, 0, 0), |(waiting, running, blocks), worker| {
                let used = worker.kv.gpu_total - worker.kv.gpu_free;
                (
                    waiting + worker.queue.waiting(),
                    running + worker.queue.running,
                    blocks + used,
                )
            })
    }

    /// The time of the last input.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Number of live jobs.
    pub fn jobs(&self) -> usize {
        self.index.len()
    }

    /// What has been counted so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Faults found in the plans for one worker.
    pub fn plan_faults(&self, worker: u16) -> Option<&PlanFaults> {
        self.plan_faults.get(usize::from(worker))
    }

    /// How it was set up.
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn header(&self, worker: &Worker) -> Header {
        let Worker {
            config, kv, queue, ..
        } = worker;
        let swap = if config.cpu_blocks > 0 {
            capabilities::SWAP
        } else {
            0
        };
        let chunked = match config.batching {
            crate::config::Batching::Mixed => capabilities::CHUNKED_PREFILL,
            crate::config::Batching::PrefillFirst => 0,
        };
        Header {
            now_us: self.now.as_us(),
            seed: self.config.seed ^ self.revision.wrapping_mul(0x9E37_79B9_7F4A_7C15),
            revision: self.revision,
            iteration: queue.iteration,
            fired: worker.asked,
            worker: u32::from(worker.number),
            workers: self.workers.len() as u32,
            running: queue.running as u32,
            waiting: queue.waiting() as u32,
            max_num_seqs: config.max_num_seqs,
            max_batched_tokens: config.max_batched_tokens,
            window_tokens: self.config.window_tokens,
            plan_max: limits::PLAN_MAX,
            block_size_tokens: kv.block_size_tokens,
            gpu_blocks_total: kv.gpu_total,
            gpu_blocks_free: kv.gpu_free,
            cpu_blocks_total: kv.cpu_total,
            cpu_blocks_free: kv.cpu_free,
            watermark_blocks: config.watermark_blocks,
            capabilities: capabilities::PAUSE | capabilities::RECOMPUTE | swap | chunked,
            iteration_base_us: config.cost.iteration_base_us,
            iteration_per_seq_us: config.cost.per_seq_us,
            iteration_per_kv_token_us: config.cost.per_kv_token_us,
            iteration_per_prefill_token_us: config.cost.per_prefill_token_us,
            swap_per_block_us: config.cost.swap_per_block_us,
            last_iteration_us: worker.last_iteration.as_us().min(u64::from(u32::MAX)) as u32,
            recent_tokens_per_s: worker.recent_tokens_per_s,
        }
    }

    /// Lends one worker together with everything else; a number that is out of range is ignored.
    fn with(&mut self, worker: u16, f: impl FnOnce(&mut Worker, &mut Context<'_>)) {
        let number = usize::from(worker);
        let found = self.workers.get_mut(number);
        let Some((worker, faults)) = found.zip(self.plan_faults.get_mut(number)) else {
            return;
        };
        let mut ctx = Context {
            now: self.now,
            config: &self.config,
            interest: worker.interest,
            index: &mut self.index,
            stats: &mut self.stats,
            faults,
            outputs: &mut self.outputs,
            revision: &mut self.revision,
            pressure: false,
        };
        f(worker, &mut ctx);
    }

    fn install_policy(&mut self, number: u16, interest: Interest) {
        if let Some(worker) = self.workers.get_mut(usize::from(number)) {
            if worker.interest.identity != interest.identity {
                worker.queue.forget_words();
            }
            worker.interest = interest;
        }
        self.with(number, |worker, ctx| {
            worker.plan = ActivePlan::default();
            worker.stalled = false;
            worker.dropped_tokens = 0;
            worker.queue.forget_ranks();
            worker.queue.forget_deferrals();
            worker.timers.set(Timer::Deferral, None);
            worker.fired = Triggers::ALL;
            if ctx.interest.predictions {
                for row in 0..worker.queue.len() {
                    if worker.queue.jobs.prediction_source[row] == 0 {
                        worker.ask_prediction(row, ctx);
                    }
                }
            }
            worker.nudge(ctx);
        });
    }

    fn arrive(&mut self, request: &Request) {
        let worker = placement::place(self.config.placement, &self.workers);
        if let Some(reason) = self.refusal(request, worker) {
            self.outputs.push_back(Output::Rejected {
                job: request.id,
                worker,
                reason,
            });
            return;
        }
        self.with(worker, |worker, ctx| {
            worker.queue.arrive(ctx.now, request, ctx.index);
            let row = worker.queue.len() - 1;
            worker.note_wait(row, ctx.config.max_wait);
            worker.arrived.push(request.id);
            worker.fired = worker.fired.union(Triggers::ARRIVAL);
            if ctx.interest.predictions {
                worker.ask_prediction(row, ctx);
            }
            if worker.phase == Phase::Idle || worker.arrival_matters(ctx) {
                worker.nudge(ctx);
            }
        });
    }

    fn refusal(&self, request: &Request, worker: u16) -> Option<RejectReason> {
        let config = &self.workers[usize::from(worker)].config;
        let tokens = u64::from(request.prompt_tokens) + u64::from(request.max_new_tokens);
        if !self.index.is_next(request.id) {
            Some(RejectReason::IdNotIncreasing)
        } else if self.index.len() >= self.config.jobs_max.min(limits::JOBS_MAX) {
            Some(RejectReason::QueueFull)
        } else if request.tenant >= limits::TENANTS_MAX {
            Some(RejectReason::UnknownTenant)
        } else if tokens > config.room_tokens() {
            Some(RejectReason::TooLong)
        } else {
            None
        }
    }

    fn cancel(&mut self, job: u64) {
        let Some(place) = self.index.get(job) else {
            return;
        };
        self.with(place.worker, |worker, ctx| {
            let row = place.row as usize;
            let has_slot = row < worker.queue.running;
            if has_slot && matches!(worker.phase, Phase::Running { .. }) {
                worker.queue.hidden[row].cancelled = true;
                worker.nudge(ctx);
                return;
            }
            if has_slot {
                worker.step.removed.push(job);
            }
            worker.retire(row, ctx);
            worker.fired = worker.fired.union(Triggers::FINISH);
            ctx.outputs.push_back(Output::Cancelled { job });
            // Nobody else's prediction may be left to wait for.
            if worker.phase == Phase::AwaitingPredictions && worker.queue.predicting == 0 {
                worker.decide_or_run(ctx);
            }
        });
    }

    fn predicted(&mut self, prediction: &Predicted) {
        let Some(place) = self.index.get(prediction.job) else {
            return;
        };
        self.with(place.worker, |worker, ctx| {
            worker.queue.predicted(place.row as usize, prediction);
            worker.fired = worker.fired.union(Triggers::PREDICTION);
            let declared = ctx.interest.triggers.intersects(Triggers::PREDICTION);
            let waits = worker.queue.waiting() > 0;
            match worker.phase {
                Phase::AwaitingPredictions if worker.queue.predicting == 0 => {
                    worker.decide_or_run(ctx);
                }
                Phase::Running { .. }
                    if declared
                        && waits
                        && ctx.interest.preemptive
                        && ctx.config.boundary == crate::config::Boundary::Slot
                        && worker.any_unlocked() =>
                {
                    worker.interrupt(ctx.outputs);
                }
                _ => {}
            }
        });
    }

    fn worker_lost(&mut self, lost: u16) {
        let Some(worker) = self.workers.get_mut(usize::from(lost)) else {
            return;
        };
        worker.phase = Phase::Down;
        worker.timers = TimerTable::default();
        worker.plan = ActivePlan::default();
        worker.step = Step {
            id: worker.step.id,
            ..Step::default()
        };
        worker.step_sent = false;
        worker.batch_open = false;
        worker.stalled = false;
        worker.dropped_tokens = 0;
        worker.overdue.clear();
        worker.wait_order.clear();
        let config = worker.config;
        worker.kv = KvPool::new(
            config.block_size_tokens,
            config.gpu_blocks,
            config.cpu_blocks,
        );
        self.rehome(lost);
        for number in 0..self.workers.len() as u16 {
            self.with(number, Worker::nudge);
        }
    }

    fn worker_back(&mut self, back: u16) {
        let known = self.workers.get_mut(usize::from(back));
        let Some(worker) = known.filter(|worker| !worker.is_up()) else {
            return;
        };
        worker.phase = Phase::Idle;
        // Where no worker was up, jobs were left with one that is lost.
        for number in 0..self.workers.len() as u16 {
            if !self.workers[usize::from(number)].is_up() {
                self.rehome(number);
            }
        }
        self.with(back, Worker::nudge);
    }

    /// Gives the jobs of a lost worker to the others, as if they had just arrived there.
    fn rehome(&mut self, lost: u16) {
        let Some(worker) = self.workers.get_mut(usize::from(lost)) else {
            return;
        };
        let old = worker.interest;
        let mut orphans = worker.queue.drain(self.now, &mut self.index);
        // The order in which they arrived, not that of the table, decides where they go.
        orphans.sort_unstable_by_key(|(row, _)| row.id);
        for (mut row, hidden) in orphans {
            if hidden.cancelled {
                self.index.remove(row.id);
                self.outputs.push_back(Output::Cancelled { job: row.id });
                continue;
            }
            let target = placement::place(self.config.placement, &self.workers);
            self.stats.moved += 1;
            self.stats.recomputed_tokens += u64::from(row.computed_tokens);
            self.with(target, |worker, ctx| {
                if ctx.interest.identity != old.identity {
                    (row.state_a, row.state_b) = (0, 0);
                }
                worker.note_deferral(hidden.defer_until, ctx.now);
                worker.queue.adopt(row, hidden, ctx.index);
                let row = worker.queue.len() - 1;
                worker.note_wait(row, ctx.config.max_wait);
                if ctx.interest.predictions && !old.predictions {
                    worker.ask_prediction(row, ctx);
                }
                worker.fired = worker.fired.union(Triggers::ARRIVAL);
            });
        }
    }

    fn tick(&mut self) {
        let now = self.now;
        for number in 0..self.workers.len() as u16 {
            self.with(number, |worker, ctx| {
                while let Some(timer) = worker.timers.expire(now) {
                    worker.timer(timer, ctx);
                }
            });
        }
    }
}

/// A deadline that never comes, for drivers whose policies answer at once.
pub const NO_DEADLINE: Span = Span::from_ns(u64::MAX);
