//! The rule on small snapshots, and against the obvious way to write it.

use elis_policy_sdk::{Column, Header, Plan, Policy, Snapshot, state};
use proptest::prelude::*;

use super::{Edf, LOOKAHEAD};

#[derive(Debug, Clone, Copy)]
struct Job {
    id: u64,
    arrival_us: u64,
    state: u32,
    generated: u32,
    left: f32,
    ttft_due_ms: u64,
    due_ms: u64,
}

fn decide(policy: &mut Edf, header: &Header, jobs: &[Job]) -> Plan {
    let u64s = |of: fn(&Job) -> u64| jobs.iter().map(of).collect::<Vec<u64>>();
    let u32s = |of: fn(&Job) -> u32| jobs.iter().map(of).collect::<Vec<u32>>();
    let (id, arrival) = (u64s(|job| job.id), u64s(|job| job.arrival_us));
    let (state, generated) = (u32s(|job| job.state), u32s(|job| job.generated));
    let (prompt, computed) = (vec![1; jobs.len()], u32s(|job| job.generated));
    let left: Vec<f32> = jobs.iter().map(|job| job.left).collect();
    let ttft = u64s(|job| job.ttft_due_ms * 1_000);
    let due = u64s(|job| job.due_ms * 1_000);
    let columns = [
        Column::U64s(&id),
        Column::U64s(&arrival),
        Column::U32s(&state),
        Column::U32s(&prompt),
        Column::U32s(&generated),
        Column::U32s(&computed),
        Column::F32s(&left),
        Column::U32s(&generated),
        Column::U64s(&ttft),
        Column::U64s(&due),
    ];
    policy.decide(&Snapshot::new(header, &columns))
}

/// It is second 1, a token takes 10 ms, and so does a prompt.
fn header() -> Header {
    Header {
        now_us: 1_000_000,
        window_tokens: 10,
        max_num_seqs: 4,
        plan_max: 1_000,
        iteration_base_us: 10_000.0,
        ..Header::default()
    }
}

/// A new job of so many tokens that is due at so many milliseconds.
fn new(id: u64, left: f32, due_ms: u64) -> Job {
    Job {
        id,
        arrival_us: id,
        state: state::NEW,
        generated: 0,
        left,
        ttft_due_ms: 0,
        due_ms,
    }
}

fn running(id: u64, left: f32, due_ms: u64) -> Job {
    Job {
        state: state::DECODE,
        generated: 5,
        ..new(id, left, due_ms)
    }
}

fn run(jobs: &[Job]) -> Vec<u64> {
    decide(&mut Edf::default(), &header(), jobs).run
}

fn with(hopeless: &str, jobs: &[Job]) -> Plan {
    let mut policy = Edf::default();
    policy
        .configure(&format!("hopeless = \"{hopeless}\""))
        .unwrap();
    decide(&mut policy, &header(), jobs)
}

#[test]
fn the_least_time_to_spare_counts_and_not_the_deadline() {
    // 1500 - 1000 - 10 - 300 = 190 ms to spare; 1400 - 1000 - 10 - 50 = 340 ms.
    assert_eq!(run(&[new(1, 5.0, 1_400), new(2, 30.0, 1_500)]), [2, 1]);
}

#[test]
fn who_is_never_due_comes_last_and_by_arrival() {
    let jobs = [new(1, 5.0, 0), new(2, 5.0, 0), new(3, 900.0, 90_000)];
    assert_eq!(run(&jobs), [3, 1, 2]);
}

#[test]
fn the_first_token_has_a_deadline_of_its_own_until_it_is_there() {
    let first = Job {
        ttft_due_ms: 1_200,
        ..new(1, 5.0, 9_000)
    };
    let later = new(2, 5.0, 2_000);
    assert_eq!(run(&[later, first]), [1, 2]);
    let given = Job {
        state: state::PAUSED,
        generated: 1,
        ..first
    };
    assert_eq!(run(&[later, given]), [2, 1]);
}

#[test]
fn a_slot_is_lost_only_to_a_job_that_cannot_wait_another_window() {
    let holder = running(1, 10.0, 3_000);
    // A window takes 100 ms: 190 ms to spare are enough, 90 ms are not.
    assert_eq!(run(&[new(2, 30.0, 1_500), holder]), [1, 2]);
    assert_eq!(run(&[new(2, 40.0, 1_500), holder]), [2, 1]);
}

#[test]
fn it_wants_to_be_asked_when_the_next_job_becomes_urgent() {
    let wake = |jobs: &[Job]| decide(&mut Edf::default(), &header(), jobs).wake_up_us;
    // 190 ms to spare are 90 ms more than a window.
    let jobs = [
        running(1, 10.0, 3_000),
        new(2, 30.0, 1_500),
        new(3, 30.0, 1_900),
    ];
    assert_eq!(wake(&jobs), 1_090_001);
    assert_eq!(wake(&jobs[..1]), 0, "nobody waits");
}

#[test]
fn who_will_be_late_anyway_stands_behind_those_who_can_make_it() {
    let jobs = [
        new(1, 90.0, 1_500),
        new(2, 5.0, 9_000),
        new(3, 99.0, 1_400),
        new(4, 5.0, 0),
    ];
    assert_eq!(run(&jobs), [2, 3, 1, 4]);
    assert_eq!(with("keep", &jobs).run, [3, 1, 2, 4]);
    assert!(with("last", &jobs).reject.is_empty());
    let refused = with("reject", &jobs);
    assert_eq!((refused.run, refused.reject), (vec![2, 4], vec![1, 3]));
}

#[test]
fn nobody_is_refused_who_has_begun_or_whose_length_is_unknown() {
    let jobs = [running(1, 900.0, 1_100), new(2, f32::NAN, 1_100)];
    assert!(with("reject", &jobs).reject.is_empty());
    let overdue = new(3, f32::NAN, 900);
    assert_eq!(with("reject", &[overdue]).reject, [3]);
}

#[test]
fn an_unknown_way_with_the_hopeless_is_refused() {
    let error = Edf::default().configure("hopeless = \"hope\"").unwrap_err();
    assert!(error.contains("`hopeless`") && error.contains("reject"));
}

proptest! {
    #[test]
    fn it_is_a_sort_by_class_and_slack(
        rows in prop::collection::vec((0u64..4, 0u32..6, 0u8..60, 0u64..30), 0..80),
        rotate in 0usize..100,
    ) {
        let mut jobs: Vec<Job> = rows
            .iter()
            .zip(1..)
            .map(|(&(arrival_us, state, left, due), id)| Job {
                arrival_us,
                state,
                ..new(id, f32::from(left), due * 100)
            })
            .collect();
        let mut sorted = jobs.clone();
        sorted.sort_by_key(|job| {
            let due = job.due_ms as i64;
            let slack = due - 1_000 - 10 - 10 * job.left as i64;
            let (class, place) = match () {
                () if due == 0 => (4, 0),
                () if slack < 0 => (3, due),
                () if slack < 100 => (0, slack),
                () if (1..=2).contains(&job.state) => (1, slack),
                () => (2, slack),
            };
            (class, place, job.arrival_us, job.id)
        });
        sorted.truncate(4 + LOOKAHEAD);
        let twin: Vec<u64> = sorted.iter().map(|job| job.id).collect();
        let middle = rotate.min(jobs.len());
        jobs.rotate_left(middle);
        prop_assert_eq!(run(&jobs), twin);
    }
}
