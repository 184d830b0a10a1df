//! The rule on small snapshots, and against the obvious way to write it.

use elis_policy_sdk::{Column, Header, Plan, Policy, Preemption, Snapshot, flags, state};
use proptest::prelude::*;

use super::{Alise, LOOKAHEAD};

#[derive(Debug, Clone, Copy)]
struct Job {
    id: u64,
    arrival_us: u64,
    state: u32,
    flags: u32,
    prompt: u32,
    left: f32,
    blocks: u32,
}

fn decide(policy: &mut Alise, header: &Header, jobs: &[Job]) -> Plan {
    let u64s = |of: fn(&Job) -> u64| jobs.iter().map(of).collect::<Vec<u64>>();
    let u32s = |of: fn(&Job) -> u32| jobs.iter().map(of).collect::<Vec<u32>>();
    let swapped = |job: &Job| job.state == state::SWAPPED;
    let blocks = |host: bool| {
        let of = |job: &Job| if swapped(job) == host { job.blocks } else { 0 };
        jobs.iter().map(of).collect::<Vec<u32>>()
    };
    let (id, arrival) = (u64s(|job| job.id), u64s(|job| job.arrival_us));
    let (state, flags) = (u32s(|job| job.state), u32s(|job| job.flags));
    // Whoever is not new has been read.
    let prompt = u32s(|job| job.prompt);
    let computed = u32s(|job| {
        if job.state == state::NEW {
            0
        } else {
            job.prompt
        }
    });
    let nothing = vec![0; jobs.len()];
    let left: Vec<f32> = jobs.iter().map(|job| job.left).collect();
    let (gpu, cpu) = (blocks(false), blocks(true));
    let columns = [
        Column::U64s(&id),
        Column::U64s(&arrival),
        Column::U32s(&state),
        Column::U32s(&flags),
        Column::U32s(&prompt),
        Column::U32s(&nothing),
        Column::U32s(&computed),
        Column::F32s(&left),
        Column::U32s(&nothing),
        Column::U32s(&gpu),
        Column::U32s(&cpu),
    ];
    policy.decide(&Snapshot::new(header, &columns))
}

/// A token of a response takes 10 ms, one of a prompt 1 ms, a block 1 ms; two slots.
fn header() -> Header {
    Header {
        now_us: 100_000_000,
        window_tokens: 10,
        max_num_seqs: 2,
        plan_max: 1_000,
        block_size_tokens: 16,
        gpu_blocks_free: 100,
        cpu_blocks_total: 100,
        cpu_blocks_free: 100,
        capabilities: 4,
        iteration_per_seq_us: 10_000.0,
        iteration_per_prefill_token_us: 1_000.0,
        swap_per_block_us: 1_000.0,
        ..Header::default()
    }
}

fn new(id: u64, prompt: u32, left: f32) -> Job {
    Job {
        id,
        arrival_us: 99_000_000 + id,
        state: state::NEW,
        flags: 0,
        prompt,
        left,
        blocks: 0,
    }
}

/// A job of 160 tokens of context.
fn idle(id: u64, state: u32, left: f32) -> Job {
    Job {
        state,
        blocks: 10,
        ..new(id, 160, left)
    }
}

fn run(jobs: &[Job]) -> Vec<u64> {
    decide(&mut Alise::default(), &header(), jobs).run
}

#[test]
fn the_level_of_the_time_that_is_left_counts_and_within_it_arrival() {
    // 800, 600 and 710 ms are one level, 400 ms are the one before, the unknown is the last.
    let jobs = [
        new(1, 1, f32::NAN),
        new(2, 600, 20.0),
        new(3, 100, 50.0),
        new(4, 10, 70.0),
        new(5, 100, 30.0),
    ];
    assert_eq!(run(&jobs), [5, 2, 3, 4, 1]);
}

#[test]
fn a_prompt_that_has_been_read_costs_nothing_more() {
    let paused = idle(2, state::PAUSED, 10.0);
    assert_eq!(run(&[new(1, 160, 10.0), paused]), [2, 1]);
}

