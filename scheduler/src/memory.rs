//! Who keeps KV memory: growth of running jobs, eviction of paused ones, victims.

use alloc::vec::Vec;

use crate::job::State;
use crate::message::{Ended, Output, RejectReason};
use crate::plan::Preemption;
use crate::step::BlockMove;
use crate::worker::{Context, Worker};

/// Rank, arrival, id.
type Standing = (u32, u64, u64);

impl Worker {
    /// Blocks that the jobs that decode need for one more token each.
    pub(crate) fn growth_blocks(&self) -> u32 {
        let (jobs, size) = (&self.queue.jobs, self.kv.block_size_tokens);
        let rows = 0..self.queue.decoding;
        let computed = &jobs.computed_tokens[rows.clone()];
        let blocks = &jobs.gpu_blocks[rows];
        computed
            .iter()
            .zip(blocks)
            .map(|(&c, &b)| u32::from(c >= b * size))
            .sum()
    }

    /// Blocks that nobody needs for the next iteration and that admission may use.
    pub(crate) fn spare_blocks(&self) -> u32 {
        // Where nothing has a slot the margins do not count, so that something always can run.
        let margin = if self.queue.running == 0 {
            0
        } else {
            self.config.watermark_blocks + self.plan.reserve_blocks
        };
        self.kv
            .gpu_free
            .saturating_sub(self.growth_blocks())
            .saturating_sub(margin)
    }

    /// Takes a job's slot, and its KV as the mode says.
    pub(crate) fn preempt(&mut self, id: u64, mode: Preemption, ctx: &mut Context<'_>) {
        let Some(row) = self.row(id, ctx.index) else {
            return;
        };
        let row = self.queue.leave(row, ctx.now, ctx.index);
        self.step.removed.push(id);
        self.note_wait(row, ctx.config.max_wait);
        // It may be the first that the order would have again.
        self.plan.cursor = 0;
        let mode = if mode == Preemption::Pause {
            mode
        } else {
            self.take_kv(row, mode, ctx)
        };
        ctx.stats.preempted(mode);
    }

    /// Takes the KV of a job that has no slot.
    pub(crate) fn evict_resident(&mut self, id: u64, mode: Preemption, ctx: &mut Context<'_>) {
        if let Some(row) = self.row(id, ctx.index) {
            let mode = self.take_kv(row, mode, ctx);
            ctx.stats.evictions[mode as usize] += 1;
        }
    }

    /// Swaps or drops the KV of a paused job; where host memory is full, swap becomes recompute.
    fn take_kv(&mut self, row: usize, mode: Preemption, ctx: &mut Context<'_>) -> Preemption {
        let id = self.queue.jobs.id[row];
        let blocks = core::mem::take(&mut self.queue.jobs.gpu_blocks[row]);
        self.kv.give_gpu(blocks);
        let stayed_out = withdraw(&mut self.step.swap_in, id);
        if mode == Preemption::Swap && blocks <= self.kv.cpu_free {
            self.kv.take_cpu(blocks);
            self.queue.jobs.cpu_blocks[row] = blocks;
            self.queue.set_absent(row, State::Swapped);
            if stayed_out {
                return Preemption::Swap;
            }
            self.step.swap_out.push(BlockMove { job: id, blocks });
            ctx.stats.swapped_blocks += u64::from(blocks);
            return Preemption::Swap;
        }
        let dropped = u64::from(self.queue.jobs.computed_tokens[row]);
        ctx.stats.recomputed_tokens += dropped;
        self.dropped_tokens += dropped;
        self.queue.jobs.computed_tokens[row] = 0;
        self.queue.set_absent(row, State::Evicted);
        self.step.dropped.push(id);
        Preemption::Recompute
    }

    /// Brings a swapped job's KV back; the caller has seen that it fits.
    pub(crate) fn swap_in(&mut self, row: usize, ctx: &mut Context<'_>) {
        let blocks = core::mem::take(&mut self.queue.jobs.cpu_blocks[row]);
        self.kv.give_cpu(blocks);
        self.kv.take_gpu(blocks);
        self.queue.jobs.gpu_blocks[row] = blocks;
        let id = self.queue.jobs.id[row];
        if withdraw(&mut self.step.swap_out, id) {
            return;
        }
        self.step.swap_in.push(BlockMove { job: id, blocks });
        ctx.stats.swapped_blocks += u64::from(blocks);
    }

    /// Where a row stands in line: by the plan, then by arrival. The largest gives way first.
    fn standing(&self, row: usize) -> Standing {
        let jobs = &self.queue.jobs;
        (
            self.queue.hidden[row].rank,
            jobs.arrival_us[row],
            jobs.id[row],
        )
    }

    /// Frees memory until every job that decodes can make one more token.
    pub(crate) fn secure_growth(&mut self, ctx: &mut Context<'_>) {
        if self.kv.gpu_free as usize >= self.queue.decoding {
            return;
        }
        while self.growth_blocks() > self.kv.gpu_free {
            ctx.pressure = true;
            if !self.evict_one(None, ctx) {
                break;
            }
        }
    }

    /// Frees memory for a waiting job until `blocks` are spare, by taking the KV of paused jobs
    /// that stand behind it. Whether it worked.
    pub(crate) fn reclaim(&mut self, row: usize, blocks: u32, ctx: &mut Context<'_>) -> bool {
        let standing = self.standing(row);
        while self.spare_blocks() < blocks {
            ctx.pressure = true;
            // Where nothing runs, everybody gives way, so that something can.
            let behind = if self.queue.running == 0 {
                Standing::default()
            } else {
                standing
            };
            let id = self.queue.jobs.id[row];
            let Some(victim) = self.resident_victim(behind, id, ctx) else {
                return false;
            };
            self.evict_resident(victim, self.victim_mode(), ctx);
        }
        true
    }

