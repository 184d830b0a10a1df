//! Shortest work first, on a tether: a job may be overtaken as long as it can still finish no later
//! than arrival order would have let it, or than the slowest of its busy period.

mod work;

use elis_policy_sdk::select::Ties;
use elis_policy_sdk::{
    Info, Plan, Policy, Snapshot, Triggers, columns, config, export_policy, flags,
};

use crate::work::{Lengths, Work};

/// Entries beyond the slots, so that the host can go on when a job finishes or does not fit.
const LOOKAHEAD: u32 = 16;

/// How much of the worst time in arrival order each arrival passes on: half is forgotten after 69.
const MEMORY: f64 = 0.99;

columns! {
    /// What the rule reads of a job.
    struct Jobs {
        id: u64 = "job-id",
        arrival_us: u64 = "job-arrival-us",
        flags: u32 = "job-flags",
        prompt_tokens: u32 = "job-prompt-tokens",
        computed_tokens: u32 = "job-computed-tokens",
        generated_tokens: u32 = "job-generated-tokens",
        remaining_tokens: f32 = "job-predicted-remaining-tokens",
        predicted_at_tokens: u32 = "job-predicted-at-tokens",
        sigma_tokens: f32 = "job-predicted-sigma-tokens",
        fair_us: u64 = "job-state-a",
        worst_us: u64 = "job-state-b",
    }
}

/// The column after those of the jobs.
const LENGTH_HISTOGRAM: usize = Jobs::NAMES.len();

/// The columns that it declares: those of a job, then the histogram.
const COLUMNS: [&str; LENGTH_HISTOGRAM + 1] = {
    let mut all = ["length-histogram"; LENGTH_HISTOGRAM + 1];
    let mut at = 0;
    while at < LENGTH_HISTOGRAM {
        all[at] = Jobs::NAMES[at];
        at += 1;
    }
    all
};

/// The policy.
#[derive(Debug, Clone, Copy)]
pub struct Tether {
    /// How much later than by arrival a job may be; below 0 a margin for errors of prediction.
    late: f32,
    max_slowdown: f32,
}

impl Default for Tether {
    fn default() -> Self {
        Self {
            late: -0.05,
            max_slowdown: 200.0,
        }
    }
}

/// What was found out about each row, and what to remember of those seen for the first time.
struct Standing {
    /// Jobs before it in arrival order, or itself, would be late if it had to wait: how many such
    /// stand before it. Who has fewer goes first.
    group: Vec<u32>,
    state_jobs: Vec<u64>,
    state_values: Vec<u64>,
}

impl Tether {
    /// Walks the jobs in arrival order, as if the worker did from now on, and sees who is late.
    fn standing(self, jobs: &Jobs<'_>, work: &[Work], now_us: u64) -> Standing {
        let mut rows: Vec<(u64, u32)> = jobs.id.iter().copied().zip(0..).collect();
        rows.sort_unstable();
        let mut worst_us = jobs.worst_us.iter().copied().max().unwrap_or(0);
        let mut standing = Standing {
            group: vec![0; jobs.len()],
            state_jobs: Vec::new(),
            state_values: Vec::new(),
        };
        let mut ahead_us = 0u64;
        // Of each job in arrival order: its row, its time if the rest goes by arrival, and the time
        // that arrival order would have given it.
        let mut line = Vec::with_capacity(rows.len());
        for (id, row) in rows {
            let row = row as usize;
            let age_us = now_us.saturating_sub(jobs.arrival_us[row]);
            let ends_us = age_us
                .saturating_add(ahead_us)
                .saturating_add(work[row].own_us);
            ahead_us = ahead_us.saturating_add(work[row].machine_us);
            let mut fair_us = jobs.fair_us[row];
            if fair_us == 0 {
                fair_us = ends_us.max(1);
                worst_us = fair_us.max((worst_us as f64 * MEMORY) as u64);
                standing.state_jobs.push(id);
                standing.state_values.extend([fair_us, worst_us]);
            }
            line.push((row, ends_us, fair_us));
        }
        let slack = 1.0 + f64::from(self.late);
        let mut late = 0;
        for (row, ends_us, fair_us) in line {
            standing.group[row] = late;
            late += u32::from(ends_us as f64 > slack * fair_us.max(worst_us) as f64);
        }
        standing
    }

    /// The place of a row in the queue: first its group, inside it the least work.
    fn score(self, jobs: &Jobs<'_>, row: usize, work: Work, group: u32, now_us: u64) -> f32 {
        // A job inside its window keeps its slot in any case; first in line, it is not counted as
        // one that the others have to push out.
        if jobs.flags[row] & flags::LOCKED != 0 {
            return f32::NEG_INFINITY;
        }
        // Without a prediction it is the last of its group.
        if work.index_us.is_nan() {
            return group as f32 + 1.0;
        }
        let seconds = work.index_us / 1e6;
        let inside = 0.5 + 0.5 * seconds / (1.0 + seconds.abs());
        let age_us = now_us.saturating_sub(jobs.arrival_us[row]);
        let slowdown = age_us.saturating_add(work.own_us) as f32
            / work.own_us.saturating_add(work.served_us).max(1) as f32;
        if self.max_slowdown > 0.0 && slowdown > self.max_slowdown / 2.0 {
            return inside - 1.0;
        }
        group as f32 + inside
    }
}

impl Policy for Tether {
    fn info() -> Info {
        Info {
            name: "tether",
            version: env!("CARGO_PKG_VERSION"),
            summary: "Least work first, as long as nobody ends later than by arrival.",
            columns: &COLUMNS,
            triggers: Triggers::ARRIVAL
                | Triggers::FINISH
                | Triggers::WINDOW_END
                | Triggers::PREDICTION,
            preemptive: true,
        }
    }

    fn configure(&mut self, toml: &str) -> Result<(), String> {
        let config = config::parse(toml, &["late", "max_slowdown"])?;
        self.late = config.f32("late", self.late)?;
        self.max_slowdown = config.f32("max_slowdown", self.max_slowdown)?;
        if self.late <= -1.0 {
            return Err("`late` must be larger than -1; 0.1 allows 10 % more".to_owned());
        }
        if self.max_slowdown < 0.0 {
            return Err("`max_slowdown` must not be negative; 0 turns it off".to_owned());
        }
        Ok(())
    }

    fn decide(&mut self, snapshot: &Snapshot<'_>) -> Plan {
        let header = snapshot.header;
        let jobs = Jobs::of(snapshot);
        let lengths = Lengths::of(snapshot.column(LENGTH_HISTOGRAM));
        let work: Vec<Work> = (0..jobs.len())
            .map(|row| Work::of(&jobs, row, lengths, header))
            .collect();
        let standing = self.standing(&jobs, &work, header.now_us);
        let rows = work.iter().zip(&standing.group).enumerate();
        let scores: Vec<f32> = rows
            .map(|(row, (&work, &group))| self.score(&jobs, row, work, group, header.now_us))
            .collect();
        let ties = Ties {
            arrival_us: jobs.arrival_us,
            id: jobs.id,
        };
        let count = header
            .max_num_seqs
            .saturating_add(LOOKAHEAD)
            .min(header.plan_max);
        Plan {
            run: ties.best(count as usize, &scores),
            state_jobs: standing.state_jobs,
            state_values: standing.state_values,
            ..Plan::default()
        }
    }
}

export_policy!(Tether);

#[cfg(test)]
mod tests;
