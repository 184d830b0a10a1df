//! What happens between two steps of a worker: wait for predictions, ask the policy, dispatch.

use crate::config::Boundary;
use crate::job::flags;
use crate::message::Output;
use crate::plan::{Plan, PolicyExit};
use crate::snapshot::Triggers;
use crate::stats::PlanFault;
use crate::time::{Span, Time};
use crate::timer::Timer;
use crate::worker::{Context, Phase, Worker};

impl Worker {
    /// The worker has nothing in flight: decide what it does next.
    pub(crate) fn at_boundary(&mut self, ctx: &mut Context<'_>) {
        if !self.is_up() {
            return;
        }
        self.begin_step();
        self.drop_cancelled(ctx);
        if self.queue.running == 0 {
            // A batch whose last jobs were cancelled comes back to nobody, and the next may begin.
            self.batch_open = false;
        }
        self.collect_overdue(ctx);
        if self.queue.len() == 0 {
            self.phase = Phase::Idle;
            return;
        }
        let open = ctx.config.boundary == Boundary::Slot || !self.batch_open;
        let wait = open && ctx.config.prediction_wait > Span::ZERO && self.queue.predicting > 0;
        if wait {
            self.phase = Phase::AwaitingPredictions;
            self.timers.set(
                Timer::Prediction,
                Some(ctx.now + ctx.config.prediction_wait),
            );
            return;
        }
        self.decide_or_run(ctx);
    }

    /// Goes on after predictions are in, or have been waited for long enough.
    pub(crate) fn decide_or_run(&mut self, ctx: &mut Context<'_>) {
        self.timers.set(Timer::Prediction, None);
        let open = ctx.config.boundary == Boundary::Slot || !self.batch_open;
        if open && !self.stalls(ctx) && self.needs_decision(ctx) {
            self.ask(ctx);
        } else {
            self.run(ctx);
        }
    }

    /// Empties the step for the next one, once the driver has seen it.
    fn begin_step(&mut self) {
        if core::mem::take(&mut self.step_sent) {
            self.step.clear();
        }
    }

    fn drop_cancelled(&mut self, ctx: &mut Context<'_>) {
        let mut row = 0;
        while row < self.queue.running {
            if self.queue.hidden[row].cancelled {
                let job = self.queue.jobs.id[row];
                self.step.removed.push(job);
                self.retire(row, ctx);
                self.fired = self.fired.union(Triggers::FINISH);
                ctx.outputs.push_back(Output::Cancelled { job });
            } else {
                row += 1;
            }
        }
    }

    /// Moves jobs that have waited too long to the front of everything.
    fn collect_overdue(&mut self, ctx: &mut Context<'_>) {
        if ctx.config.max_wait == Span::ZERO {
            return;
        }
        while let Some(&(since_us, id)) = self.wait_order.front() {
            let row = self.row(id, ctx.index);
            let waits = row.filter(|&row| self.queue.jobs.queued_since_us[row] == since_us);
            let due = Time::from_us(since_us) + ctx.config.max_wait;
            if let Some(row) = waits {
                if due > ctx.now {
                    self.timers.set(Timer::Starvation, Some(due));
                    return;
                }
                self.queue.jobs.flags[row] |= flags::OVERDUE;
                self.overdue.push(id);
                ctx.stats.starvation_boosts += 1;
            }
            self.wait_order.pop_front();
        }
        self.timers.set(Timer::Starvation, None);
    }

    /// Whether the plan in force may no longer be what the policy wants, and asking could change
    /// what runs.
    fn needs_decision(&self, ctx: &Context<'_>) -> bool {
        if self.queue.waiting() == 0 {
            return false;
        }
        let full = self.queue.running >= self.max_seqs();
        let stale = self.fired.intersects(ctx.interest.triggers);
        let dry = self.plan.cursor >= self.plan.order.len() && self.queue.unplanned > 0;
        if ctx.interest.preemptive {
            stale || (dry && !full)
        } else {
            !full && (stale || dry)
        }
    }

    fn ask(&mut self, ctx: &mut Context<'_>) {
        *ctx.revision += 1;
        let revision = *ctx.revision;
        self.phase = Phase::Deciding { revision };
        self.timers.set(
            Timer::Decision,
            Some(ctx.now + ctx.config.decision_deadline),
        );
        self.asked = core::mem::take(&mut self.fired);
        self.shown.append(&mut self.arrived);
        self.shown_edges
            .clone_from(&self.queue.tenants.backlogged_edge);
        self.queue.refresh(ctx.now);
        ctx.stats.asked += 1;
        ctx.outputs.push_back(Output::Decide {
            worker: self.number,
            revision,
        });
    }

