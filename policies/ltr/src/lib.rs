//! Learning to rank: all jobs by a score that each gets once, with full preemption; whoever starves
//! comes to the front for a while.

use elis_policy_sdk::ageing::{Boost, Clock, Turn};
use elis_policy_sdk::select::Ties;
use elis_policy_sdk::{
    Header, Info, Plan, Policy, Preemption, Snapshot, Triggers, columns, config, export_policy,
};

/// Entries beyond the slots, so that the host can go on when a job finishes or does not fit.
const LOOKAHEAD: u32 = 16;

columns! {
    /// What the rule reads of a job.
    struct Jobs {
        id: u64 = "job-id",
        arrival_us: u64 = "job-arrival-us",
        rank: f32 = "job-rank-score",
        last_run_iteration: u64 = "job-last-run-iteration",
        generated_tokens: u32 = "job-generated-tokens",
        gpu_blocks: u32 = "job-gpu-blocks",
        state_a: u64 = "job-state-a",
        state_b: u64 = "job-state-b",
    }
}

/// The policy.
#[derive(Debug, Clone, Copy)]
pub struct Ltr {
    boost: Boost,
}

impl Default for Ltr {
    fn default() -> Self {
        Self {
            boost: Boost {
                idle_iterations: 200,
                runs: 10,
            },
        }
    }
}

/// When to ask again after so many iterations, if they take as long as the last one: half an
/// iteration earlier, since the host ends one that has begun before it asks. Where there are
/// windows, slots change hands at their ends, and the host asks then.
fn wake_up_us(header: &Header, iterations: u64) -> u64 {
    if header.window_tokens > 1 || header.last_iteration_us == 0 || iterations == u64::MAX {
        return 0;
    }
    let half_us = u64::from(header.last_iteration_us) / 2;
    let halves = iterations.saturating_mul(2).saturating_sub(1);
    header.now_us.saturating_add(half_us.saturating_mul(halves))
}

impl Policy for Ltr {
    fn info() -> Info {
        Info {
            name: "ltr",
            version: env!("CARGO_PKG_VERSION"),
            summary: "By learned rank, with a boost after 200 iterations without a run.",
            columns: Jobs::NAMES,
            triggers: Triggers::ARRIVAL
                | Triggers::FINISH
                | Triggers::WINDOW_END
                | Triggers::PREDICTION
                | Triggers::TIMER,
            preemptive: true,
        }
    }

    fn configure(&mut self, toml: &str) -> Result<(), String> {
        let config = config::parse(toml, &["idle_iterations", "boost_runs"])?;
        let runs = config.u64("boost_runs", self.boost.runs.into())?;
        self.boost = Boost {
            idle_iterations: config.u64("idle_iterations", self.boost.idle_iterations)?,
            runs: u32::try_from(runs).map_err(|_| "`boost_runs` must be below 2^32".to_owned())?,
        };
        Ok(())
    }

    fn decide(&mut self, snapshot: &Snapshot<'_>) -> Plan {
        let header = snapshot.header;
        let jobs = Jobs::of(snapshot);
        let turn = |row: usize| {
            let clock = Clock {
                last_run_iteration: jobs.last_run_iteration[row],
                generated_tokens: jobs.generated_tokens[row],
                words: [jobs.state_a[row], jobs.state_b[row]],
            };
            self.boost.turn(header.iteration, clock)
        };
        let turns: Vec<Turn> = (0..jobs.len()).map(turn).collect();
        let changed =
            |&(row, turn): &(usize, &Turn)| turn.words != [jobs.state_a[row], jobs.state_b[row]];
        let changed = turns.iter().enumerate().filter(changed);
        let mut states: Vec<(u64, [u64; 2])> = changed
            .map(|(row, turn)| (jobs.id[row], turn.words))
            .collect();
        // Rows come in no order, and a plan is to have one.
        states.sort_unstable();
        let ties = Ties {
            arrival_us: jobs.arrival_us,
            id: jobs.id,
        };
        let slots = header.max_num_seqs.saturating_add(LOOKAHEAD);
        let room = slots.min(header.plan_max) as usize;
        let mut run = ties.best_where(room, jobs.rank, |row| turns[row].boosted);
        let rest = room - run.len();
        run.extend(ties.best_where(rest, jobs.rank, |row| !turns[row].boosted));
        // Memory is taken from the back: behind all that the list names stand the others, and the
        // host goes on along the list by itself.
        let holds = |row: usize| jobs.gpu_blocks[row] > 0;
        let victims = ties.others_worst_first(&run, jobs.rank, holds);
        let stands_for = turns.iter().map(|turn| turn.stands_for).min();
        Plan {
            run,
            victims,
            victim_mode: if header.cpu_blocks_total > 0 {
                Preemption::Swap
            } else {
                Preemption::Recompute
            },
            state_jobs: states.iter().map(|&(id, _)| id).collect(),
            state_values: states.iter().flat_map(|&(_, words)| words).collect(),
            wake_up_us: wake_up_us(header, stands_for.unwrap_or(u64::MAX)),
            ..Plan::default()
        }
    }
}

export_policy!(Ltr);

#[cfg(test)]
mod tests;
