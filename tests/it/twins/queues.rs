//! Queues as a policy may find them, sensible or not.

use std::ops::Range;

use elis_scheduler::columns::{JobRow, JobTable, TenantRow, TenantTable};
use elis_scheduler::limits::HISTOGRAM_BINS;
use elis_scheduler::snapshot::{Header, Snapshot, Triggers};
use proptest::collection::vec;
use proptest::prelude::*;

/// Rows of the tenant table.
const TENANTS: u32 = 3;

/// A queue that lends itself as a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    pub(crate) header: Header,
    pub(crate) jobs: JobTable,
    pub(crate) tenants: TenantTable,
    histogram: Vec<u32>,
}

impl Queue {
    fn new(header: Header, rows: &[JobRow]) -> Self {
        let mut jobs = JobTable::default();
        for row in rows {
            jobs.push(*row);
        }
        let has_slot = |row: &&JobRow| (1..=2).contains(&row.state);
        let running = rows.iter().filter(has_slot).count() as u32;
        let mut tenants = TenantTable::default();
        for tenant in 0..TENANTS {
            let own = rows.iter().filter(|row| row.tenant == tenant);
            let running = own.clone().filter(has_slot).count() as u32;
            tenants.push(TenantRow {
                weight: 1.0,
                running,
                waiting: own.count() as u32 - running,
                ..TenantRow::default()
            });
        }
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
            tenants: self.tenants.clone(),
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

/// Times that are often the same, now and then far off.
fn time_us() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0u64..5, 2 => 0u64..10_000_000, 1 => any::<u64>()]
}

fn row() -> impl Strategy<Value = JobRow> {
    let lengths = (tokens(), tokens(), 0u32..400, 0u32..400, 1u32..4_000);
    let others = (0u32..6, 0u32..8, 0u32..9, 0u64..5, any::<bool>());
    let laws = (tokens(), tokens(), tokens());
    let words = prop_oneof![3 => 0u64..500, 2 => time_us(), 1 => any::<u64>()];
    let clocks = (0u64..500, 0u32..3, [words.clone(), words]);
    let times = (time_us(), time_us(), time_us(), time_us());
    let memory = (0u32..4_400, 0u32..40, 0u32..40);
    let all = (lengths, others, laws, clocks, times, memory, 0..TENANTS);
    all.prop_map(
        |(lengths, others, laws, clocks, times, memory, tenant)| JobRow {
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
            prompt_tokens: lengths.4,
            predicted_sigma_tokens: laws.0,
            predicted_p90_tokens: laws.1,
            rank_score: laws.2,
            last_run_iteration: clocks.0,
            runs: clocks.1,
            state_a: clocks.2[0],
            state_b: clocks.2[1],
            last_run_us: times.0,
            service_us: times.1,
            ttft_deadline_us: times.2,
            deadline_us: times.3,
            computed_tokens: memory.0,
            gpu_blocks: memory.1,
            cpu_blocks: memory.2,
            tenant,
            max_new_tokens: 400,
            ..JobRow::default()
        },
    )
}

/// What a tenant was served, and its weight, sensible or not.
fn tenant() -> impl Strategy<Value = (f32, u64, u64, u32)> {
    let weight = prop_oneof![4 => (1u8..5).prop_map(f32::from), 1 => prop::num::f32::ANY];
    (weight, 0u64..9_000, time_us(), 0u32..2)
}

/// The worker's own numbers.
fn worker() -> impl Strategy<Value = Header> {
    let costs = (0u16..30_000, 0u16..900, 0u16..9, 0u16..900, 0u16..900);
    let blocks = (0u32..100, 0u32..50, 0u32..50);
    let pace = (0u64..3_000, 0u32..50_000);
    (costs, blocks, 0u32..16, pace, 1u32..60).prop_map(
        |(costs, blocks, capabilities, pace, window_tokens)| Header {
            iteration_base_us: f32::from(costs.0),
            iteration_per_seq_us: f32::from(costs.1),
            iteration_per_kv_token_us: f32::from(costs.2),
            iteration_per_prefill_token_us: f32::from(costs.3),
            swap_per_block_us: f32::from(costs.4),
            gpu_blocks_free: blocks.0,
            cpu_blocks_total: blocks.1,
            cpu_blocks_free: blocks.1.min(blocks.2),
            capabilities,
            iteration: pace.0,
            last_iteration_us: pace.1,
            window_tokens,
            ..Queue::of(&[]).header
        },
    )
}

pub(crate) fn queue(rows: Range<usize>) -> impl Strategy<Value = Queue> {
    let numbers = (0u32..40, 0u32..80, any::<u64>(), any::<u8>());
    let histogram = vec(0u32..9, HISTOGRAM_BINS);
    let around = (worker(), vec(tenant(), TENANTS as usize), histogram);
    let all = (vec(row(), rows), numbers, around, any::<u64>());
    all.prop_map(|(mut rows, numbers, around, seed)| {
        for (row, id) in rows.iter_mut().zip(1..) {
            row.id = id;
        }
        let header = Header {
            max_num_seqs: numbers.0,
            plan_max: numbers.1,
            now_us: numbers.2,
            fired: Triggers::from_bits(numbers.3),
            ..around.0
        };
        let mut queue = Queue {
            histogram: around.2,
            ..Queue::new(header, &rows)
        };
        for (row, tenant) in around.1.into_iter().enumerate() {
            queue.tenants.weight[row] = tenant.0;
            queue.tenants.input_tokens[row] = tenant.1;
            queue.tenants.output_tokens[row] = tenant.2;
            queue.tenants.backlogged_edge[row] = tenant.3;
        }
        queue.permuted(seed)
    })
}
