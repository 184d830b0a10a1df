//! FCFS on small snapshots, and against the obvious way to write it.

use elis_policy_sdk::{Column, Header, Policy, Snapshot, state};
use proptest::prelude::*;

use super::Fcfs;

/// A job as (id, arrival, state).
type Job = (u64, u64, u32);

fn run(plan_max: u32, jobs: &[Job]) -> Vec<u64> {
    let header = Header {
        plan_max,
        ..Header::default()
    };
    let id: Vec<u64> = jobs.iter().map(|job| job.0).collect();
    let arrival: Vec<u64> = jobs.iter().map(|job| job.1).collect();
    let state: Vec<u32> = jobs.iter().map(|job| job.2).collect();
    let columns = [
        Column::U64s(&id),
        Column::U64s(&arrival),
        Column::U32s(&state),
    ];
    Fcfs.decide(&Snapshot::new(&header, &columns)).run
}

#[test]
fn the_earliest_arrival_comes_first_and_ids_break_ties() {
    let jobs = [
        (3, 20, state::NEW),
        (2, 10, state::NEW),
        (1, 10, state::NEW),
    ];
    assert_eq!(run(8, &jobs), [1, 2, 3]);
    assert_eq!(run(2, &jobs), [1, 2]);
}

#[test]
fn a_job_with_a_slot_keeps_it_even_from_an_earlier_arrival() {
    let jobs = [
        (1, 10, state::EVICTED),
        (2, 20, state::DECODE),
        (3, 15, state::PREFILL),
    ];
    assert_eq!(run(8, &jobs), [3, 2, 1]);
}

#[test]
fn it_has_no_options() {
    assert!(Fcfs.configure("").is_ok());
    assert!(Fcfs.configure("quantum = 1").is_err());
}

proptest! {
    #[test]
    fn it_is_a_sort_by_slot_arrival_and_id(
        jobs in prop::collection::vec((0u64..20, 0u32..6), 0..100),
        plan_max in 0u32..120,
        rotate in 0usize..100,
    ) {
        let mut jobs: Vec<Job> =
            jobs.iter().enumerate().map(|(i, &(at, state))| (i as u64, at, state)).collect();
        let mut sorted = jobs.clone();
        sorted.sort_by_key(|&(id, at, state)| (!(1..=2).contains(&state), at, id));
        let twin: Vec<u64> = sorted.iter().take(plan_max as usize).map(|job| job.0).collect();
        let middle = rotate.min(jobs.len());
        jobs.rotate_left(middle);
        prop_assert_eq!(run(plan_max, &jobs), twin);
    }
}
