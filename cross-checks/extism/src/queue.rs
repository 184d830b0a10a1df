//! The queue that both sides decide over, as the columns of the one and the records of the other.

use elis_scheduler::columns::{JobRow, JobTable, TenantTable};
use elis_scheduler::snapshot::{Header, Snapshot, Triggers};
use serde::Serialize;

/// Jobs that a decision picks.
pub const PICKED: u32 = 64;

/// A job as a record of 12 fields.
#[derive(Debug, Clone, Serialize)]
pub struct Job {
    id: u64,
    arrival_us: u64,
    state: u32,
    flags: u32,
    priority: u32,
    tenant: u32,
    prompt_tokens: u32,
    generated_tokens: u32,
    gpu_blocks: u32,
    predicted_remaining_tokens: Option<f32>,
    predicted_at_tokens: u32,
    deadline_us: u64,
}

/// A job as a record of only the 6 fields that the rule reads.
#[derive(Debug, Clone, Serialize)]
pub struct ShortJob {
    id: u64,
    arrival_us: u64,
    flags: u32,
    generated_tokens: u32,
    predicted_remaining_tokens: Option<f32>,
    predicted_at_tokens: u32,
}

/// The same jobs three times.
#[derive(Debug)]
pub struct Queue {
    columns: JobTable,
    tenants: TenantTable,
    /// For Extism, whole.
    pub jobs: Vec<Job>,
    /// For Extism, what the rule reads.
    pub short_jobs: Vec<ShortJob>,
}

/// A fixed sequence of well spread numbers.
struct Spread(u64);

impl Spread {
    /// The next number below `end`. SplitMix64.
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % u64::from(end)) as u32
    }
}

impl Queue {
    /// A queue of that many jobs, of which the first hold slots.
    pub fn new(jobs: usize) -> Self {
        let mut spread = Spread(jobs as u64);
        let rows: Vec<JobRow> = (0..jobs as u64)
            .map(|i| row(i, i < u64::from(PICKED), jobs, &mut spread))
            .collect();
        let mut columns = JobTable::default();
        rows.iter().for_each(|&row| columns.push(row));
        Self {
            columns,
            tenants: TenantTable::default(),
            jobs: rows.iter().map(Job::of).collect(),
            short_jobs: rows.iter().map(ShortJob::of).collect(),
        }
    }

    /// For Elis: nothing is copied.
    pub fn snapshot(&self) -> Snapshot<'_> {
        let jobs = self.columns.len() as u32;
        Snapshot {
            header: Header {
                now_us: u64::from(jobs) * 10_000,
                fired: Triggers::ALL,
                workers: 1,
                running: jobs.min(PICKED),
                waiting: jobs.saturating_sub(PICKED),
                max_num_seqs: PICKED,
                max_batched_tokens: 8_192,
                window_tokens: 50,
                // The policy adds a few to the slots for the host to fall back on; not here.
                plan_max: PICKED,
                block_size_tokens: 16,
                gpu_blocks_total: 10_000,
                gpu_blocks_free: 2_000,
                ..Header::default()
            },
            jobs: &self.columns,
            tenants: &self.tenants,
            length_histogram: &[],
        }
    }
}

fn row(i: u64, running: bool, jobs: usize, spread: &mut Spread) -> JobRow {
    let total = spread.below(1_000) + 1;
    let generated = if running { spread.below(total) } else { 0 };
    let prompt = spread.below(2_000) + 1;
    // Some jobs have no prediction, and some arrive together.
    let predicted = if i % 50 == 49 {
        f32::NAN
    } else {
        total as f32 * 1.1
    };
    let arrival_us = 1_700_000_000_000_000 + i / 3 * 10_000;
    // The few whose window has not ended are fewer than the places, or there would be no choice.
    let locked = running && jobs > PICKED as usize && spread.below(4) == 0;
    JobRow {
        id: i + 1,
        state: if running { 2 } else { 0 },
        flags: if locked { 2 } else { 0 },
        priority: 100,
        tenant: spread.below(8),
        arrival_us,
        prompt_tokens: prompt,
        generated_tokens: generated,
        gpu_blocks: if running {
            (prompt + generated).div_ceil(16)
        } else {
            0
        },
        predicted_remaining_tokens: predicted - (generated / 50 * 50) as f32,
        predicted_at_tokens: generated / 50 * 50,
        deadline_us: arrival_us + 20_000_000,
        ..JobRow::default()
    }
}

impl Job {
    fn of(row: &JobRow) -> Self {
        Self {
            id: row.id,
            arrival_us: row.arrival_us,
            state: row.state,
            flags: row.flags,
            priority: row.priority,
            tenant: row.tenant,
            prompt_tokens: row.prompt_tokens,
            generated_tokens: row.generated_tokens,
            gpu_blocks: row.gpu_blocks,
            predicted_remaining_tokens: known(row.predicted_remaining_tokens),
            predicted_at_tokens: row.predicted_at_tokens,
            deadline_us: row.deadline_us,
        }
    }
}

impl ShortJob {
    fn of(row: &JobRow) -> Self {
        Self {
            id: row.id,
            arrival_us: row.arrival_us,
            flags: row.flags,
            generated_tokens: row.generated_tokens,
            predicted_remaining_tokens: known(row.predicted_remaining_tokens),
            predicted_at_tokens: row.predicted_at_tokens,
        }
    }
}

/// JSON has no NaN.
fn known(prediction: f32) -> Option<f32> {
    (!prediction.is_nan()).then_some(prediction)
}
