//! Shortest work first, on a tether: a job may be overtaken as long as it can still finish little
//! later than arrival order would have let it, or than that lets one in twenty.

mod memory;
mod work;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use elis_policy_sdk::lengths::Seen;
use elis_policy_sdk::select::Ties;
use elis_policy_sdk::{
    Header, Info, Plan, Policy, Snapshot, Triggers, columns, config, export_policy, flags, state,
};

use crate::memory::{Book, Memory, Present};
use crate::work::Work;

/// Entries beyond the slots, so that the host can go on when a job finishes or does not fit.
const LOOKAHEAD: u32 = 16;

/// KV is short where less than one block in so many is free.
const SHORT: u32 = 10;

/// A response is a giant if at most one in so many is longer, and it is so many times the mean.
const GIANT_ONE_IN: f32 = 200.0;
const GIANT_MEANS: f32 = 10.0;

/// A giant may take this multiple of its own time before it counts as late.
const GIANT_SLOWDOWN: i64 = 10;

columns! {
    /// What the rule reads of a job.
    struct Jobs {
        id: u64 = "job-id",
        arrival_us: u64 = "job-arrival-us",
        state: u32 = "job-state",
        flags: u32 = "job-flags",
        prompt_tokens: u32 = "job-prompt-tokens",
        computed_tokens: u32 = "job-computed-tokens",
        generated_tokens: u32 = "job-generated-tokens",
        remaining_tokens: f32 = "job-predicted-remaining-tokens",
        predicted_at_tokens: u32 = "job-predicted-at-tokens",
        sigma_tokens: f32 = "job-predicted-sigma-tokens",
    }
}

/// The column after those of the jobs.
const LENGTH_HISTOGRAM: usize = Jobs::NAMES.len();

/// The columns that it declares: those of a job, then the histogram.
const COLUMNS: [&str; LENGTH_HISTOGRAM + 1] =
    elis_policy_sdk::joined(Jobs::NAMES, &["length-histogram"]);

/// The policy.
#[derive(Debug, Clone)]
pub struct Tether {
    /// How much later than by arrival a job may be.
    late: f32,
    max_slowdown: f32,
    memory: Memory,
}

impl Default for Tether {
    fn default() -> Self {
        Self {
            late: 0.06,
            max_slowdown: 200.0,
            memory: Memory::default(),
        }
    }
}

/// How long ago that was; 0 if it is still to come.
fn since_us(now_us: u64, then_us: u64) -> i64 {
    i64::try_from(now_us.saturating_sub(then_us)).unwrap_or(i64::MAX)
}

/// The jobs in arrival order.
struct Line<'a> {
    jobs: &'a Jobs<'a>,
    work: &'a [Work],
    /// The row of each, and what the memory needs of it.
    rows: Vec<usize>,
    present: Vec<Present>,
}

impl<'a> Line<'a> {
    fn of(jobs: &'a Jobs<'_>, work: &'a [Work]) -> Self {
        let mut rows: Vec<(u64, usize)> = jobs.id.iter().copied().zip(0..).collect();
        rows.sort_unstable();
        let present = |&(id, row): &(u64, usize)| Present {
            id,
            has_slot: state::has_slot(jobs.state[row]),
        };
        Self {
            jobs,
            work,
            present: rows.iter().map(present).collect(),
            rows: rows.iter().map(|&(_, row)| row).collect(),
        }
    }

    /// When each ends, counted from its arrival, if all goes by arrival from now on: the next
    /// always takes the slot that is free first.
    fn ends_us(&self, now_us: u64, slots: usize) -> Vec<i64> {
        let mut free_us: BinaryHeap<Reverse<i64>> = (0..slots).map(|_| Reverse(0)).collect();
        let ends = |&row: &usize| {
            let mut end_us = self.work[row].own_us;
            if let Some(mut first) = free_us.peek_mut() {
                end_us = end_us.saturating_add(first.0);
                first.0 = end_us;
            }
            end_us.saturating_add(since_us(now_us, self.jobs.arrival_us[row]))
        };
        self.rows.iter().map(ends).collect()
    }
}

