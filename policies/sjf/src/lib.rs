//! Shortest job first: by the first prediction of the whole response, without preemption.

use elis_policy_sdk::select::Ties;
use elis_policy_sdk::{Info, Plan, Policy, Snapshot, Triggers, columns, export_policy, state};

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
#[derive(Debug, Default)]
pub struct Sjf;

impl Policy for Sjf {
    fn info() -> Info {
        Info {
            name: "sjf",
            version: env!("CARGO_PKG_VERSION"),
            summary: "Shortest predicted response first; nobody is preempted.",
            columns: Jobs::NAMES,
            // A finish needs no new plan: the list already says who takes the slot.
            triggers: Triggers::ARRIVAL | Triggers::PREDICTION,
            preemptive: false,
        }
    }

    fn decide(&mut self, snapshot: &Snapshot<'_>) -> Plan {
        let jobs = Jobs::of(snapshot);
        let ties = Ties {
            arrival_us: jobs.arrival_us,
            id: jobs.id,
        };
        let has_slot = |row: usize| state::has_slot(jobs.state[row]);
        let room = snapshot.header.plan_max as usize;
        let mut run = ties.best_where(room, jobs.total_tokens, has_slot);
        // When memory runs out the longest goes first, as the reverse order of `run` already says;
        // naming those with a slot keeps a waiting job from being named before them.
        let victims = run.iter().rev().copied().collect();
        let rest = room - run.len();
        run.extend(ties.best_where(rest, jobs.total_tokens, |row| !has_slot(row)));
        Plan {
            run,
            victims,
            ..Plan::default()
        }
    }
}

export_policy!(Sjf);

#[cfg(test)]
mod tests;
