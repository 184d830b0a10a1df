//! Shortest predicted remaining processing time with limited preemption: a job that has come far
//! enough keeps its slot to the end.

use elis_policy_sdk::select::Ties;
use elis_policy_sdk::{Info, Plan, Policy, Snapshot, Triggers, columns, config, export_policy};

/// Entries beyond the slots, so that the host can go on when a job finishes or does not fit.
const LOOKAHEAD: u32 = 16;

columns! {
    /// What the rule reads of a job.
    struct Jobs {
        id: u64 = "job-id",
        arrival_us: u64 = "job-arrival-us",
        runs: u32 = "job-runs",
        total_tokens: f32 = "job-predicted-total-tokens",
        remaining_tokens: f32 = "job-predicted-remaining-tokens",
        predicted_at_tokens: u32 = "job-predicted-at-tokens",
        generated_tokens: u32 = "job-generated-tokens",
        gpu_blocks: u32 = "job-gpu-blocks",
    }
}

/// The policy.
#[derive(Debug, Clone, Copy)]
pub struct Trail {
    /// The part of its first prediction after which a job is not preempted any more.
    c: f32,
}

impl Default for Trail {
    fn default() -> Self {
        Self { c: 0.8 }
    }
}

impl Trail {
    /// Whether a job has come so far that it is to finish. One in a slot is about to make its first
    /// token, so that with `c = 0` nobody is ever preempted.
    fn is_pinned(self, jobs: &Jobs<'_>, row: usize) -> bool {
        let total_tokens = jobs.total_tokens[row];
        let unknown = total_tokens.is_nan() && self.c > 0.0;
        let cut_off = if self.c > 0.0 {
            self.c * total_tokens
        } else {
            0.0
        };
        let generated = jobs.generated_tokens[row].max(1) as f32;
        jobs.runs[row] > 0 && !unknown && generated > cut_off
    }

    /// The tokens that a job still needs; minus infinity for one that is to finish, even where it
    /// lost its slot for want of memory.
    fn score(self, jobs: &Jobs<'_>, row: usize) -> f32 {
        if self.is_pinned(jobs, row) {
            return f32::NEG_INFINITY;
        }
        let since = jobs.generated_tokens[row].saturating_sub(jobs.predicted_at_tokens[row]);
        let left = jobs.remaining_tokens[row] - since as f32;
        // Unlike `max` this leaves a NaN, a missing prediction, as it is.
        if left < 0.0 { 0.0 } else { left }
    }
}

impl Policy for Trail {
    fn info() -> Info {
        Info {
            name: "trail",
            version: env!("CARGO_PKG_VERSION"),
            summary: "Fewest predicted remaining tokens first; nobody is preempted near the end.",
            columns: Jobs::NAMES,
            triggers: Triggers::ARRIVAL
                | Triggers::FINISH
                | Triggers::WINDOW_END
                | Triggers::PREDICTION,
            preemptive: true,
        }
    }

    fn configure(&mut self, toml: &str) -> Result<(), String> {
        self.c = config::parse(toml, &["c"])?.f32("c", self.c)?;
        if self.c < 0.0 {
            return Err("`c` must not be negative; 0 never preempts".to_owned());
        }
        Ok(())
    }

    fn decide(&mut self, snapshot: &Snapshot<'_>) -> Plan {
        let header = snapshot.header;
        let jobs = Jobs::of(snapshot);
        let ties = Ties {
            arrival_us: jobs.arrival_us,
            id: jobs.id,
        };
        let scores: Vec<f32> = (0..jobs.len()).map(|row| self.score(&jobs, row)).collect();
        let slots = header.max_num_seqs.saturating_add(LOOKAHEAD);
        let run = ties.best(slots.min(header.plan_max) as usize, &scores);
        // Behind those that the list names stand the others; the host goes on along the list.
        let victims = ties.others_worst_first(&run, &scores, |row| jobs.gpu_blocks[row] > 0);
        Plan {
            run,
            victims,
            ..Plan::default()
        }
    }
}

export_policy!(Trail);

#[cfg(test)]
mod tests;
