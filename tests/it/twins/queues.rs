//! Queues as a policy may find them, sensible or not.

use std::ops::Range;

use elis_scheduler::columns::{JobRow, JobTable, TenantRow, TenantTable};
use elis_scheduler::limits::HISTOGRAM_BINS;
use elis_scheduler::snapshot::{Header, Snapshot, Triggers};
use proptest::collection::vec;
use proptest::prelude::*;

/// A queue that lends itself as a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    pub(crate) header: Header,
    pub(crate) jobs: JobTable,
    tenants: TenantTable,
    histogram: Vec<u32>,
}

impl Queue {
    fn new(header: Header, rows: &[JobRow]) -> Self {
        let mut jobs = JobTable::default();
        for row in rows {
            jobs.push(*row);
        }
        let running = rows.iter().filter(|row| (1..=2).contains(&row.state));
        let running = running.count() as u32;
        let mut tenants = TenantTable::default();
        tenants.push(TenantRow {
            weight: 1.0,
            running,
            waiting: rows.len() as u32 - running,
            ..TenantRow::default()
        });
        Self {
            header: Header {
                running,
                waiting: rows.len() as u32 - running,
                ..header
            },
            jobs,
            tenants,
            histogram: vec![1; HISTOGRAM_BINS],
        }
    }

    /// Waiting jobs by id and predicted length, on a worker with four slots.
    pub(crate) fn of(jobs: &[(u64, f32)]) -> Self {
        let header = Header {
            max_num_seqs: 4,
            max_batched_tokens: 512,
            plan_max: 1_024,
            block_size_tokens: 16,
            gpu_blocks_total: 100,
            gpu_blocks_free: 100,
            ..Header::default()
        };
        let row = |&(id, tokens): &(u64, f32)| JobRow {
            id,
            prompt_tokens: 1,
            max_new_tokens: 100,
            predicted_total_tokens: tokens,
            predicted_remaining_tokens: tokens,
            predicted_sigma_tokens: 0.4 * tokens,
            predicted_p90_tokens: 1.5 * tokens,
            rank_score: tokens,
            ..JobRow::default()
        };
        Self::new(header, &jobs.iter().map(row).collect::<Vec<_>>())
    }

    /// The same jobs in another order.
    pub(crate) fn permuted(&self, seed: u64) -> Self {
        let rows = (0..self.jobs.len()).map(|row| self.jobs.row(row));
        let mut rows: Vec<JobRow> = rows.collect();
        rows.sort_by_key(|row| row.id.wrapping_mul(seed | 1).rotate_left(17));
        Self {
            histogram: self.histogram.clone(),
            ..Self::new(self.header, &rows)
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            header: self.header,
            jobs: &self.jobs,
            tenants: &self.tenants,
            length_histogram: &self.histogram,
        }
    }
}

/// Lengths as no predictor should give them, among those that one does.
fn tokens() -> impl Strategy<Value = f32> {
    let odd = vec![
        f32::NAN,
        -f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        -0.0,
        0.0,
        -3.0,
        f32::MAX,
        f32::MIN_POSITIVE,
    ];
    prop_oneof![
        6 => (0u16..600).prop_map(f32::from),
        1 => prop::sample::select(odd),
        1 => prop::num::f32::ANY,
    ]
}

fn row() -> impl Strategy<Value = JobRow> {
    let lengths = (tokens(), tokens(), 0u32..400, 0u32..400, 1u32..4_000);
    let others = (0u32..6, 0u32..8, 0u32..9, 0u64..5, any::<bool>());
    let laws = (tokens(), tokens(), tokens());
    let words = prop_oneof![4 => 0u64..500, 1 => any::<u64>()];
    let clocks = (0u64..500, 0u32..3, 0u32..4, [words.clone(), words]);
    let all = (lengths, others, laws, clocks);
    all.prop_map(|(lengths, others, laws, clocks)| JobRow {
        state: others.0,
        flags: others.1,
        preemptions: others.2,
        // Few times for many jobs, so that ties are common; or one too large for a float.
        arrival_us: if others.4 {
            others.3
        } else {
            (1 << 53) + others.3
        },
        predicted_total_tokens: lengths.0,
        predicted_remaining_tokens: lengths.1,
        predicted_at_tokens: lengths.2,
        generated_tokens: lengths.3,
        predicted_sigma_tokens: laws.0,
        predicted_p90_tokens: laws.1,
        rank_score: laws.2,
        last_run_iteration: clocks.0,
        runs: clocks.1,
        gpu_blocks: clocks.2,
        state_a: clocks.3[0],
        state_b: clocks.3[1],
        prompt_tokens: lengths.4,
        max_new_tokens: 400,
        ..JobRow::default()
    })
}

pub(crate) fn queue(rows: Range<usize>) -> impl Strategy<Value = Queue> {
    let numbers = (0u32..40, 0u32..80, any::<u64>(), any::<u8>());
    let pace = (0u64..500, 0u32..50_000, 0u32..10);
    let histogram = vec(0u32..9, HISTOGRAM_BINS);
    let all = (vec(row(), rows), numbers, pace, histogram, any::<u64>());
    all.prop_map(|(mut rows, numbers, pace, histogram, seed)| {
        for (row, id) in rows.iter_mut().zip(1..) {
            row.id = id;
        }
        let header = Header {
            max_num_seqs: numbers.0,
            plan_max: numbers.1,
            now_us: numbers.2,
            fired: Triggers::from_bits(numbers.3),
            iteration: pace.0,
            last_iteration_us: pace.1,
            cpu_blocks_total: pace.2,
            ..Queue::of(&[]).header
        };
        let queue = Queue {
            histogram,
            ..Queue::new(header, &rows)
        };
        queue.permuted(seed)
    })
}
