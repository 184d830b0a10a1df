//! From an untrusted plan to one that can run: the valid part stays, faults are counted.

use alloc::vec::Vec;

use crate::fallback;
use crate::job::State;
use crate::limits;
use crate::plan::{Plan, Preemption};
use crate::queue::UNRANKED;
use crate::stats::PlanFault;
use crate::time::Time;
use crate::timer::Timer;
use crate::worker::{ActivePlan, Context, Worker};

impl Worker {
    /// Puts a plan in force as far as it is valid: order, overrides, explicit preemptions,
    /// refusals, deferrals, state. An empty order means arrival order.
    pub(crate) fn install(&mut self, plan: &Plan, ctx: &mut Context<'_>) {
        for id in core::mem::take(&mut self.plan.order) {
            if let Some(row) = self.row(id, ctx.index) {
                self.queue.set_rank(row, UNRANKED);
            }
        }
        self.apply_state(plan, ctx);
        self.apply_rejections(plan, ctx);
        self.apply_deferrals(plan, ctx);
        let default_order = plan
            .run
            .is_empty()
            .then(|| fallback::arrival_order(&self.queue, limits::PLAN_MAX));
        let run = default_order.as_ref().unwrap_or(&plan.run);
        self.plan = self.checked(run, plan, ctx);
        self.apply_preemptions(plan, ctx);
        self.apply_swap_ins(plan, ctx);
        self.apply_repredictions(plan, ctx);
        let wake_up = (plan.wake_up_us != 0).then(|| Time::from_us(plan.wake_up_us));
        // A time that has passed would ask again at once, for ever.
        self.timers
            .set(Timer::WakeUp, wake_up.filter(|&at| at > ctx.now));
        self.blocked = false;
    }

    /// The order and the overrides, cleaned.
    fn checked(&mut self, run: &[u64], plan: &Plan, ctx: &mut Context<'_>) -> ActivePlan {
        let mut entries = run.len();
        if entries > limits::PLAN_MAX as usize {
            ctx.fault(PlanFault::TooManyEntries);
            entries = limits::PLAN_MAX as usize;
        }
        let with_tokens = !plan.run_tokens.is_empty();
        if with_tokens && plan.run_tokens.len() != run.len() {
            ctx.fault(PlanFault::LengthMismatch);
        }
        let with_tokens = with_tokens && plan.run_tokens.len() == run.len();
        let mut order = Vec::with_capacity(entries);
        let mut tokens = Vec::new();
        for (i, &id) in run[..entries].iter().enumerate() {
            let Some(row) = self.row(id, ctx.index) else {
                ctx.fault(PlanFault::UnknownJob);
                continue;
            };
            if self.queue.hidden[row].rank != UNRANKED {
                ctx.fault(PlanFault::DuplicateJob);
                continue;
            }
            self.queue.set_rank(row, order.len() as u32);
            order.push(id);
            if with_tokens {
                tokens.push(plan.run_tokens[i]);
            }
        }
        let victims = self.known(&plan.victims, ctx);
        ActivePlan {
            order,
            tokens,
            cursor: 0,
            bypass: plan.bypass,
            victims,
            victim_mode: self.supported(plan.victim_mode, ctx),
            window_tokens: plan.window_tokens,
            max_num_seqs: within(plan.max_num_seqs, self.config.max_num_seqs, ctx),
            max_batched_tokens: within(
                plan.max_batched_tokens,
                self.config.max_batched_tokens,
                ctx,
            ),
            reserve_blocks: within(plan.reserve_blocks, self.config.gpu_blocks, ctx),
            fresh: true,
        }
    }

    /// The jobs of a list that this worker has, each once.
    fn known(&mut self, ids: &[u64], ctx: &mut Context<'_>) -> Vec<u64> {
        self.stamp += 1;
        let stamp = self.stamp;
        let limit = ids.len().min(self.queue.len());
        if ids.len() > limit {
            ctx.fault(PlanFault::TooManyEntries);
        }
        let mut known = Vec::with_capacity(limit);
        for &id in &ids[..limit] {
            let Some(row) = self.row(id, ctx.index) else {
                ctx.fault(PlanFault::UnknownJob);
                continue;
            };
            if core::mem::replace(&mut self.queue.hidden[row].stamp, stamp) == stamp {
                ctx.fault(PlanFault::DuplicateJob);
            } else {
                known.push(id);
            }
        }
        known
    }