    /// Prompt tokens of a job with a slot for which there is memory, after the jobs that stand
    /// behind it have given way.
    pub(crate) fn secure_chunk(&mut self, id: u64, tokens: u32, ctx: &mut Context<'_>) -> u32 {
        loop {
            let Some(row) = self
                .row(id, ctx.index)
                .filter(|&row| row < self.queue.running)
            else {
                return 0;
            };
            let held = self.queue.jobs.gpu_blocks[row];
            let computed = self.queue.jobs.computed_tokens[row];
            let free = self.kv.gpu_free.saturating_sub(self.growth_blocks());
            if self.kv.blocks(computed + tokens).saturating_sub(held) <= free {
                return tokens;
            }
            ctx.pressure = true;
            if !self.evict_one(Some(id), ctx) {
                let room = (held + free).saturating_mul(self.kv.block_size_tokens);
                return tokens.min(room.saturating_sub(computed));
            }
        }
    }

    /// Takes one job's KV: a paused one's first, else that of the last job with a slot. With
    /// `for_id` only jobs that stand behind that one; the last that runs always stays.
    fn evict_one(&mut self, for_id: Option<u64>, ctx: &mut Context<'_>) -> bool {
        let row = for_id.and_then(|id| self.row(id, ctx.index));
        let behind = row.map_or_else(Standing::default, |row| self.standing(row));
        let keep = for_id.unwrap_or(u64::MAX);
        // Where the step would be empty, everybody without a slot gives way, so that it is not.
        let empty = self.queue.decoding == 0 && self.step.prefill.is_empty();
        let resident = if empty { Standing::default() } else { behind };
        if let Some(victim) = self.resident_victim(resident, keep, ctx) {
            self.evict_resident(victim, self.victim_mode(), ctx);
            return true;
        }
        if self.queue.running <= 1 {
            return false;
        }
        let may = |&row: &usize| {
            self.queue.jobs.id[row] != keep
                && row < self.queue.running
                && (for_id.is_none() || self.standing(row) > behind)
        };
        let rows = self
            .plan
            .victims
            .iter()
            .filter_map(|&id| self.row(id, ctx.index));
        let last = || {
            (0..self.queue.running)
                .filter(may)
                .max_by_key(|&row| self.standing(row))
        };
        let Some(victim) = rows.into_iter().find(may).or_else(last) else {
            return false;
        };
        self.preempt(self.queue.jobs.id[victim], self.victim_mode(), ctx);
        true
    }

    /// The paused job behind this place in line that should give up its KV, if there is one.
    fn resident_victim(&self, behind: Standing, keep: u64, ctx: &Context<'_>) -> Option<u64> {
        let may = |&row: &usize| {
            self.queue.state(row) == State::Paused.code()
                && self.queue.jobs.id[row] != keep
                && self.standing(row) >= behind
        };
        let mut named = self
            .plan
            .victims
            .iter()
            .filter_map(|&id| self.row(id, ctx.index));
        let resident = self
            .queue
            .resident
            .iter()
            .filter_map(|&id| self.row(id, ctx.index));
        let victim = if self.queue.resident.is_empty() {
            None
        } else {
            named.find(may)
        };
        let last = || resident.filter(may).max_by_key(|&row| self.standing(row));
        victim.or_else(last).map(|row| self.queue.jobs.id[row])
    }

    /// What happens to victims; a pause would free nothing.
    fn victim_mode(&self) -> Preemption {
        match self.plan.victim_mode {
            Preemption::Swap => Preemption::Swap,
            Preemption::Pause | Preemption::Recompute => Preemption::Recompute,
        }
    }

    /// Takes a job out of the queue for good and gives its memory back.
    pub(crate) fn retire(&mut self, row: usize, ctx: &mut Context<'_>) -> Ended {
        let (gpu, cpu) = (
            self.queue.jobs.gpu_blocks[row],
            self.queue.jobs.cpu_blocks[row],
        );
        self.kv.give_gpu(gpu);
        self.kv.give_cpu(cpu);
        self.stalled = false;
        let (row, hidden) = self.queue.remove(row, ctx.now, ctx.index);
        ctx.index.remove(row.id);
        Ended {
            row,
            worker: self.number,
            arrival: hidden.arrival,
            first_run: hidden.first_run,
            first_token: hidden.first_token,
        }
    }

    /// Refuses a job that waits; one with a slot is cut short at the client's expense, so it is not
    /// touched.
    pub(crate) fn reject(&mut self, id: u64, ctx: &mut Context<'_>) {
        let Some(row) = self.row(id, ctx.index) else {
            return;
        };
        if row < self.queue.running {
            ctx.fault(crate::stats::PlanFault::LockedJob);
            return;
        }
        self.retire(row, ctx);
        ctx.outputs.push_back(Output::Rejected {
            job: id,
            worker: self.number,
            reason: RejectReason::ByPolicy,
        });
    }
}

/// Takes a job's move back, where there is one: before the step begins, there and back is nothing,
/// and the engine makes all moves out before all moves in.
fn withdraw(moves: &mut Vec<BlockMove>, job: u64) -> bool {
    let at = moves.iter().position(|planned| planned.job == job);
    at.map(|at| moves.remove(at)).is_some()
}