    /// A policy answered, or did not. An answer to a question that has lapsed is only counted.
    pub(crate) fn answered(
        &mut self,
        revision: u64,
        answer: Result<Plan, PolicyExit>,
        ctx: &mut Context<'_>,
    ) {
        if self.phase != (Phase::Deciding { revision }) {
            ctx.stats.late += 1;
            return;
        }
        self.phase = Phase::Idle;
        self.timers.set(Timer::Decision, None);
        for id in core::mem::take(&mut self.shown) {
            if let Some(row) = self.row(id, ctx.index) {
                self.queue.jobs.flags[row] &= !flags::NEW;
            }
        }
        let edges = self.queue.tenants.backlogged_edge.iter_mut();
        edges
            .zip(&self.shown_edges)
            .for_each(|(edge, shown)| *edge &= !shown);
        match answer {
            Ok(plan) => {
                ctx.stats.applied += 1;
                self.install(&plan, ctx);
            }
            Err(exit) => {
                ctx.stats.fallback(exit);
                self.install_default(ctx);
            }
        }
        self.run(ctx);
    }

    /// Arrival order without any override: what an empty plan means.
    fn install_default(&mut self, ctx: &mut Context<'_>) {
        self.install(&Plan::default(), ctx);
    }

    /// Whether the policy has to stand back because nothing comes of its plans.
    ///
    /// A policy that turns its order over at every boundary can have prompts read and dropped for
    /// ever. More than twice the whole device memory dropped without a single token generated is
    /// no plan's aim; arrival order then stands until a job has left, so every workload ends.
    fn stalls(&mut self, ctx: &mut Context<'_>) -> bool {
        let device_tokens = u64::from(self.kv.gpu_total) * u64::from(self.kv.block_size_tokens);
        if !self.stalled && self.dropped_tokens > 2 * device_tokens {
            self.stalled = true;
            ctx.fault(PlanFault::NoProgress);
            self.install_default(ctx);
        }
        self.stalled
    }

    /// Composes and dispatches; a plan that would let the worker idle while jobs wait is overruled.
    fn run(&mut self, ctx: &mut Context<'_>) {
        ctx.pressure = false;
        let mut runs = self.compose(ctx);
        if !runs && self.someone_could_run(ctx.now) {
            ctx.fault(PlanFault::IdleWorker);
            self.install_default(ctx);
            runs = self.compose(ctx);
        }
        if ctx.pressure {
            self.fired = self.fired.union(Triggers::MEMORY_PRESSURE);
        }
        if !runs {
            self.phase = Phase::Idle;
            return;
        }
        self.phase = Phase::Running {
            since: ctx.now,
            interrupted: false,
        };
        self.step_sent = true;
        ctx.outputs.push_back(Output::Dispatch {
            worker: self.number,
        });
    }

    fn someone_could_run(&self, now: Time) -> bool {
        (self.queue.running..self.queue.len()).any(|row| self.may_run(row, now))
    }

    /// Something happened that may change what should run.
    pub(crate) fn nudge(&mut self, ctx: &mut Context<'_>) {
        match self.phase {
            Phase::Idle => self.at_boundary(ctx),
            Phase::Running { .. } => self.interrupt(ctx.outputs),
            Phase::AwaitingPredictions | Phase::Deciding { .. } | Phase::Down => {}
        }
    }

    /// Whether a job that has just arrived could get a slot before the step ends by itself.
    pub(crate) fn arrival_matters(&self, ctx: &Context<'_>) -> bool {
        if ctx.config.boundary == Boundary::Batch {
            return false;
        }
        let declared = ctx.interest.triggers.intersects(Triggers::ARRIVAL);
        let free = self.queue.running < self.max_seqs();
        let takes = ctx.interest.preemptive && declared && self.any_unlocked();
        takes || (free && (declared || !self.blocked))
    }

    /// Whether any job with a slot may lose it now.
    pub(crate) fn any_unlocked(&self) -> bool {
        self.queue.window_left[..self.queue.running].contains(&0)
    }

    /// A timer of this worker fell due.
    pub(crate) fn timer(&mut self, timer: Timer, ctx: &mut Context<'_>) {
        match timer {
            Timer::Decision => {
                if let Phase::Deciding { revision } = self.phase {
                    self.answered(revision, Err(PolicyExit::DeadlineMissed), ctx);
                }
            }
            Timer::Prediction => {
                if self.phase == Phase::AwaitingPredictions {
                    self.decide_or_run(ctx);
                }
            }
            Timer::WakeUp => {
                self.fired = self.fired.union(Triggers::TIMER);
                self.nudge(ctx);
            }
            Timer::Starvation => self.nudge(ctx),
            Timer::Deferral => {
                self.plan.cursor = 0;
                let later = self.queue.hidden.iter().map(|job| job.defer_until);
                self.timers
                    .set(Timer::Deferral, later.filter(|&at| at > ctx.now).min());
                self.nudge(ctx);
            }
        }
    }
}
