//! The rule of Sarathi-Serve: an iteration has a budget of tokens, and out of it every running
//! response gets its token first, then prompts that are being read go on, then new ones begin.

use core::cmp::Reverse;

use elis_policy_sdk::select::least;
use elis_policy_sdk::{
    Header, Info, Plan, Policy, Snapshot, Triggers, columns, config, export_policy, state,
};

/// Entries beyond the slots, so that the host can go on when a job finishes or does not fit.
const LOOKAHEAD: usize = 16;

/// The host can split prompts, as a bit of `capabilities`.
const CHUNKED_PREFILL: u32 = 8;

columns! {
    /// What the rule reads of a job.
    struct Jobs {
        id: u64 = "job-id",
        arrival_us: u64 = "job-arrival-us",
        state: u32 = "job-state",
        prompt_tokens: u32 = "job-prompt-tokens",
        generated_tokens: u32 = "job-generated-tokens",
        computed_tokens: u32 = "job-computed-tokens",
        gpu_blocks: u32 = "job-gpu-blocks",
    }
}

/// The policy.
#[derive(Debug, Clone, Copy)]
pub struct Sarathi {
    chunk_tokens: u32,
}

impl Default for Sarathi {
    fn default() -> Self {
        Self { chunk_tokens: 512 }
    }
}

/// The order in which jobs get their part of the budget.
fn phase(job_state: u32) -> u32 {
    match job_state {
        state::DECODE => 0,
        state::PREFILL => 1,
        // Jobs that lost their slot go back to the front of the queue.
        state::PAUSED | state::SWAPPED | state::EVICTED => 2,
        _ => 3,
    }
}

/// A job's place in the order: phase, arrival, id, row.
type Key = (u32, u64, u64, usize);

impl Jobs<'_> {
    /// How many of an order have memory for their whole context, at least one. The host takes
    /// memory chunk by chunk: prompts that begin without room to end would push each other out.
    fn that_fit(&self, header: &Header, order: &[Key]) -> usize {
        let size = header.block_size_tokens.max(1);
        let mut free = i64::from(header.gpu_blocks_free) - i64::from(header.watermark_blocks);
        let fits = |&&(phase, _, _, row): &&Key| {
            let context = self.prompt_tokens[row].saturating_add(self.generated_tokens[row]);
            let held = self.gpu_blocks[row];
            free -= i64::from(context.div_ceil(size).saturating_sub(held));
            phase < 2 || free >= 0
        };
        order.iter().take_while(fits).count().max(1)
    }

    /// Tokens that a job could use in one iteration: one, unless its prompt is not read yet.
    fn wanted_tokens(&self, row: usize) -> u32 {
        let context = self.prompt_tokens[row].saturating_add(self.generated_tokens[row]);
        let unread = context.saturating_sub(self.computed_tokens[row]);
        unread.max(1)
    }
}

impl Policy for Sarathi {
    fn info() -> Info {
        Info {
            name: "sarathi",
            version: env!("CARGO_PKG_VERSION"),
            summary: "Decodes first, then prompts in chunks inside a budget of tokens.",
            columns: Jobs::NAMES,
            triggers: Triggers::ARRIVAL,
            preemptive: false,
        }
    }

    fn configure(&mut self, toml: &str) -> Result<(), String> {
        let config = config::parse(toml, &["chunk_tokens"])?;
        let tokens = config.u64("chunk_tokens", u64::from(self.chunk_tokens))?;
        self.chunk_tokens = u32::try_from(tokens)
            .ok()
            .filter(|&tokens| tokens > 0)
            .ok_or("`chunk_tokens` must be at least 1 and fit into 32 bits")?;
        Ok(())
    }

    fn decide(&mut self, snapshot: &Snapshot<'_>) -> Plan {
        let header = snapshot.header;
        let jobs = Jobs::of(snapshot);
        let keys = (0..jobs.len())
            .map(|row| {
                let phase = phase(jobs.state[row]);
                (phase, jobs.arrival_us[row], jobs.id[row], row)
            })
            .collect::<Vec<Key>>();
        let room = (header.max_num_seqs as usize + LOOKAHEAD).min(header.plan_max as usize);
        let mut order = least(room, keys);
        let fit = jobs.that_fit(header, &order);
        order.truncate(fit);
        let slots = order.iter().filter(|key| key.0 < 2);
        let mut victims: Vec<_> = slots.map(|key| Reverse((key.1, key.2))).collect();
        victims.sort_unstable();
        let mut plan = Plan {
            run: order.iter().map(|key| key.2).collect(),
            victims: victims.iter().map(|&Reverse((_, id))| id).collect(),
            ..Plan::default()
        };
        // A host that reads prompts whole leaves nothing to divide.
        if header.capabilities & CHUNKED_PREFILL != 0 {
            let budget = self.chunk_tokens.min(header.max_batched_tokens);
            let mut left = budget;
            plan.run_tokens = order
                .iter()
                .map(|key| {
                    let tokens = jobs.wanted_tokens(key.3).min(left);
                    left -= tokens;
                    tokens
                })
                .collect();
            // Until the next plan, and for those that come away empty now.
            plan.max_batched_tokens = budget;
        }
        plan
    }
}

export_policy!(Sarathi);

#[cfg(test)]
mod tests;
