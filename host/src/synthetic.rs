//! Synthetic queues: plausible values in every column, so that no rule finds all jobs equal.

use elis_scheduler::columns::{JobRow, JobTable, TenantTable};
use elis_scheduler::snapshot::{Header, Triggers, capabilities};

use crate::still::Still;

/// Slots of the synthetic worker.
const SLOTS: usize = 64;

/// A fixed sequence of well spread numbers: what is checked today is checked tomorrow.
struct Spread(u64);

impl Spread {
    /// The next number below `end`. SplitMix64.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// A queue of that many jobs; the first ones hold the slots.
pub fn queue(jobs: usize) -> Still {
    let mut spread = Spread(jobs as u64);
    let running = jobs.min(SLOTS);
    let mut table = JobTable::default();
    for i in 0..jobs {
        table.push(job(i as u64, i < running, &mut spread));
    }
    let mut tenants = TenantTable::default();
    for _ in 0..TENANTS {
        tenants.push(elis_scheduler::columns::TenantRow {
            weight: 1.0,
            input_tokens: spread.below(1 << 20),
            output_tokens: spread.below(1 << 20),
            waiting: spread.below(100) as u32,
            running: spread.below(16) as u32,
            backlogged_edge: spread.below(2) as u32,
        });
    }
    Still {
        jobs: table,
        tenants,
        histogram: (0..32).map(|_| spread.below(50) as u32).collect(),
        header: header(jobs, running),
    }
}

/// The same jobs in another order.
pub fn shuffled(queue: &Still) -> Still {
    let mut other = queue.clone();
    let mut spread = Spread(1);
    for i in (1..other.jobs.len()).rev() {
        other.jobs.swap(i, spread.below(i as u64 + 1) as usize);
    }
    other
}

const TENANTS: u64 = 8;

fn job(i: u64, running: bool, spread: &mut Spread) -> JobRow {
    let total = spread.below(1_000) as u32 + 1;
    let generated = if running {
        spread.below(u64::from(total)) as u32
    } else {
        0
    };
    let prompt = spread.below(2_000) as u32 + 1;
    // Several jobs arrive at the same time, and some have no prediction: both must be broken
    // fairly.
    let arrival_us = i / 3 * 10_000;
    let predicted = if i % 50 == 49 { f32::NAN } else { total as f32 };
    JobRow {
        id: i + 1,
        state: if running { 2 } else { 0 },
        flags: if running {
            2 * (spread.below(2) as u32)
        } else {
            1
        },
        priority: 100,
        tenant: spread.below(TENANTS) as u32,
        program: spread.below(20),
        arrival_us,
        queued_since_us: if running { 0 } else { arrival_us },
        runs: u32::from(running),
        prompt_tokens: prompt,
        computed_tokens: if running { prompt + generated } else { 0 },
        generated_tokens: generated,
        max_new_tokens: 1_024,
        gpu_blocks: if running {
            (prompt + generated).div_ceil(16)
        } else {
            0
        },
        predicted_total_tokens: predicted,
        predicted_remaining_tokens: predicted - generated as f32,
        predicted_at_tokens: generated / 50 * 50,
        predicted_sigma_tokens: 0.3 * predicted,
        predicted_p90_tokens: 1.5 * predicted,
        prediction_source: 1,
        rank_score: predicted / 1_000.0,
        ttft_deadline_us: arrival_us + 500_000,
        deadline_us: arrival_us + 20_000_000,
        tbt_slo_us: 100_000,
        ..JobRow::default()
    }
}

fn header(jobs: usize, running: usize) -> Header {
    Header {
        now_us: jobs as u64 * 10_000,
        seed: 1,
        revision: 1,
        iteration: 1_000,
        fired: Triggers::ALL,
        workers: 1,
        running: running as u32,
        waiting: (jobs - running) as u32,
        max_num_seqs: SLOTS as u32,
        max_batched_tokens: 8_192,
        window_tokens: 50,
        plan_max: 4 * SLOTS as u32,
        block_size_tokens: 16,
        gpu_blocks_total: 10_000,
        gpu_blocks_free: 2_000,
        cpu_blocks_total: 20_000,
        cpu_blocks_free: 20_000,
        watermark_blocks: 100,
        capabilities: capabilities::PAUSE | capabilities::RECOMPUTE | capabilities::SWAP,
        iteration_base_us: 10_000.0,
        iteration_per_seq_us: 100.0,
        iteration_per_kv_token_us: 0.05,
        iteration_per_prefill_token_us: 50.0,
        swap_per_block_us: 20.0,
        last_iteration_us: 20_000,
        recent_tokens_per_s: 2_000.0,
        ..Header::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffling_keeps_the_jobs_and_moves_them() {
        let queue = queue(100);
        let other = shuffled(&queue);
        assert_ne!(queue.jobs.id, other.jobs.id);
        let mut ids = other.jobs.id.clone();
        ids.sort_unstable();
        assert_eq!(ids, queue.jobs.id);
    }
}
