//! Shortest work first, on a tether: a job may be overtaken as long as it can still finish little
//! later than arrival order would have let it, or than that lets one in twenty.

mod memory;
mod share;
mod work;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use elis_policy_sdk::counters::Tenants;
use elis_policy_sdk::lengths::Seen;
use elis_policy_sdk::select::Ties;
use elis_policy_sdk::{
    Header, Info, Plan, Policy, Snapshot, Triggers, columns, config, export_policy, flags, joined,
    state,
};

use crate::memory::{Memory, Present};
use crate::share::Share;
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
        tenant: u32 = "job-tenant",
        flags: u32 = "job-flags",
        prompt_tokens: u32 = "job-prompt-tokens",
        computed_tokens: u32 = "job-computed-tokens",
        generated_tokens: u32 = "job-generated-tokens",
        remaining_tokens: f32 = "job-predicted-remaining-tokens",
        predicted_at_tokens: u32 = "job-predicted-at-tokens",
        sigma_tokens: f32 = "job-predicted-sigma-tokens",
    }
}

/// The columns of a job, then those of a tenant.
const TABLES: [&str; LENGTH_HISTOGRAM] = joined(Jobs::NAMES, Tenants::NAMES);

/// The column after these.
const LENGTH_HISTOGRAM: usize = Jobs::NAMES.len() + Tenants::NAMES.len();

/// All columns that it declares.
const COLUMNS: [&str; LENGTH_HISTOGRAM + 1] = joined(&TABLES, &["length-histogram"]);

/// The policy.
#[derive(Debug, Clone)]
pub struct Tether {
    /// How much later than by arrival a job may be.
    late: f32,
    max_slowdown: f32,
    true_slowdown: f32,
    /// Whether tenants share the service.
    fair: bool,
    memory: Memory,
    share: Share,
}

