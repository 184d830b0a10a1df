//! The rule on small snapshots, and against the obvious way to write it.

use elis_policy_sdk::{Column, Header, Plan, Policy, Preemption, Snapshot, state};
use proptest::prelude::*;

use super::{FastServe, LOOKAHEAD};

#[derive(Debug, Clone, Copy, Default)]
struct Job {
    id: u64,
    arrival_us: u64,
    state: u32,
    last_run_us: u64,
    service_us: u64,
    prompt: u32,
    blocks: u32,
    promoted: u64,
}

fn decide(policy: &mut FastServe, header: &Header, jobs: &[Job]) -> Plan {
    let u64s = |of: fn(&Job) -> u64| jobs.iter().map(of).collect::<Vec<u64>>();
    let u32s = |of: fn(&Job) -> u32| jobs.iter().map(of).collect::<Vec<u32>>();
    let swapped = |job: &Job| job.state == state::SWAPPED;
    let gpu: Vec<u32> = jobs
        .iter()
        .map(|job| if swapped(job) { 0 } else { job.blocks })
        .collect();
    let cpu: Vec<u32> = jobs
        .iter()
        .map(|job| if swapped(job) { job.blocks } else { 0 })
        .collect();
    let nothing = vec![0; jobs.len()];
    let (id, arrival) = (u64s(|job| job.id), u64s(|job| job.arrival_us));
    let (last_run, service) = (u64s(|job| job.last_run_us), u64s(|job| job.service_us));
    let (state, prompt) = (u32s(|job| job.state), u32s(|job| job.prompt));
    let promoted = u64s(|job| job.promoted);
    let columns = [
        Column::U64s(&id),
        Column::U64s(&arrival),
        Column::U32s(&state),
        Column::U64s(&last_run),
        Column::U64s(&service),
        Column::U32s(&prompt),
        Column::U32s(&nothing),
        Column::U32s(&nothing),
        Column::U32s(&gpu),
        Column::U32s(&cpu),
        Column::U64s(&promoted),
    ];
    policy.decide(&Snapshot::new(header, &columns))
}

/// A millisecond for each prompt token, and two slots.
fn header() -> Header {
    Header {
        now_us: 10_000_000,
        max_num_seqs: 2,
        plan_max: 1_000,
        block_size_tokens: 16,
        gpu_blocks_total: 100,
        gpu_blocks_free: 100,
        cpu_blocks_total: 100,
        cpu_blocks_free: 100,
        capabilities: 4,
        iteration_per_prefill_token_us: 1_000.0,
        ..Header::default()
    }
}

/// A job with a prompt of so many milliseconds.
fn new(id: u64, prompt: u32) -> Job {
    Job {
        id,
        arrival_us: 9_000_000 + id,
        prompt,
        ..Job::default()
    }
}

fn ran(id: u64, state: u32, service_us: u64, last_run_us: u64) -> Job {
    Job {
        state,
        service_us,
        last_run_us,
        blocks: 10,
        ..new(id, 1)
    }
}

fn run(jobs: &[Job]) -> Vec<u64> {
    decide(&mut FastServe::default(), &header(), jobs).run
}

#[test]
fn a_job_joins_at_the_level_of_its_prompt() {
    // Levels 2, 2, 1, 0: 40, 40, 20 and 10 ms.
    assert_eq!(
        run(&[new(1, 35), new(2, 40), new(3, 20), new(4, 10)]),
        [4, 3, 1, 2]
    );
}

#[test]
fn a_job_sinks_below_those_that_have_run_less() {
    let long = ran(1, state::DECODE, 70_001, 10_000_000);
    let short = ran(2, state::PAUSED, 30_000, 9_500_000);
    assert_eq!(run(&[long, short, new(3, 35), new(4, 75)]), [2, 3, 1, 4]);
}

#[test]
fn within_a_level_whoever_ran_last_goes_on() {
    let paused = ran(1, state::PAUSED, 15_000, 9_999_999);
    let running = ran(2, state::DECODE, 15_000, 10_000_000);
    assert_eq!(run(&[new(3, 20), paused, running]), [2, 1, 3]);
}

#[test]
fn it_wants_to_be_asked_when_the_first_quantum_runs_out() {
    let jobs = [
        ran(1, state::DECODE, 4_000, 10_000_000),
        ran(2, state::DECODE, 29_000, 10_000_000),
        ran(3, state::PAUSED, 69_999, 9_000_000),
    ];
    let plan = decide(&mut FastServe::default(), &header(), &jobs);
    assert_eq!(
        plan.wake_up_us, 10_001_001,
        "the second has used 19 of 20 ms"
    );
    assert_eq!(plan.window_tokens, 1);
}

#[test]
fn who_waits_three_seconds_goes_first_once() {
    let starving = Job {
        arrival_us: 5_000_000,
        ..ran(1, state::PAUSED, 500_000, 7_000_000)
    };
    let never_run = Job {
        arrival_us: 6_000_000,
        ..new(2, 900)
    };
    let jobs = [starving, never_run, new(3, 1)];
    let mut policy = FastServe::default();
    let plan = decide(&mut policy, &header(), &jobs);
    assert_eq!(plan.run, [2, 1, 3]);
    assert_eq!(plan.state_jobs, [1, 2]);
    assert_eq!(plan.state_values, [500_001, 0, 1, 0]);
    // The state keeps them there without another look, until they have run.
    let promoted = [
        Job {
            promoted: 500_001,
            ..starving
        },
        Job {
            promoted: 1,
            service_us: 10_001,
            last_run_us: 10_000_000,
            ..never_run
        },
        new(3, 1),
    ];
    let plan = decide(&mut policy, &header(), &promoted);
    assert_eq!(plan.run, [1, 3, 2]);
    assert!(
        plan.state_jobs.is_empty(),
        "the next look is 1000 iterations away"
    );
}

