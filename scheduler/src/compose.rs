//! Forms the next step of a worker at a boundary: who keeps a slot, who gets one, what they do.

use alloc::vec::Vec;

use crate::config::{Batching, Boundary};
use crate::job::{State, flags};
use crate::limits;
use crate::plan::Preemption;
use crate::queue::UNRANKED;
use crate::step::PrefillChunk;
use crate::time::Time;
use crate::worker::{Context, Worker};

/// What became of a job that was offered a slot.
enum Admission {
    Entered,
    /// It needs more KV memory than is spare, or a larger part of the iteration.
    DoesNotFit,
    /// It is gone, has a slot, or is not to be looked at.
    NotWaiting,
}

/// What is left of an iteration while it is being filled.
struct Room {
    /// Tokens.
    tokens: u32,
    /// Longest prompt of an iteration that only prefills, which pads all to it.
    longest_tokens: u32,
    /// Prompts of that iteration.
    prompts: u32,
    /// Slots.
    max_seqs: usize,
}

impl Worker {
    /// Hands out slots by the plan in force and writes the step. Whether there is anything to run.
    pub(crate) fn compose(&mut self, ctx: &mut Context<'_>) -> bool {
        if self.plan.fresh && ctx.interest.preemptive {
            self.yield_slots(ctx);
        }
        let may_join = ctx.config.boundary == Boundary::Slot || !self.batch_open;
        if may_join && ctx.interest.preemptive && !self.stalled {
            self.free_slots(ctx);
        }
        self.secure_growth(ctx);
        let mut room = self.room();
        self.continue_prefills(&mut room, ctx);
        if may_join {
            self.blocked = false;
            self.admit_overdue(&mut room, ctx);
            self.admit_by_plan(&mut room, ctx);
        }
        self.plan.fresh = false;
        self.plan.tokens.clear();
        if self.queue.running == 0 {
            return false;
        }
        self.batch_open = true;
        self.open_windows(ctx);
        self.close_step(ctx);
        true
    }

    fn room(&self) -> Room {
        let decodes = match self.config.batching {
            Batching::Mixed => self.queue.decoding as u32,
            Batching::PrefillFirst => 0,
        };
        Room {
            tokens: self.token_budget().saturating_sub(decodes),
            longest_tokens: 0,
            prompts: 0,
            max_seqs: self.max_seqs(),
        }
    }

    /// Pauses the jobs whose slots a fresh plan gives to others.
    fn yield_slots(&mut self, ctx: &mut Context<'_>) {
        self.stamp += 1;
        let stamp = self.stamp;
        let running = self.queue.running;
        let locked = (0..running).filter(|&row| self.queue.locked(row)).count();
        let mut slots = self.max_seqs().saturating_sub(locked + self.overdue.len());
        for i in 0..self.plan.order.len() {
            if slots == 0 {
                break;
            }
            let Some(row) = self.row(self.plan.order[i], ctx.index) else {
                continue;
            };
            if row < running && !self.queue.locked(row) {
                self.queue.hidden[row].stamp = stamp;
                slots -= 1;
            } else if row >= running && self.may_run(row, ctx.now) {
                slots -= 1;
            }
        }
        let mut losers = Vec::new();
        for row in 0..running {
            let hidden = &self.queue.hidden[row];
            if self.queue.locked(row) || hidden.stamp == stamp {
                continue;
            }
            if hidden.rank == UNRANKED && slots > 0 {
                slots -= 1;
            } else {
                losers.push(self.queue.jobs.id[row]);
            }
        }
        for id in losers {
            self.preempt(id, Preemption::Pause, ctx);
        }
    }

    /// Whether a job may have a slot now; past the longest wait no plan can put it off.
    pub(crate) fn may_run(&self, row: usize, now: Time) -> bool {
        let hidden = &self.queue.hidden[row];
        let overdue = self.queue.jobs.flags[row] & flags::OVERDUE != 0;
        !hidden.cancelled && (overdue || hidden.defer_until <= now)
    }

