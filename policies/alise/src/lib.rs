//! The rule of ALISE: levels by the time that a job is estimated to need still, and KV in host
//! memory for those that are estimated to wait long.

use elis_policy_sdk::mlfq::Levels;
use elis_policy_sdk::select::least;
use elis_policy_sdk::slack::{Pace, Work, remaining_tokens};
use elis_policy_sdk::swap::{self, Held};
use elis_policy_sdk::{
    Header, Info, Plan, Policy, Preemption, Snapshot, Triggers, columns, config, export_policy,
    flags, state,
};

/// Entries beyond the slots, so that the host can go on when a job finishes or does not fit.
const LOOKAHEAD: usize = 16;

columns! {
    /// What the rule reads of a job.
    struct Jobs {
        id: u64 = "job-id",
        arrival_us: u64 = "job-arrival-us",
        state: u32 = "job-state",
        flags: u32 = "job-flags",
        prompt_tokens: u32 = "job-prompt-tokens",
        generated_tokens: u32 = "job-generated-tokens",
        computed_tokens: u32 = "job-computed-tokens",
        predicted_tokens: f32 = "job-predicted-remaining-tokens",
        predicted_at_tokens: u32 = "job-predicted-at-tokens",
        gpu_blocks: u32 = "job-gpu-blocks",
        cpu_blocks: u32 = "job-cpu-blocks",
    }
}

/// The policy.
#[derive(Debug, Clone, Copy)]
pub struct Alise {
    levels: Levels,
    ageing_us: u64,
}

impl Default for Alise {
    fn default() -> Self {
        Self {
            levels: Levels::new(100_000),
            ageing_us: 30_000_000,
        }
    }
}

/// A job in its queue; less is served sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    /// Not inside its window, where the host keeps its slot anyway.
    unlocked: bool,
    level: u32,
    arrival_us: u64,
    id: u64,
    row: usize,
    /// Estimated time until it is done.
    remaining_us: u64,
}

impl Alise {
    fn standing(self, header: &Header, jobs: &Jobs<'_>, row: usize) -> Standing {
        let (prompt, generated) = (jobs.prompt_tokens[row], jobs.generated_tokens[row]);
        let predicted_at = jobs.predicted_at_tokens[row];
        let left = remaining_tokens(jobs.predicted_tokens[row], predicted_at, generated);
        let work = Work::of(prompt, generated, jobs.computed_tokens[row], left);
        let remaining_us = if left.is_nan() {
            u64::MAX
        } else {
            Pace::of(header).work_us(work)
        };
        let age_us = header.now_us.saturating_sub(jobs.arrival_us[row]);
        let risen = age_us.checked_div(self.ageing_us).unwrap_or(0);
        let level = u64::from(self.levels.level_of(remaining_us)).saturating_sub(risen);
        Standing {
            unlocked: jobs.flags[row] & flags::LOCKED == 0,
            level: level as u32,
            arrival_us: jobs.arrival_us[row],
            id: jobs.id[row],
            row,
            remaining_us,
        }
    }
}

impl Jobs<'_> {
    /// KV goes where the estimated wait says; `order` is the whole queue, which begins with the
    /// batch. The wait is the work of all that stand before, shared among the slots.
    fn move_kv(&self, plan: &mut Plan, header: &Header, order: &[Standing]) {
        let slots = header.max_num_seqs.max(1) as usize;
        let swap_us = |blocks: u32| f64::from(header.swap_per_block_us) * f64::from(blocks);
        let window_us = Pace::of(header).decode_us(0, header.window_tokens as f32) as f64;
        let (mut far, mut soon) = (Vec::new(), Vec::new());
        let mut ahead_us = 0.0;
        for (at, job) in order.iter().enumerate() {
            let wait_us = ahead_us / slots as f64;
            ahead_us += job.remaining_us as f64;
            let (gpu, cpu) = (self.gpu_blocks[job.row], self.cpu_blocks[job.row]);
            let held = |blocks| Held { id: job.id, blocks };
            match self.state[job.row] {
                _ if at < slots => {}
                // There and back must take less than the wait.
                state::PAUSED if wait_us > 2.0 * swap_us(gpu) => far.push(held(gpu)),
                // At the next look it may be too late.
                state::SWAPPED if wait_us < swap_us(cpu) + window_us => soon.push(held(cpu)),
                _ => {}
            }
        }
        let batch = order.iter().take(slots);
        let needed = batch.map(|job| self.needed_blocks(job.row, header));
        let wanted = needed.fold(0, u32::saturating_add);
        plan.preempt = swap::out(header, wanted, far.into_iter().rev());
        plan.preempt_modes = vec![Preemption::Swap; plan.preempt.len()];
        if plan.preempt.is_empty() {
            plan.swap_in = swap::back(header, wanted, soon.into_iter());
        }
    }

    /// Device blocks that a job needs beyond its own to run until the next look.
    fn needed_blocks(&self, row: usize, header: &Header) -> u32 {
        let context = self.prompt_tokens[row].saturating_add(self.generated_tokens[row]);
        let tokens = context.saturating_add(header.window_tokens.min(context));
        let blocks = tokens.div_ceil(header.block_size_tokens.max(1));
        blocks.saturating_sub(self.gpu_blocks[row])
    }
}

impl Policy for Alise {
    fn info() -> Info {
        Info {
            name: "alise",
            version: env!("CARGO_PKG_VERSION"),
            summary: "Levels by estimated remaining time; KV is swapped by estimated wait.",
            columns: Jobs::NAMES,
            triggers: Triggers::ARRIVAL
                | Triggers::FINISH
                | Triggers::WINDOW_END
                | Triggers::PREDICTION,
            preemptive: true,
        }
    }

    fn configure(&mut self, toml: &str) -> Result<(), String> {
        let config = config::parse(toml, &["level_ms", "ageing_s"])?;
        let level_ms = config.f32("level_ms", 100.0)?;
        let ageing_s = config.f32("ageing_s", 30.0)?;
        if level_ms <= 0.0 || ageing_s < 0.0 {
            return Err("`level_ms` must be above 0 and `ageing_s` not below".to_owned());
        }
        self.levels = Levels::new((level_ms * 1e3) as u64);
        self.ageing_us = (ageing_s * 1e6) as u64;
        Ok(())
    }

    fn decide(&mut self, snapshot: &Snapshot<'_>) -> Plan {
        let header = snapshot.header;
        let jobs = Jobs::of(snapshot);
        let queue = (0..jobs.len()).map(|row| self.standing(header, &jobs, row));
        let room = header.max_num_seqs as usize + LOOKAHEAD;
        let room = room.min(header.plan_max as usize);
        // Waits are sums over the queue, so that all of it has to be in order; where no KV can
        // move, its head is enough.
        let idle = |&state: &u32| state == state::PAUSED || state == state::SWAPPED;
        let moves = swap::can_swap(header) && jobs.state.iter().any(idle);
        let order = least(if moves { jobs.len() } else { room }, queue.collect());
        let mut plan = Plan {
            run: order.iter().take(room).map(|job| job.id).collect(),
            victim_mode: swap::victim_mode(header),
            ..Plan::default()
        };
        if moves {
            jobs.move_kv(&mut plan, header, &order);
        }
        plan
    }
}

export_policy!(Alise);

#[cfg(test)]
mod tests;