    /// A mode that this worker has; recompute stands in for swap where it has no host memory.
    fn supported(&self, mode: Preemption, ctx: &mut Context<'_>) -> Preemption {
        if mode == Preemption::Swap && self.config.cpu_blocks == 0 {
            ctx.fault(PlanFault::UnsupportedMode);
            return Preemption::Recompute;
        }
        mode
    }

    fn apply_state(&mut self, plan: &Plan, ctx: &mut Context<'_>) {
        if plan.state_values.len() != 2 * plan.state_jobs.len() {
            ctx.fault(PlanFault::LengthMismatch);
            return;
        }
        for (&id, words) in plan
            .state_jobs
            .iter()
            .zip(plan.state_values.chunks_exact(2))
        {
            match self.row(id, ctx.index) {
                Some(row) => {
                    self.queue.jobs.state_a[row] = words[0];
                    self.queue.jobs.state_b[row] = words[1];
                }
                None => ctx.fault(PlanFault::UnknownJob),
            }
        }
    }

    fn apply_rejections(&mut self, plan: &Plan, ctx: &mut Context<'_>) {
        for id in self.known(&plan.reject, ctx) {
            self.reject(id, ctx);
        }
    }

    fn apply_deferrals(&mut self, plan: &Plan, ctx: &mut Context<'_>) {
        if plan.defer.len() != plan.defer_until_us.len() {
            ctx.fault(PlanFault::LengthMismatch);
            return;
        }
        for (&id, &until_us) in plan.defer.iter().zip(&plan.defer_until_us) {
            let Some(row) = self.row(id, ctx.index) else {
                ctx.fault(PlanFault::UnknownJob);
                continue;
            };
            let latest = Time::from_us(self.queue.jobs.arrival_us[row]) + limits::DEFER_MAX;
            let until = Time::from_us(until_us);
            if until > latest {
                ctx.fault(PlanFault::OverBudget);
            }
            let until = until.min(latest);
            if until > ctx.now {
                self.queue.hidden[row].defer_until = until;
                self.note_deferral(until, ctx.now);
            }
        }
    }

    fn apply_preemptions(&mut self, plan: &Plan, ctx: &mut Context<'_>) {
        if plan.preempt.len() != plan.preempt_modes.len() {
            ctx.fault(PlanFault::LengthMismatch);
            return;
        }
        for (&id, &mode) in plan.preempt.iter().zip(&plan.preempt_modes) {
            let Some(row) = self.row(id, ctx.index) else {
                ctx.fault(PlanFault::UnknownJob);
                continue;
            };
            let running = row < self.queue.running;
            if running && self.queue.locked(row) {
                ctx.fault(PlanFault::LockedJob);
            } else if running {
                let mode = self.supported(mode, ctx);
                self.preempt(id, mode, ctx);
                self.strike_out(id, ctx);
            } else if mode != Preemption::Pause && self.queue.state(row) == State::Paused.code() {
                let mode = self.supported(mode, ctx);
                self.evict_resident(id, mode, ctx);
            } else {
                ctx.fault(PlanFault::NotRunning);
            }
        }
    }

    /// Takes a job out of the order: the plan itself sent it away.
    fn strike_out(&mut self, id: u64, ctx: &Context<'_>) {
        let Some(at) = self.plan.order.iter().position(|&named| named == id) else {
            return;
        };
        self.plan.order.remove(at);
        if !self.plan.tokens.is_empty() {
            self.plan.tokens.remove(at);
        }
        if let Some(row) = self.row(id, ctx.index) {
            self.queue.set_rank(row, UNRANKED);
        }
    }

    fn apply_swap_ins(&mut self, plan: &Plan, ctx: &mut Context<'_>) {
        for id in self.known(&plan.swap_in, ctx) {
            let Some(row) = self.row(id, ctx.index) else {
                continue;
            };
            let blocks = self.queue.jobs.cpu_blocks[row];
            let swapped = self.queue.state(row) == State::Swapped.code();
            if swapped && blocks <= self.spare_blocks() {
                self.swap_in(row, ctx);
                self.queue.jobs.state[row] = State::Paused.code();
                self.queue.resident.push(id);
            }
        }
    }

    fn apply_repredictions(&mut self, plan: &Plan, ctx: &mut Context<'_>) {
        for id in self.known(&plan.repredict, ctx) {
            if let Some(row) = self.row(id, ctx.index) {
                self.ask_prediction(row, ctx);
            }
        }
    }
}

/// An override inside its limit; 0 stays 0, which means none.
fn within(value: u32, limit: u32, ctx: &mut Context<'_>) -> u32 {
    if value > limit {
        ctx.fault(PlanFault::OverBudget);
    }
    value.min(limit)
}