#[test]
fn waits_are_looked_at_once_in_a_thousand_iterations() {
    let old = Job {
        arrival_us: 5_000_000,
        ..ran(1, state::PAUSED, 500_000, 7_000_000)
    };
    let jobs = [old, new(3, 1)];
    let mut policy = FastServe::default();
    let at = |iteration| Header {
        iteration,
        ..header()
    };
    let promotes = |policy: &mut FastServe, iteration| {
        !decide(policy, &at(iteration), &jobs).state_jobs.is_empty()
    };
    assert!(promotes(&mut policy, 5));
    assert!(!promotes(&mut policy, 999));
    let mut heir = FastServe::default();
    heir.import_state(&policy.export_state()).unwrap();
    assert!(!promotes(&mut heir, 999), "the next version knows");
    assert!(promotes(&mut policy, 1_000));
    assert!(heir.import_state(&[0; 8]).is_err());
}

#[test]
fn the_lowest_leave_the_device_before_memory_runs_out() {
    let jobs = [
        ran(1, state::DECODE, 1_000, 10_000_000),
        new(2, 9),
        ran(3, state::PAUSED, 20_000, 9_000_000),
        ran(4, state::PAUSED, 90_000, 9_000_000),
    ];
    let free = |gpu_blocks_free| Header {
        gpu_blocks_free,
        ..header()
    };
    // Two slots: one block to grow, one for the new prompt, two for whoever may come.
    let plan = decide(&mut FastServe::default(), &free(4), &jobs);
    assert_eq!((plan.preempt.len(), plan.reserve_blocks), (0, 2));
    let plan = decide(&mut FastServe::default(), &free(3), &jobs);
    assert_eq!(plan.preempt, [4]);
    assert_eq!(plan.preempt_modes, [Preemption::Swap]);
    let mut lazy = FastServe::default();
    lazy.configure("proactive = false").unwrap();
    let plan = decide(&mut lazy, &free(3), &jobs);
    assert_eq!((plan.preempt.len(), plan.reserve_blocks), (0, 0));
}

#[test]
fn the_next_in_line_come_back_unless_others_have_to_leave() {
    let jobs = [
        ran(1, state::DECODE, 1_000, 10_000_000),
        ran(2, state::DECODE, 1_000, 10_000_000),
        ran(3, state::SWAPPED, 20_000, 9_000_000),
        ran(4, state::PAUSED, 90_000, 9_000_000),
    ];
    let free = |gpu_blocks_free| Header {
        gpu_blocks_free,
        ..header()
    };
    let plan = |blocks| decide(&mut FastServe::default(), &free(blocks), &jobs);
    assert_eq!(plan(14).swap_in, [3]);
    assert!(plan(13).swap_in.is_empty());
    assert_eq!((plan(3).swap_in.len(), plan(3).preempt), (0, vec![4]));
}

#[test]
fn new_prompts_stand_back_while_host_memory_is_full() {
    let full = Header {
        cpu_blocks_free: 9,
        ..header()
    };
    let jobs = [new(1, 1), ran(2, state::PAUSED, 900_000, 9_900_000)];
    assert_eq!(decide(&mut FastServe::default(), &full, &jobs).run, [2, 1]);
    assert_eq!(run(&jobs), [1, 2]);
}

proptest! {
    #[test]
    fn it_is_a_sort_by_level_and_turn(
        rows in prop::collection::vec((0u64..4, 0u32..6, 0u64..200_000, 0u64..3, 0u32..90), 0..80),
        rotate in 0usize..100,
    ) {
        let mut jobs: Vec<Job> = rows
            .iter()
            .zip(1..)
            .map(|(&(arrival, state, service_us, last_run, prompt), id)| Job {
                id,
                arrival_us: 9_000_000 + arrival,
                state,
                service_us,
                last_run_us: last_run * 4_999_999,
                prompt,
                blocks: 0,
                promoted: 0,
            })
            .collect();
        let mut sorted = jobs.clone();
        sorted.sort_by_key(|job| {
            let last_us = job.last_run_us.max(job.arrival_us);
            let waits = !(1..=2).contains(&job.state);
            if waits && 10_000_000 - last_us >= 3_000_000 {
                return (0, 0, last_us, job.arrival_us, job.id);
            }
            let mut level = 0;
            while 10_000 << level < u64::from(job.prompt) * 1_000 {
                level += 1;
            }
            let mut used_us = job.service_us;
            while used_us > 10_000 << level {
                used_us -= 10_000 << level;
                level += 1;
            }
            (level, 1, u64::MAX - job.last_run_us, job.arrival_us, job.id)
        });
        sorted.truncate(4 + LOOKAHEAD);
        let twin: Vec<u64> = sorted.iter().map(|job| job.id).collect();
        let middle = rotate.min(jobs.len());
        jobs.rotate_left(middle);
        prop_assert_eq!(run(&jobs), twin);
    }
}
