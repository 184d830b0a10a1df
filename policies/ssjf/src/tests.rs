//! SSJF on small snapshots, and against the obvious way to write it.

use elis_policy_sdk::{Column, Header, Plan, Policy, Snapshot, state};
use proptest::prelude::*;

use super::Ssjf;

const SECOND_US: u64 = 1_000_000;

/// A job as (id, arrival, state, predicted length).
type Job = (u64, u64, u32, f32);

fn plan(policy: &mut Ssjf, header: &Header, jobs: &[Job]) -> Plan {
    let id: Vec<u64> = jobs.iter().map(|job| job.0).collect();
    let arrival: Vec<u64> = jobs.iter().map(|job| job.1).collect();
    let state: Vec<u32> = jobs.iter().map(|job| job.2).collect();
    let length: Vec<f32> = jobs.iter().map(|job| job.3).collect();
    let columns = [
        Column::U64s(&id),
        Column::U64s(&arrival),
        Column::U32s(&state),
        Column::F32s(&length),
    ];
    policy.decide(&Snapshot::new(header, &columns))
}

fn at_s(now_s: f64) -> Header {
    Header {
        now_us: (now_s * SECOND_US as f64) as u64,
        plan_max: 100,
        ..Header::default()
    }
}

fn run(policy: &mut Ssjf, now_s: f64, jobs: &[Job]) -> Vec<u64> {
    plan(policy, &at_s(now_s), jobs).run
}

#[test]
fn the_shortest_waits_least_and_nobody_loses_a_slot() {
    let jobs = [
        (1, 1, state::NEW, f32::NAN),
        (2, 2, state::NEW, 90.0),
        (3, 3, state::NEW, 30.0),
        (4, 2, state::NEW, 30.0),
        (5, 5, state::DECODE, 900.0),
        (6, 5, state::PREFILL, 800.0),
    ];
    let plan = plan(&mut Ssjf::default(), &at_s(1.0), &jobs);
    assert_eq!(plan.run, [6, 5, 4, 3, 2, 1]);
    assert_eq!(plan.victims, [5, 6]);
}

#[test]
fn it_goes_by_arrival_while_the_longest_waiter_starves() {
    let mut ssjf = Ssjf::default();
    // 0.1 s and 395 tokens of 0.02 s: 8 s, ten times that is 80 s.
    let jobs = [(1, 0, state::NEW, 395.0), (2, SECOND_US, state::NEW, 5.0)];
    assert_eq!(run(&mut ssjf, 79.9, &jobs), [2, 1]);
    assert_eq!(run(&mut ssjf, 80.1, &jobs), [1, 2]);
    // A long job starves after 100 s, and so does one of which nothing is known.
    for length in [10_000.0, f32::NAN] {
        let jobs = [(1, 0, state::NEW, length), (2, SECOND_US, state::NEW, 5.0)];
        assert_eq!(run(&mut ssjf, 99.9, &jobs), [2, 1]);
        assert_eq!(run(&mut ssjf, 100.1, &jobs), [1, 2]);
    }
    // Only the longest waiter counts, and one with a slot does not wait.
    let jobs = [
        (1, 0, state::DECODE, 5.0),
        (2, 1, state::NEW, 395.0),
        (3, 2, state::NEW, 5.0),
    ];
    assert_eq!(run(&mut ssjf, 50.0, &jobs), [1, 3, 2]);
}

#[test]
fn every_limit_has_its_unit_and_can_be_turned_off() {
    let jobs = [(1, 0, state::NEW, 395.0), (2, SECOND_US, state::NEW, 5.0)];
    let with = |toml: &str| {
        let mut ssjf = Ssjf::default();
        ssjf.configure(toml).unwrap();
        ssjf
    };
    assert_eq!(run(&mut with("token_ms = 40"), 100.0, &jobs), [2, 1]);
    assert_eq!(run(&mut with("request_ms = 1_000"), 85.0, &jobs), [2, 1]);
    assert_eq!(
        run(&mut with("starves_after_durations = 2"), 17.0, &jobs),
        [1, 2]
    );
    assert_eq!(run(&mut with("starves_after_s = 3.5"), 4.0, &jobs), [1, 2]);
    let never = "starves_after_s = 0\nstarves_after_durations = 0";
    assert_eq!(run(&mut with(never), 1e6, &jobs), [2, 1]);
    let error = Ssjf::default().configure("token_ms = -1").unwrap_err();
    assert!(error.contains("`token_ms`"));
}

#[test]
fn it_names_as_many_as_there_are_slots_and_a_few_more() {
    let jobs: Vec<Job> = (0..100).map(|id| (id, id, state::NEW, 1.0)).collect();
    let header = Header {
        max_num_seqs: 4,
        ..at_s(0.0)
    };
    assert_eq!(plan(&mut Ssjf::default(), &header, &jobs).run.len(), 20);
}

proptest! {
    #[test]
    fn it_is_a_sort_by_slot_and_by_length_or_arrival(
        jobs in prop::collection::vec((0u64..40, 0u32..6, 0u8..20), 0..100),
        now_s in 0u64..200,
        plan_max in 0u32..120,
        rotate in 0usize..100,
    ) {
        let mut jobs: Vec<Job> = (0..)
            .zip(&jobs)
            .map(|(i, &(at_s, state, length))| (i, at_s * SECOND_US, state, f32::from(length)))
            .collect();
        let mut sorted = jobs.clone();
        let waits = |job: &Job| !(1..=2).contains(&job.2);
        let longest = jobs.iter().copied().filter(waits).min_by_key(|job| (job.1, job.0));
        let starves = longest.is_some_and(|(_, at, _, length)| {
            let waited_ms = now_s.saturating_sub(at / SECOND_US) * 1_000;
            waited_ms > 100_000 || waited_ms > 10 * (100 + 20 * length as u64)
        });
        sorted.sort_by_key(|job| {
            let length = if waits(job) && starves { 0 } else { job.3 as u32 };
            (waits(job), length, job.1, job.0)
        });
        let count = plan_max.min(64 + super::LOOKAHEAD) as usize;
        let twin: Vec<u64> = sorted.iter().take(count).map(|job| job.0).collect();
        let middle = rotate.min(jobs.len());
        jobs.rotate_left(middle);
        let header = Header { plan_max, max_num_seqs: 64, ..at_s(now_s as f64) };
        prop_assert_eq!(plan(&mut Ssjf::default(), &header, &jobs).run, twin);
    }
}