impl Default for Tether {
    fn default() -> Self {
        Self {
            late: 0.05,
            max_slowdown: 200.0,
            true_slowdown: 0.0,
            fair: false,
            memory: Memory::default(),
            share: Share::default(),
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
    fn of(jobs: &'a Jobs<'_>, work: &'a [Work], rows: impl Iterator<Item = usize>) -> Self {
        let mut rows: Vec<(u64, usize)> = rows.map(|row| (jobs.id[row], row)).collect();
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
    /// For each row, how many that are late stand before it in its line: who has fewer goes first.
    /// All jobs are one line; where tenants share the service, each tenant's are one.
    fn groups(&mut self, jobs: &Jobs<'_>, work: &[Work], h: &Header, giant: f32) -> Vec<u32> {
        let mut group = vec![0; jobs.len()];
        if !self.fair {
            let line = Line::of(jobs, work, 0..jobs.len());
            self.group(0, &line, h, giant, &mut group);
            self.memory.keep_only(h.worker, |tenant| tenant == 0);
            return group;
        }
        let mut tenants: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (row, &tenant) in jobs.tenant.iter().enumerate() {
            tenants.entry(tenant).or_default().push(row);
        }
        self.memory
            .keep_only(h.worker, |tenant| tenants.contains_key(&tenant));
        for (tenant, rows) in tenants {
            let line = Line::of(jobs, work, rows.into_iter());
            self.group(tenant, &line, h, giant, &mut group);
        }
        group
    }

    /// The same for one line.
    fn group(
        &mut self,
        tenant: u32,
        line: &Line<'_>,
        header: &Header,
        giant: f32,
        group: &mut [u32],
    ) {
        let late = self.late;
        let book = self.memory.of(header.worker, tenant);
        let slots = header.max_num_seqs as usize;
        let behind_us = book.advance(header.now_us, slots, &line.present);
        let ends_us = line.ends_us(header.now_us, book.slots());
        let times = ends_us.iter().zip(&behind_us);
        let fair_us: Vec<i64> = times
            .map(|(end, behind)| end.saturating_sub(*behind))
            .collect();
        let own = 1.0 + f64::from(late);
        let common_us = (1.0 + f64::from(late) / 2.0) * book.common_us(&fair_us) as f64;
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
    }

    /// The place of a row in the queue: first its group, inside it the least work.
    fn score(&self, jobs: &Jobs<'_>, row: usize, work: Work, group: u32, header: &Header) -> f32 {
        // A job inside its window keeps its slot in any case; first in line, it is not counted as
        // one that the others have to push out. Where KV is short, whoever is pushed out loses it.
        let short = header.gpu_blocks_free < header.gpu_blocks_total / SHORT;
        if jobs.flags[row] & flags::LOCKED != 0 || short && state::has_slot(jobs.state[row]) {
            return f32::NEG_INFINITY;
        }
        let age_us = since_us(header.now_us, jobs.arrival_us[row]);
        if let Some(overdue) = self.overdue(age_us, &work) {
            return overdue;
        }
        // Without a prediction it is the last of its group.
        if work.index_us.is_nan() {
            return group as f32 + 1.0;
        }
        let seconds = work.index_us / 1e6;
        let inside = 0.5 + 0.5 * seconds / (1.0 + seconds.abs());
        let alone_us = work.own_us.saturating_add(work.served_us).max(1);
        let slowdown = age_us.saturating_add(work.own_us) as f32 / alone_us as f32;
        if self.max_slowdown > 0.0 && slowdown > self.max_slowdown / 2.0 {
            return inside - 1.0;
        }
        group as f32 + inside
    }

    /// The score of a job that has been here for half of `true_slowdown` times the least that it
    /// can need alone, which no prediction is part of. Of several such, first who came to it first.
    fn overdue(&self, age_us: i64, work: &Work) -> Option<f32> {
        let due_us = self.true_slowdown / 2.0 * work.least_us;
        let over_s = (age_us as f32 - due_us) / 1e6;
        (self.true_slowdown > 0.0 && over_s > 0.0).then(|| -1.0 - over_s / (1.0 + over_s))
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
        let config = config::parse(toml, &["late", "max_slowdown", "true_slowdown", "fair"])?;
        self.late = config.f32("late", self.late)?;
        self.max_slowdown = config.f32("max_slowdown", self.max_slowdown)?;
        self.true_slowdown = config.f32("true_slowdown", self.true_slowdown)?;
        self.fair = config.bool("fair", self.fair)?;
        if self.late <= -1.0 {
            return Err("`late` must be larger than -1; 0.1 allows 10 % more".to_owned());
        }
        if self.max_slowdown < 0.0 {
            return Err("`max_slowdown` must not be negative; 0 turns it off".to_owned());
        }
        if self.true_slowdown < 0.0 {
            return Err("`true_slowdown` must not be negative; 0 turns it off".to_owned());
        }
        Ok(())
    }

    fn decide(&mut self, snapshot: &Snapshot<'_>) -> Plan {
        let header = snapshot.header;
        let jobs = Jobs::of(snapshot);
        let lengths = Seen::of(snapshot.column(LENGTH_HISTOGRAM));
        let reading_us = work::reading_us(&jobs, &lengths, header);
        let work: Vec<Work> = (0..jobs.len())
            .map(|row| Work::of(&jobs, row, &lengths, header, reading_us))
            .collect();
        let giant = lengths.giant(GIANT_ONE_IN, GIANT_MEANS);
        let group = self.groups(&jobs, &work, header, giant);
        let rows = work.iter().zip(&group).enumerate();
        let scores: Vec<f32> = rows
            .map(|(row, (&work, &group))| self.score(&jobs, row, work, group, header))
            .collect();
        let count = header
            .max_num_seqs
            .saturating_add(LOOKAHEAD)
            .min(header.plan_max) as usize;
        let run = if self.fair {
            let tenants = Tenants::after(snapshot, Jobs::NAMES.len());
            self.share.order(count, header, &jobs, &tenants, &scores)
        } else {
            let ties = Ties {
                arrival_us: jobs.arrival_us,
                id: jobs.id,
            };
            ties.best(count, &scores)
        };
        Plan {
            run,
            ..Plan::default()
        }
    }

    fn export_state(&self) -> Vec<u8> {
        let mut state = self.share.export();
        state.extend(self.memory.export());
        state
    }

    fn import_state(&mut self, state: &[u8]) -> Result<(), String> {
        let (share, state) = Share::import(state)?;
        self.memory = Memory::import(state)?;
        self.share = share;
        Ok(())
    }
}

export_policy!(Tether);

#[cfg(test)]
mod tests;