    /// The next chunk of every prompt that is being read, as long as the plan wants it where it is
    /// of this iteration.
    fn continue_prefills(&mut self, room: &mut Room, ctx: &mut Context<'_>) {
        let mut rows: Vec<(u32, u64)> = (self.queue.decoding..self.queue.running)
            .map(|row| (self.queue.hidden[row].rank, self.queue.jobs.id[row]))
            .collect();
        rows.sort_unstable();
        for (rank, id) in rows {
            let Some(row) = self.row(id, ctx.index) else {
                continue;
            };
            // An eviction for a job before it may have taken its slot.
            if row >= self.queue.running {
                continue;
            }
            let left = self.queue.hidden[row].prefill_target - self.queue.jobs.computed_tokens[row];
            let wanted = match self.plan.tokens.get(rank as usize) {
                None | Some(0) => left,
                Some(&tokens) => left.min(tokens),
            };
            let tokens = self.secure_chunk(id, wanted.min(room.tokens), ctx);
            if tokens > 0
                && let Some(row) = self.row(id, ctx.index)
            {
                self.read_chunk(row, tokens, room);
            }
        }
    }

    /// Offers slots to the jobs that the starvation guard has put first.
    fn admit_overdue(&mut self, room: &mut Room, ctx: &mut Context<'_>) {
        let overdue = core::mem::take(&mut self.overdue);
        for id in overdue {
            let fits = self.queue.running < room.max_seqs;
            let outcome = if fits {
                self.admit(id, 0, room, ctx)
            } else {
                Admission::DoesNotFit
            };
            if matches!(outcome, Admission::DoesNotFit) {
                self.overdue.push(id);
            }
        }
    }

    /// Makes slots free for the jobs that the starvation guard has put first; before anything is
    /// handed out, since who leaves takes part neither in the memory nor in the tokens of the step.
    fn free_slots(&mut self, ctx: &mut Context<'_>) {
        let mut overdue = core::mem::take(&mut self.overdue);
        overdue.retain(|&id| self.row(id, ctx.index).is_some());
        let wanted = self.queue.running + overdue.len();
        self.overdue = overdue;
        for _ in self.max_seqs()..wanted {
            self.free_slot(ctx);
        }
    }

    /// Pauses the unlocked job that the plan wants least.
    fn free_slot(&mut self, ctx: &mut Context<'_>) {
        let least = (0..self.queue.running)
            .filter(|&row| !self.queue.locked(row))
            .max_by_key(|&row| (self.queue.hidden[row].rank, self.queue.jobs.id[row]))
            .map(|row| self.queue.jobs.id[row]);
        if let Some(id) = least {
            self.preempt(id, Preemption::Pause, ctx);
        }
    }

    /// Offers slots along the plan's order, from where it stood.
    fn admit_by_plan(&mut self, room: &mut Room, ctx: &mut Context<'_>) {
        let mut at = self.plan.cursor;
        let mut passed_over = 0;
        while at < self.plan.order.len() && self.queue.running < room.max_seqs && room.tokens > 0 {
            let id = self.plan.order[at];
            let wanted = self.plan.tokens.get(at).copied().unwrap_or(0);
            match self.admit(id, wanted, room, ctx) {
                Admission::Entered | Admission::NotWaiting => {}
                Admission::DoesNotFit => {
                    self.blocked = true;
                    passed_over += 1;
                    // Past the first that does not fit only jobs go on whose KV is still there.
                    let bounded = self.plan.bypass || !self.queue.resident.is_empty();
                    if !bounded || passed_over > limits::BYPASS_MAX {
                        break;
                    }
                }
            }
            at += 1;
            if passed_over == 0 {
                self.plan.cursor = at;
            }
        }
    }

    /// Offers one job a slot.
    fn admit(
        &mut self,
        id: u64,
        wanted_tokens: u32,
        room: &mut Room,
        ctx: &mut Context<'_>,
    ) -> Admission {
        let Some(row) = self.row(id, ctx.index) else {
            return Admission::NotWaiting;
        };
        if row < self.queue.running || !self.may_run(row, ctx.now) {
            return Admission::NotWaiting;
        }
        let state = self.queue.state(row);
        let context = self.queue.context_tokens(row);
        let generated = self.queue.jobs.generated_tokens[row];
        let computed = self.queue.jobs.computed_tokens[row];
        let decodes = generated > 0 && computed + 1 == context;
        // Nobody may take the memory that an overdue job waits for, even where the plan would let
        // others pass; those whose KV is there already give it back the sooner.
        let held_up = self.blocked && !self.plan.bypass || !self.overdue.is_empty();
        if held_up && state != State::Paused.code() {
            return Admission::DoesNotFit;
        }
        let tokens = if decodes {
            u32::from(room.tokens > 0)
        } else {
            self.offer_tokens(row, wanted_tokens, room)
        };
        if tokens == 0 {
            return Admission::DoesNotFit;
        }
        let held = self.queue.jobs.gpu_blocks[row];
        let need = self.kv.blocks(computed + tokens).saturating_sub(held);
        if !self.reclaim(row, need, ctx) {
            return Admission::DoesNotFit;
        }
        if state == State::Swapped.code() {
            self.swap_in(row, ctx);
        }
        self.step.added.push(id);
        let row = self.queue.enter(row, ctx.now, decodes, ctx.index);
        if decodes {
            room.tokens -= u32::from(self.config.batching == Batching::Mixed);
        } else {
            self.read_chunk(row, tokens, room);
        }
        Admission::Entered
    }

