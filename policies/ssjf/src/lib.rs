//! Speculative shortest job first: by predicted execution time, without preemption, until somebody
//! starves; then by arrival.

use elis_policy_sdk::select::Ties;
use elis_policy_sdk::{
    Info, Plan, Policy, Snapshot, Triggers, columns, config, export_policy, state,
};

/// Entries beyond the slots. Whether somebody starves changes with time, so a longer list would
/// only grow old.
const LOOKAHEAD: u32 = 16;

columns! {
    /// What the rule reads of a job.
    struct Jobs {
        id: u64 = "job-id",
        arrival_us: u64 = "job-arrival-us",
        state: u32 = "job-state",
        total_tokens: f32 = "job-predicted-total-tokens",
    }
}

/// The policy.
#[derive(Debug, Clone, Copy)]
pub struct Ssjf {
    starves_after_s: f32,
    starves_after_durations: f32,
    token_ms: f32,
    request_ms: f32,
}

impl Default for Ssjf {
    fn default() -> Self {
        Self {
            starves_after_s: 100.0,
            starves_after_durations: 10.0,
            token_ms: 20.0,
            request_ms: 100.0,
        }
    }
}

impl Ssjf {
    /// Whether a job has waited too long for one of its length; a limit of 0 is none.
    fn starves(self, waited_us: u64, total_tokens: f32) -> bool {
        let waited_s = waited_us as f32 / 1e6;
        let duration_s = (self.request_ms + self.token_ms * total_tokens) / 1e3;
        let beyond = |limit_s: f32| limit_s > 0.0 && waited_s > limit_s;
        beyond(self.starves_after_s) || beyond(self.starves_after_durations * duration_s)
    }
}

impl Policy for Ssjf {
    fn info() -> Info {
        Info {
            name: "ssjf",
            version: env!("CARGO_PKG_VERSION"),
            summary: "Shortest predicted job first, by arrival while the longest waiter starves.",
            columns: Jobs::NAMES,
            // Nobody is asked while all slots are taken, so a finish is a round of the authors'.
            triggers: Triggers::ARRIVAL | Triggers::FINISH | Triggers::PREDICTION,
            preemptive: false,
        }
    }

    fn configure(&mut self, toml: &str) -> Result<(), String> {
        let mut options = [
            ("starves_after_s", &mut self.starves_after_s),
            ("starves_after_durations", &mut self.starves_after_durations),
            ("token_ms", &mut self.token_ms),
            ("request_ms", &mut self.request_ms),
        ];
        let config = config::parse(toml, &options.each_ref().map(|(key, _)| *key))?;
        for (key, value) in &mut options {
            **value = config.f32(key, **value)?;
            if **value < 0.0 {
                return Err(format!("`{key}` must not be negative"));
            }
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
        let has_slot = |row: usize| state::has_slot(jobs.state[row]);
        let lookahead = header.max_num_seqs.saturating_add(LOOKAHEAD);
        let room = lookahead.min(header.plan_max) as usize;
        let mut run = ties.best_where(room, jobs.total_tokens, has_slot);
        // When memory runs out the longest goes first; naming those with a slot keeps a waiting job
        // from being named before them.
        let victims = run.iter().rev().copied().collect();
        let waiting = (0..jobs.len()).filter(|&row| !has_slot(row));
        let longest = waiting.min_by_key(|&row| (jobs.arrival_us[row], jobs.id[row]));
        let starving = longest.is_some_and(|row| {
            let waited_us = header.now_us.saturating_sub(jobs.arrival_us[row]);
            self.starves(waited_us, jobs.total_tokens[row])
        });
        let rest = room - run.len();
        run.extend(if starving {
            // Equal scores come by arrival.
            ties.best_where(rest, &vec![0.0; jobs.len()], |row| !has_slot(row))
        } else {
            ties.best_where(rest, jobs.total_tokens, |row| !has_slot(row))
        });
        Plan {
            run,
            victims,
            ..Plan::default()
        }
    }
}

export_policy!(Ssjf);

#[cfg(test)]
mod tests;
