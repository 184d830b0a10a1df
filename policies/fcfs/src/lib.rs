//! First come, first served: whoever arrived first gets a slot first and keeps it.

use elis_policy_sdk::select::Ties;
use elis_policy_sdk::{Info, Plan, Policy, Snapshot, Triggers, columns, export_policy, state};

columns! {
    /// What the rule reads of a job.
    struct Jobs {
        id: u64 = "job-id",
        arrival_us: u64 = "job-arrival-us",
        state: u32 = "job-state",
    }
}

/// The policy.
#[derive(Debug, Default)]
pub struct Fcfs;

impl Policy for Fcfs {
    fn info() -> Info {
        Info {
            name: "fcfs",
            version: env!("CARGO_PKG_VERSION"),
            summary: "First come, first served; nobody is preempted.",
            columns: Jobs::NAMES,
            // Nothing that happens changes the order of those who wait: the host asks when it has
            // come to the end of the list.
            triggers: Triggers::empty(),
            preemptive: false,
        }
    }

    fn decide(&mut self, snapshot: &Snapshot<'_>) -> Plan {
        let jobs = Jobs::of(snapshot);
        let ties = Ties {
            arrival_us: jobs.arrival_us,
            id: jobs.id,
        };
        // Those with a slot stand first: an earlier arrival that lost its slot, or was moved here,
        // must not take one away. Arrivals that a float cannot tell apart are ties, and those are
        // broken by arrival.
        let score = |row: usize| {
            if state::has_slot(jobs.state[row]) {
                f32::NEG_INFINITY
            } else {
                jobs.arrival_us[row] as f32
            }
        };
        let scores: Vec<f32> = (0..jobs.len()).map(score).collect();
        Plan {
            run: ties.best(snapshot.header.plan_max as usize, &scores),
            ..Plan::default()
        }
    }
}

export_policy!(Fcfs);

#[cfg(test)]
mod tests;