    /// Prompt tokens that a waiting job could read in this iteration; 0 if it must wait.
    fn offer_tokens(&self, row: usize, wanted: u32, room: &Room) -> u32 {
        let target = self.queue.context_tokens(row);
        let left = target - self.queue.jobs.computed_tokens[row];
        match self.config.batching {
            Batching::Mixed => {
                let tokens = left.min(room.tokens);
                if wanted == 0 {
                    tokens
                } else {
                    tokens.min(wanted)
                }
            }
            Batching::PrefillFirst => {
                let padded = (room.prompts + 1) * room.longest_tokens.max(left);
                let fits = padded <= self.token_budget() || room.prompts == 0;
                if fits { left } else { 0 }
            }
        }
    }

    /// Puts a chunk into the step and takes its memory.
    fn read_chunk(&mut self, row: usize, tokens: u32, room: &mut Room) {
        let context_tokens = self.queue.jobs.computed_tokens[row];
        let blocks = self.kv.blocks(context_tokens + tokens);
        let more = blocks.saturating_sub(self.queue.jobs.gpu_blocks[row]);
        self.kv.take_gpu(more);
        self.queue.jobs.gpu_blocks[row] += more;
        let last = context_tokens + tokens == self.queue.hidden[row].prefill_target;
        let job = self.queue.jobs.id[row];
        self.step.prefill.push(PrefillChunk {
            job,
            tokens,
            context_tokens,
            last,
        });
        room.tokens = room.tokens.saturating_sub(tokens);
        room.longest_tokens = room.longest_tokens.max(tokens);
        room.prompts += 1;
    }

    /// Gives every job at its boundary a new window, unless its prediction is still on its way.
    fn open_windows(&mut self, ctx: &Context<'_>) {
        let window = match self.plan.window_tokens {
            0 => ctx.config.window_tokens,
            tokens => tokens,
        };
        let batch = ctx.config.boundary == Boundary::Batch;
        if window <= 1 && !batch {
            return;
        }
        for row in 0..self.queue.running {
            let pending = !batch && self.queue.hidden[row].predicting;
            if self.queue.window_left[row] == 0 && !pending {
                self.queue.window_left[row] = window;
            }
        }
    }

    /// Whether a job that comes to the end of its window changes anything.
    pub(crate) fn windows_matter(&self, ctx: &Context<'_>) -> bool {
        let asks = ctx
            .interest
            .triggers
            .intersects(crate::snapshot::Triggers::WINDOW_END);
        ctx.config.boundary == Boundary::Batch || ctx.interest.preemptive || asks
    }

    /// Writes the rest of the step: who decodes, and for how long.
    fn close_step(&mut self, ctx: &Context<'_>) {
        let prefills = !self.step.prefill.is_empty();
        self.step.id += 1;
        self.step.decode =
            self.queue.decoding > 0 && (self.config.batching == Batching::Mixed || !prefills);
        if self.step.decode {
            self.step.decode_seqs = self.queue.decoding as u32;
            self.step.decode_kv_tokens = self.queue.decode_kv_tokens;
        }
        self.step.max_iterations = if prefills { 1 } else { self.iterations(ctx) };
    }

    /// Iterations until a window ends, a prediction is due, or memory might run short.
    fn iterations(&self, ctx: &Context<'_>) -> u32 {
        let decoding = self.queue.decoding;
        let per_job = self.kv.gpu_free / (decoding as u32).max(1);
        let mut most = per_job.saturating_mul(self.kv.block_size_tokens).max(1);
        let soonest = |left: &[u32]| {
            left[..decoding]
                .iter()
                .filter(|&&left| left > 0)
                .min()
                .copied()
                .unwrap_or(u32::MAX)
        };
        if self.windows_matter(ctx) {
            most = most.min(soonest(&self.queue.window_left));
        }
        if ctx.interest.predictions && ctx.config.repredict_tokens > 0 {
            most = most.min(soonest(&self.queue.predict_left));
        }
        most
    }
}
