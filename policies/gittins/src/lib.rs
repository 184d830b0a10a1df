//! The Gittins index: whoever is likely to finish soonest for the least work, by the distribution
//! of what is still to come.

use elis_policy_sdk::lengths::{Gittins as Index, Law};
use elis_policy_sdk::select::Ties;
use elis_policy_sdk::{Info, Plan, Policy, Snapshot, Triggers, columns, config, export_policy};

/// Entries beyond the slots, so that the host can go on when a job finishes or does not fit.
const LOOKAHEAD: u32 = 16;

/// Tokens of one bin of `length-histogram`.
const BIN_TOKENS: f32 = 64.0;

columns! {
    /// What the rule reads of a job.
    struct Jobs {
        id: u64 = "job-id",
        arrival_us: u64 = "job-arrival-us",
        remaining_tokens: f32 = "job-predicted-remaining-tokens",
        sigma_tokens: f32 = "job-predicted-sigma-tokens",
        predicted_at_tokens: u32 = "job-predicted-at-tokens",
        generated_tokens: u32 = "job-generated-tokens",
    }
}

/// The columns of [`Jobs`], and the lengths of recent responses behind them.
const COLUMNS: [&str; Jobs::NAMES.len() + 1] = {
    let mut names = ["length-histogram"; Jobs::NAMES.len() + 1];
    names
        .split_at_mut(Jobs::NAMES.len())
        .0
        .copy_from_slice(Jobs::NAMES);
    names
};

/// The policy.
#[derive(Debug, Clone, Default)]
pub struct Gittins {
    log_normal: bool,
    index: Index,
}

impl Gittins {
    /// The index of a job of which nothing is known but that it is one of many.
    fn unpredicted(&mut self, histogram: &[u32], generated_tokens: u32) -> f32 {
        let law = Law::Histogram {
            counts: histogram,
            bin_tokens: BIN_TOKENS,
        };
        self.index.index(law, generated_tokens as f32)
    }

    /// The index of a job by its prediction.
    fn predicted(&mut self, jobs: &Jobs<'_>, row: usize) -> f32 {
        let (mean, sigma) = (jobs.remaining_tokens[row], jobs.sigma_tokens[row]);
        let law = if sigma.is_nan() || sigma <= 0.0 {
            Law::Known(mean)
        } else if self.log_normal {
            Law::LogNormal { mean, sigma }
        } else {
            Law::Normal { mean, sigma }
        };
        let since = jobs.generated_tokens[row].saturating_sub(jobs.predicted_at_tokens[row]);
        self.index.index(law, since as f32)
    }
}

impl Policy for Gittins {
    fn info() -> Info {
        Info {
            name: "gittins",
            version: env!("CARGO_PKG_VERSION"),
            summary: "Least Gittins index of the predicted remaining length.",
            columns: &COLUMNS,
            triggers: Triggers::ARRIVAL
                | Triggers::FINISH
                | Triggers::WINDOW_END
                | Triggers::PREDICTION,
            preemptive: true,
        }
    }

    fn configure(&mut self, toml: &str) -> Result<(), String> {
        self.log_normal = match config::parse(toml, &["law"])?.str("law", "normal")? {
            "normal" => false,
            "log-normal" => true,
            other => return Err(format!("`law` must be normal or log-normal, not {other}")),
        };
        Ok(())
    }

    fn decide(&mut self, snapshot: &Snapshot<'_>) -> Plan {
        let header = snapshot.header;
        let jobs = Jobs::of(snapshot);
        let histogram = snapshot.column(Jobs::NAMES.len());
        let ties = Ties {
            arrival_us: jobs.arrival_us,
            id: jobs.id,
        };
        // Most that nobody predicts have not begun, and all of those are alike.
        let fresh = self.unpredicted(histogram, 0);
        let score = |row: usize| {
            if !jobs.remaining_tokens[row].is_nan() {
                self.predicted(&jobs, row)
            } else if jobs.generated_tokens[row] == 0 {
                fresh
            } else {
                self.unpredicted(histogram, jobs.generated_tokens[row])
            }
        };
        let scores: Vec<f32> = (0..jobs.len()).map(score).collect();
        let slots = header.max_num_seqs.saturating_add(LOOKAHEAD);
        Plan {
            // Victims need no list of their own: the host takes them from the end of this one.
            run: ties.best(slots.min(header.plan_max) as usize, &scores),
            ..Plan::default()
        }
    }
}

export_policy!(Gittins);

#[cfg(test)]
mod tests;