impl Tether {
    /// Sees who is late, and gives for each row how many such stand before it in arrival order: who
    /// has fewer goes first.
    fn groups(&self, line: &Line<'_>, book: &mut Book, header: &Header, giant: f32) -> Vec<u32> {
        let slots = header.max_num_seqs as usize;
        let behind_us = book.advance(header.now_us, slots, &line.present);
        let ends_us = line.ends_us(header.now_us, book.slots());
        let times = ends_us.iter().zip(&behind_us);
        let fair_us: Vec<i64> = times
            .map(|(end, behind)| end.saturating_sub(*behind))
            .collect();
        let own = 1.0 + f64::from(self.late);
        let common_us = (1.0 + f64::from(self.late) / 2.0) * book.common_us(&fair_us) as f64;
        let mut group = vec![0; line.rows.len()];
        let mut late = 0;
        for (at, &row) in line.rows.iter().enumerate() {
            // Nobody loses a slot because others are late, only to less work.
            group[row] = if line.present[at].has_slot { 0 } else { late };
            let mut due_us = common_us.max(own * fair_us[at] as f64);
            let work = &line.work[row];
            if work.response_tokens > giant {
                let alone_us = work.own_us.saturating_add(work.served_us);
                due_us = due_us.max(GIANT_SLOWDOWN.saturating_mul(alone_us) as f64);
            }
            late += u32::from(ends_us[at] as f64 > due_us);
        }
        book.keep(&line.present, &behind_us, &fair_us);
        group
    }

    /// The place of a row in the queue: first its group, inside it the least work.
    fn score(&self, jobs: &Jobs<'_>, row: usize, work: Work, group: u32, header: &Header) -> f32 {
        // A job inside its window keeps its slot in any case; first in line, it is not counted as
        // one that the others have to push out. Where KV is short, whoever is pushed out loses it.
        let short = header.gpu_blocks_free < header.gpu_blocks_total / SHORT;
        if jobs.flags[row] & flags::LOCKED != 0 || short && state::has_slot(jobs.state[row]) {
            return f32::NEG_INFINITY;
        }
        // Without a prediction it is the last of its group.
        if work.index_us.is_nan() {
            return group as f32 + 1.0;
        }
        let seconds = work.index_us / 1e6;
        let inside = 0.5 + 0.5 * seconds / (1.0 + seconds.abs());
        let age_us = since_us(header.now_us, jobs.arrival_us[row]);
        let alone_us = work.own_us.saturating_add(work.served_us).max(1);
        let slowdown = age_us.saturating_add(work.own_us) as f32 / alone_us as f32;
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
            summary: "Least work first, as long as nobody ends much later than by arrival.",
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
        let lengths = Seen::of(snapshot.column(LENGTH_HISTOGRAM));
        let work: Vec<Work> = (0..jobs.len())
            .map(|row| Work::of(&jobs, row, &lengths, header))
            .collect();
        let mut book = std::mem::take(self.memory.of(header.worker));
        let giant = lengths.giant(GIANT_ONE_IN, GIANT_MEANS);
        let group = self.groups(&Line::of(&jobs, &work), &mut book, header, giant);
        *self.memory.of(header.worker) = book;
        let rows = work.iter().zip(&group).enumerate();
        let scores: Vec<f32> = rows
            .map(|(row, (&work, &group))| self.score(&jobs, row, work, group, header))
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
            ..Plan::default()
        }
    }

    fn export_state(&self) -> Vec<u8> {
        self.memory.export()
    }

    fn import_state(&mut self, state: &[u8]) -> Result<(), String> {
        self.memory = Memory::import(state)?;
        Ok(())
    }
}

export_policy!(Tether);

#[cfg(test)]
mod tests;
