//! SJF on small snapshots, and against the obvious way to write it.

use elis_policy_sdk::{Column, Header, Plan, Policy, Snapshot, state};
use proptest::prelude::*;

use super::Sjf;

/// A job as (id, arrival, state, predicted length).
type Job = (u64, u64, u32, f32);

fn plan(plan_max: u32, jobs: &[Job]) -> Plan {
    let header = Header {
        plan_max,
        ..Header::default()
    };
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
    Sjf.decide(&Snapshot::new(&header, &columns))
}

#[test]
fn the_shortest_waits_least_and_a_missing_prediction_is_the_longest() {
    let jobs = [
        (1, 1, state::NEW, f32::NAN),
        (2, 2, state::NEW, 90.0),
        (3, 3, state::NEW, 30.0),
        (4, 2, state::NEW, 30.0),
    ];
    assert_eq!(plan(8, &jobs).run, [4, 3, 2, 1]);
}

#[test]
fn nobody_loses_a_slot_to_a_shorter_job_and_the_longest_is_evicted_first() {
    let jobs = [
        (1, 1, state::DECODE, 900.0),
        (2, 2, state::NEW, 1.0),
        (3, 3, state::PREFILL, 500.0),
    ];
    let plan = plan(8, &jobs);
    assert_eq!(plan.run, [3, 1, 2]);
    assert_eq!(plan.victims, [1, 3]);
}

proptest! {
    #[test]
    fn it_is_a_sort_by_slot_and_length(
        jobs in prop::collection::vec((0u64..5, 0u32..6, 0u8..20), 0..100),
        plan_max in 0u32..120,
        rotate in 0usize..100,
    ) {
        let mut jobs: Vec<Job> = jobs
            .iter()
            .enumerate()
            .map(|(i, &(at, state, length))| (i as u64, at, state, f32::from(length)))
            .collect();
        let mut sorted = jobs.clone();
        sorted.sort_by_key(|&(id, at, state, length)| {
            (!(1..=2).contains(&state), length as u32, at, id)
        });
        let twin: Vec<u64> = sorted.iter().take(plan_max as usize).map(|job| job.0).collect();
        let middle = rotate.min(jobs.len());
        jobs.rotate_left(middle);
        prop_assert_eq!(plan(plan_max, &jobs).run, twin);
    }
}
