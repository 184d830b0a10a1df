//! The rule on small snapshots, and against the obvious way to write it.

use elis_policy_sdk::{Column, Header, Plan, Policy, Snapshot, state};
use proptest::prelude::*;

use super::{CHUNKED_PREFILL, LOOKAHEAD, Sarathi};

#[derive(Debug, Clone, Copy)]
struct Job {
    id: u64,
    arrival_us: u64,
    state: u32,
    prompt: u32,
    generated: u32,
    computed: u32,
    blocks: u32,
}

fn decide(policy: &mut Sarathi, header: &Header, jobs: &[Job]) -> Plan {
    let id: Vec<u64> = jobs.iter().map(|job| job.id).collect();
    let arrival: Vec<u64> = jobs.iter().map(|job| job.arrival_us).collect();
    let state: Vec<u32> = jobs.iter().map(|job| job.state).collect();
    let prompt: Vec<u32> = jobs.iter().map(|job| job.prompt).collect();
    let generated: Vec<u32> = jobs.iter().map(|job| job.generated).collect();
    let computed: Vec<u32> = jobs.iter().map(|job| job.computed).collect();
    let blocks: Vec<u32> = jobs.iter().map(|job| job.blocks).collect();
    let columns = [
        Column::U64s(&id),
        Column::U64s(&arrival),
        Column::U32s(&state),
        Column::U32s(&prompt),
        Column::U32s(&generated),
        Column::U32s(&computed),
        Column::U32s(&blocks),
    ];
    policy.decide(&Snapshot::new(header, &columns))
}

fn header() -> Header {
    Header {
        max_num_seqs: 8,
        max_batched_tokens: 8_192,
        plan_max: 100,
        capabilities: CHUNKED_PREFILL,
        block_size_tokens: 16,
        gpu_blocks_free: 10_000,
        watermark_blocks: 10,
        ..Header::default()
    }
}

fn job(id: u64, state: u32, prompt: u32, computed: u32) -> Job {
    Job {
        id,
        arrival_us: id,
        state,
        prompt,
        generated: 0,
        computed,
        blocks: computed.div_ceil(16),
    }
}

fn decoding(id: u64) -> Job {
    Job {
        generated: 5,
        ..job(id, state::DECODE, 100, 104)
    }
}

#[test]
fn decodes_come_first_then_prompts_that_go_on_then_new_ones() {
    let jobs = [
        job(1, state::NEW, 50, 0),
        job(2, state::PREFILL, 900, 500),
        job(3, state::EVICTED, 40, 0),
        decoding(4),
        decoding(5),
    ];
    let plan = decide(&mut Sarathi::default(), &header(), &jobs);
    assert_eq!(plan.run, [4, 5, 2, 3, 1]);
    // 512 less two decodes and the rest of a prompt leave 110.
    assert_eq!(plan.run_tokens, [1, 1, 400, 40, 50]);
    assert_eq!(plan.max_batched_tokens, 512);
    assert_eq!(plan.victims, [5, 4, 2], "who came last gives way first");
}

#[test]
fn who_comes_away_empty_waits_for_the_next_iteration() {
    let mut narrow = Sarathi::default();
    narrow.configure("chunk_tokens = 101").unwrap();
    let jobs = [
        decoding(1),
        job(2, state::NEW, 900, 0),
        job(3, state::NEW, 9, 0),
    ];
    let plan = decide(&mut narrow, &header(), &jobs);
    assert_eq!(plan.run_tokens, [1, 100, 0]);
    assert_eq!(plan.max_batched_tokens, 101);
}

#[test]
fn a_prompt_begins_only_where_there_is_memory_for_all_of_it() {
    let free = |gpu_blocks_free| Header {
        gpu_blocks_free,
        ..header()
    };
    let jobs = [
        job(1, state::PREFILL, 320, 160),
        job(2, state::NEW, 160, 0),
        job(3, state::NEW, 16, 0),
    ];
    // Ten blocks stay free, ten more are for the rest of the first prompt.
    let run = |blocks| decide(&mut Sarathi::default(), &free(blocks), &jobs).run;
    assert_eq!(run(31), [1, 2, 3]);
    assert_eq!(run(30), [1, 2]);
    assert_eq!(run(29), [1], "nobody passes the second");
    let alone = decide(&mut Sarathi::default(), &free(5), &jobs[1..2]);
    assert_eq!(alone.run, [2], "somebody must begin");
}

#[test]
fn a_host_that_reads_prompts_whole_is_left_alone() {
    let whole = Header {
        capabilities: 0,
        ..header()
    };
    let plan = decide(
        &mut Sarathi::default(),
        &whole,
        &[job(1, state::NEW, 900, 0)],
    );
    assert_eq!((plan.run_tokens.len(), plan.max_batched_tokens), (0, 0));
}

#[test]
fn a_budget_of_nothing_is_refused() {
    let refuse = |text: &str| Sarathi::default().configure(text).unwrap_err();
    assert!(refuse("chunk_tokens = 0").contains("chunk_tokens"));
    assert!(refuse("chunk_tokens = 4294967296").contains("chunk_tokens"));
}

proptest! {
    #[test]
    fn it_deals_out_a_budget_along_a_sorted_list(
        rows in prop::collection::vec((0u64..4, 0u32..6, 1u32..900, 0u32..20, 0u32..900), 0..80),
        chunk_tokens in 1u32..2_000,
        max_num_seqs in 0u32..40,
        rotate in 0usize..100,
    ) {
        let mut jobs: Vec<Job> = rows
            .iter()
            .zip(1..)
            .map(|(&(arrival_us, state, prompt, generated, computed), id)| Job {
                id, arrival_us, state, prompt, generated, computed, blocks: 0,
            })
            .collect();
        let mut sorted = jobs.clone();
        sorted.sort_by_key(|job| ([3, 1, 0, 2, 2, 2][job.state as usize], job.arrival_us, job.id));
        sorted.truncate(max_num_seqs as usize + LOOKAHEAD);
        let mut left = i64::from(chunk_tokens);
        let mut twin = Vec::new();
        for job in &sorted {
            let unread = i64::from(job.prompt + job.generated) - i64::from(job.computed);
            let tokens = unread.max(1).min(left);
            left -= tokens;
            twin.push((job.id, tokens as u32));
        }
        let middle = rotate.min(jobs.len());
        jobs.rotate_left(middle);
        let header = Header { max_num_seqs, ..header() };
        let plan = decide(&mut Sarathi { chunk_tokens }, &header, &jobs);
        prop_assert!(plan.run_tokens.iter().sum::<u32>() <= chunk_tokens);
        let run: Vec<_> = plan.run.into_iter().zip(plan.run_tokens).collect();
        prop_assert_eq!(run, twin);
    }
}
