//! ISRTF on small snapshots, and against the obvious way to write it.

use elis_policy_sdk::{Column, Header, Policy, Snapshot, flags};
use proptest::prelude::*;

use super::Isrtf;

#[derive(Debug, Clone, Copy, Default)]
struct Job {
    id: u64,
    arrival_us: u64,
    flags: u32,
    remaining: f32,
    predicted_at: u32,
    generated: u32,
}

fn run(policy: &mut Isrtf, header: &Header, jobs: &[Job]) -> Vec<u64> {
    let id: Vec<u64> = jobs.iter().map(|job| job.id).collect();
    let arrival: Vec<u64> = jobs.iter().map(|job| job.arrival_us).collect();
    let flags: Vec<u32> = jobs.iter().map(|job| job.flags).collect();
    let remaining: Vec<f32> = jobs.iter().map(|job| job.remaining).collect();
    let predicted_at: Vec<u32> = jobs.iter().map(|job| job.predicted_at).collect();
    let generated: Vec<u32> = jobs.iter().map(|job| job.generated).collect();
    let columns = [
        Column::U64s(&id),
        Column::U64s(&arrival),
        Column::U32s(&flags),
        Column::F32s(&remaining),
        Column::U32s(&predicted_at),
        Column::U32s(&generated),
    ];
    policy.decide(&Snapshot::new(header, &columns)).run
}

fn header(max_num_seqs: u32) -> Header {
    Header {
        max_num_seqs,
        plan_max: 1_000,
        now_us: 10_000_000,
        ..Header::default()
    }
}

fn job(id: u64, remaining: f32) -> Job {
    Job {
        id,
        arrival_us: id,
        remaining,
        ..Job::default()
    }
}

#[test]
fn the_fewest_remaining_run_first_and_a_missing_prediction_last() {
    let jobs = [job(1, f32::NAN), job(2, 80.0), job(3, 20.0), job(4, 20.0)];
    assert_eq!(run(&mut Isrtf::default(), &header(4), &jobs), [3, 4, 2, 1]);
}

#[test]
fn a_locked_job_stands_first() {
    let locked = Job {
        flags: flags::LOCKED,
        ..job(1, 900.0)
    };
    let jobs = [job(2, 1.0), locked];
    assert_eq!(run(&mut Isrtf::default(), &header(4), &jobs), [1, 2]);
}

#[test]
fn a_stale_prediction_is_counted_down_unless_told_otherwise() {
    let stale = Job {
        predicted_at: 50,
        generated: 90,
        ..job(1, 60.0)
    };
    let jobs = [stale, job(2, 30.0)];
    assert_eq!(run(&mut Isrtf::default(), &header(4), &jobs), [1, 2]);
    let mut literal = Isrtf::default();
    literal.configure("count_down = false").unwrap();
    assert_eq!(run(&mut literal, &header(4), &jobs), [2, 1]);
}

#[test]
fn a_prediction_that_is_overdue_counts_as_nothing_left() {
    let overdue = Job {
        generated: 500,
        ..job(2, 10.0)
    };
    // Both at zero: arrival decides.
    assert_eq!(
        run(&mut Isrtf::default(), &header(4), &[overdue, job(1, 0.0)]),
        [1, 2]
    );
}

#[test]
fn ageing_lets_an_old_job_pass_a_short_one() {
    let old = job(1, 400.0);
    let young = Job {
        arrival_us: 10_000_000,
        ..job(2, 100.0)
    };
    assert_eq!(
        run(&mut Isrtf::default(), &header(4), &[old, young]),
        [2, 1]
    );
    let mut ageing = Isrtf::default();
    ageing.configure("ageing_tokens_per_s = 31").unwrap();
    assert_eq!(run(&mut ageing, &header(4), &[old, young]), [1, 2]);
    assert!(ageing.configure("ageing_tokens_per_s = -1").is_err());
}

#[test]
fn it_names_as_many_as_there_are_slots_and_a_few_more() {
    let jobs: Vec<Job> = (0..100).map(|i| job(i, i as f32)).collect();
    assert_eq!(run(&mut Isrtf::default(), &header(4), &jobs).len(), 20);
    let narrow = Header {
        plan_max: 6,
        ..header(4)
    };
    assert_eq!(run(&mut Isrtf::default(), &narrow, &jobs).len(), 6);
}

proptest! {
    #[test]
    fn it_is_a_sort_by_remaining_tokens(
        rows in prop::collection::vec((0u64..4, 0u32..4, 0u8..60, 0u8..30), 0..150),
        max_num_seqs in 0u32..80,
        rotate in 0usize..100,
    ) {
        let mut jobs: Vec<Job> = rows
            .iter()
            .zip(1..)
            .map(|(&(arrival_us, flags, remaining, generated), id)| Job {
                id,
                arrival_us,
                flags,
                remaining: f32::from(remaining),
                predicted_at: 0,
                generated: u32::from(generated),
            })
            .collect();
        let mut sorted = jobs.clone();
        sorted.sort_by_key(|job| {
            let left = (job.remaining as i64 - i64::from(job.generated)).max(0);
            let locked = job.flags & flags::LOCKED != 0;
            (if locked { -1 } else { left }, job.arrival_us, job.id)
        });
        let count = max_num_seqs as usize + super::LOOKAHEAD as usize;
        let twin: Vec<u64> = sorted.iter().take(count).map(|job| job.id).collect();
        let middle = rotate.min(jobs.len());
        jobs.rotate_left(middle);
        prop_assert_eq!(run(&mut Isrtf::default(), &header(max_num_seqs), &jobs), twin);
    }
}
