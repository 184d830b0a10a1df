//! Iterative shortest remaining time first, the policy of the ELIS paper: at each boundary the jobs
//! with the fewest predicted remaining tokens run, whoever ran before.

use elis_policy_sdk::lanes::{F32s, U32s};
use elis_policy_sdk::select::Ties;
use elis_policy_sdk::{
    Info, Plan, Policy, Snapshot, Triggers, columns, config, export_policy, flags,
};

/// Entries beyond the slots, so that the host can go on when a job finishes or does not fit.
const LOOKAHEAD: u32 = 16;

columns! {
    /// What the rule reads of a job.
    struct Jobs {
        id: u64 = "job-id",
        arrival_us: u64 = "job-arrival-us",
        flags: u32 = "job-flags",
        remaining_tokens: f32 = "job-predicted-remaining-tokens",
        predicted_at_tokens: u32 = "job-predicted-at-tokens",
        generated_tokens: u32 = "job-generated-tokens",
    }
}

/// The policy.
#[derive(Debug, Clone, Copy)]
pub struct Isrtf {
    count_down: bool,
    ageing_tokens_per_s: f32,
}

impl Default for Isrtf {
    fn default() -> Self {
        Self {
            count_down: true,
            ageing_tokens_per_s: 0.0,
        }
    }
}

impl Isrtf {
    /// The tokens that each job of a group still needs, as far as they count for its place in the
    /// queue.
    #[inline(always)]
    fn score(self, jobs: &Jobs<'_>, first: usize, now_us: u64) -> F32s {
        let mut score = F32s::load(jobs.remaining_tokens, first);
        if self.count_down {
            let predicted_at = U32s::load(jobs.predicted_at_tokens, first);
            let since = U32s::load(jobs.generated_tokens, first).saturating_sub(predicted_at);
            score = (score - since.cast_signed_f32()).floor_at_zero();
        }
        if self.ageing_tokens_per_s > 0.0 {
            score = self.aged(score, &jobs.arrival_us[first..], now_us);
        }
        // A job inside its window keeps its slot in any case; first in line, it is not counted as
        // one that the others have to push out.
        let bits = U32s::load(jobs.flags, first);
        score.replace_where(bits, flags::LOCKED, f32::NEG_INFINITY)
    }

    #[cold]
    fn aged(self, score: F32s, arrival_us: &[u64], now_us: u64) -> F32s {
        let mut scores = score.to_array();
        for (score, &arrival_us) in scores.iter_mut().zip(arrival_us) {
            let age_s = now_us.saturating_sub(arrival_us) as f32 / 1e6;
            *score -= self.ageing_tokens_per_s * age_s;
        }
        F32s::from_array(scores)
    }
}

impl Policy for Isrtf {
    fn info() -> Info {
        Info {
            name: "isrtf",
            version: env!("CARGO_PKG_VERSION"),
            summary: "Fewest predicted remaining tokens first, predicted anew at each window.",
            columns: Jobs::NAMES,
            triggers: Triggers::ARRIVAL
                | Triggers::FINISH
                | Triggers::WINDOW_END
                | Triggers::PREDICTION,
            preemptive: true,
        }
    }

    fn configure(&mut self, toml: &str) -> Result<(), String> {
        let config = config::parse(toml, &["count_down", "ageing_tokens_per_s"])?;
        self.count_down = config.bool("count_down", self.count_down)?;
        self.ageing_tokens_per_s = config.f32("ageing_tokens_per_s", self.ageing_tokens_per_s)?;
        if self.ageing_tokens_per_s < 0.0 {
            return Err("`ageing_tokens_per_s` must not be negative; 0 turns it off".to_owned());
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
        let count = header
            .max_num_seqs
            .saturating_add(LOOKAHEAD)
            .min(header.plan_max);
        Plan {
            // Victims need no list of their own: the host takes them from the end of this one, and
            // there stands the job with the most remaining, before those inside a window.
            run: ties.best_by(count as usize, |first| {
                self.score(&jobs, first, header.now_us)
            }),
            ..Plan::default()
        }
    }
}

export_policy!(Isrtf);

#[cfg(test)]
mod tests;