#[test]
fn a_locked_job_stands_first() {
    let locked = Job {
        flags: flags::LOCKED,
        ..idle(1, state::DECODE, 900.0)
    };
    assert_eq!(run(&[new(2, 1, 1.0), locked]), [1, 2]);
}

#[test]
fn whoever_has_been_there_long_rises() {
    let old = Job {
        arrival_us: 30_000_000,
        ..new(1, 1, 70.0)
    };
    // Level 3, and two up in 70 s.
    let jobs = [new(2, 1, 30.0), new(3, 1, 15.0), old];
    assert_eq!(run(&jobs), [1, 3, 2]);
    let mut ageless = Alise::default();
    ageless.configure("ageing_s = 0").unwrap();
    assert_eq!(decide(&mut ageless, &header(), &jobs).run, [3, 2, 1]);
    assert!(ageless.configure("level_ms = 0").is_err());
}

#[test]
fn the_longest_wait_leaves_the_device_first_and_only_as_far_as_must_be() {
    let jobs = [
        idle(1, state::DECODE, 10.0),
        idle(2, state::DECODE, 10.0),
        idle(3, state::PAUSED, 40.0),
        idle(4, state::PAUSED, 90.0),
    ];
    let free = |gpu_blocks_free| Header {
        gpu_blocks_free,
        ..header()
    };
    let plan = |blocks| decide(&mut Alise::default(), &free(blocks), &jobs);
    // The two that run may need a block each until the next look.
    assert!(plan(2).preempt.is_empty());
    assert_eq!(plan(1).preempt, [4]);
    assert_eq!(plan(1).preempt_modes, [Preemption::Swap]);
}

#[test]
fn a_wait_shorter_than_there_and_back_keeps_its_memory() {
    let waits = |left| {
        let jobs = [
            idle(1, state::DECODE, left),
            idle(2, state::DECODE, left),
            idle(3, state::PAUSED, 90.0),
        ];
        let header = Header {
            gpu_blocks_free: 0,
            ..header()
        };
        decide(&mut Alise::default(), &header, &jobs).preempt
    };
    // Ten blocks there and back take 20 ms.
    assert!(waits(2.0).is_empty());
    assert_eq!(waits(3.0), [3]);
}

#[test]
fn who_will_run_soon_comes_back() {
    let jobs = |left| {
        [
            idle(1, state::DECODE, left),
            idle(2, state::DECODE, left),
            idle(3, state::SWAPPED, 90.0),
        ]
    };
    let plan = |left, gpu_blocks_free| {
        let header = Header {
            gpu_blocks_free,
            ..header()
        };
        decide(&mut Alise::default(), &header, &jobs(left)).swap_in
    };
    // A window takes 100 ms and the move 10 ms.
    assert_eq!(plan(10.0, 12), [3]);
    assert!(plan(12.0, 12).is_empty());
    assert!(plan(10.0, 11).is_empty());
}

proptest! {
    #[test]
    fn it_is_a_sort_by_level(
        rows in prop::collection::vec((0u64..90, 0u32..4, 1u32..300, 0u8..200), 0..80),
        rotate in 0usize..100,
    ) {
        let mut jobs: Vec<Job> = rows
            .iter()
            .zip(1..)
            .map(|(&(age_s, flags, prompt, left), id)| Job {
                arrival_us: 100_000_000 - age_s * 1_000_000,
                flags,
                ..new(id, prompt, f32::from(left))
            })
            .collect();
        let mut sorted = jobs.clone();
        sorted.sort_by_key(|job| {
            let time_ms = u64::from(job.prompt) + 10 * job.left as u64;
            let mut level = 0;
            while 100 << level < time_ms {
                level += 1;
            }
            let age_s = (100_000_000 - job.arrival_us) / 1_000_000;
            let level = (level - (age_s / 30) as i64).max(0);
            (job.flags & flags::LOCKED == 0, level, job.arrival_us, job.id)
        });
        sorted.truncate(2 + LOOKAHEAD);
        let twin: Vec<u64> = sorted.iter().map(|job| job.id).collect();
        let middle = rotate.min(jobs.len());
        jobs.rotate_left(middle);
        prop_assert_eq!(run(&jobs), twin);
    }
}
