//! TRAIL on small snapshots, and against the obvious way to write it.

use elis_policy_sdk::{Column, Header, Plan, Policy, Snapshot};
use proptest::prelude::*;

use super::Trail;

#[derive(Debug, Clone, Copy, Default)]
struct Job {
    id: u64,
    arrival_us: u64,
    runs: u32,
    total: f32,
    remaining: f32,
    predicted_at: u32,
    generated: u32,
    gpu_blocks: u32,
}

fn plan(policy: &mut Trail, header: &Header, jobs: &[Job]) -> Plan {
    let id: Vec<u64> = jobs.iter().map(|job| job.id).collect();
    let arrival: Vec<u64> = jobs.iter().map(|job| job.arrival_us).collect();
    let runs: Vec<u32> = jobs.iter().map(|job| job.runs).collect();
    let total: Vec<f32> = jobs.iter().map(|job| job.total).collect();
    let remaining: Vec<f32> = jobs.iter().map(|job| job.remaining).collect();
    let predicted_at: Vec<u32> = jobs.iter().map(|job| job.predicted_at).collect();
    let generated: Vec<u32> = jobs.iter().map(|job| job.generated).collect();
    let gpu_blocks: Vec<u32> = jobs.iter().map(|job| job.gpu_blocks).collect();
    let columns = [
        Column::U64s(&id),
        Column::U64s(&arrival),
        Column::U32s(&runs),
        Column::F32s(&total),
        Column::F32s(&remaining),
        Column::U32s(&predicted_at),
        Column::U32s(&generated),
        Column::U32s(&gpu_blocks),
    ];
    policy.decide(&Snapshot::new(header, &columns))
}

fn header(max_num_seqs: u32) -> Header {
    Header {
        max_num_seqs,
        plan_max: 1_000,
        ..Header::default()
    }
}

fn run(policy: &mut Trail, jobs: &[Job]) -> Vec<u64> {
    plan(policy, &header(4), jobs).run
}

fn with(toml: &str) -> Trail {
    let mut trail = Trail::default();
    trail.configure(toml).unwrap();
    trail
}

/// A job that waits for its first slot.
fn job(id: u64, total: f32) -> Job {
    Job {
        id,
        arrival_us: id,
        total,
        remaining: total,
        ..Job::default()
    }
}

/// One that has run, and was predicted anew each time.
fn ran(id: u64, total: f32, generated: u32) -> Job {
    Job {
        runs: 1,
        generated,
        predicted_at: generated,
        remaining: total - generated as f32,
        ..job(id, total)
    }
}

#[test]
fn the_fewest_remaining_run_first_and_a_missing_prediction_last() {
    let jobs = [
        job(1, f32::NAN),
        job(2, 80.0),
        ran(3, 100.0, 40),
        job(4, 60.0),
    ];
    assert_eq!(run(&mut Trail::default(), &jobs), [3, 4, 2, 1]);
    let stale = Job {
        predicted_at: 0,
        remaining: 95.0,
        ..ran(3, 100.0, 40)
    };
    assert_eq!(run(&mut Trail::default(), &[stale, job(4, 54.0)]), [4, 3]);
}

#[test]
fn beyond_its_cut_off_a_job_keeps_its_slot() {
    let short = job(9, 1.0);
    assert_eq!(
        run(&mut Trail::default(), &[ran(1, 100.0, 80), short]),
        [9, 1]
    );
    assert_eq!(
        run(&mut Trail::default(), &[ran(1, 100.0, 81), short]),
        [1, 9]
    );
    // It is long overdue and everybody thinks that it needs much more.
    let overdue = Job {
        remaining: 700.0,
        ..ran(1, 100.0, 300)
    };
    assert_eq!(run(&mut Trail::default(), &[overdue, short]), [1, 9]);
    assert_eq!(run(&mut with("c = 4"), &[overdue, short]), [9, 1]);
}

#[test]
fn without_preemption_whoever_has_run_stays_in_front() {
    let mut never = with("c = 0");
    let jobs = [
        ran(1, 900.0, 0),
        ran(2, f32::NAN, 3),
        job(3, 1.0),
        job(4, 2.0),
    ];
    assert_eq!(run(&mut never, &jobs), [1, 2, 3, 4]);
    assert!(never.configure("c = -0.1").is_err());
}

#[test]
fn memory_is_taken_from_those_that_are_furthest_from_their_end() {
    let mut jobs: Vec<Job> = (1..30).map(|id| job(id, 10.0 * id as f32)).collect();
    jobs.iter_mut()
        .for_each(|job| job.gpu_blocks = u32::from(job.id > 25));
    // Evicted beyond its cut-off: pinned to the front, not forgotten at the back.
    jobs.push(ran(90, 1_000.0, 900));
    let plan = plan(&mut Trail::default(), &header(4), &jobs);
    assert_eq!(plan.run[..3], [90, 1, 2]);
    assert_eq!(plan.victims, [29, 28, 27, 26]);
}

proptest! {
    #[test]
    fn it_is_a_sort_by_remaining_tokens_with_the_pinned_in_front(
        rows in prop::collection::vec((0u64..4, 0u32..2, 0u8..60, 0u8..60, 0u32..60), 0..150),
        quarters in 0u8..6,
        max_num_seqs in 0u32..80,
        rotate in 0usize..100,
    ) {
        let mut jobs: Vec<Job> = (1..)
            .zip(&rows)
            .map(|(id, &(arrival_us, runs, total, remaining, generated))| Job {
                id,
                arrival_us,
                runs,
                total: f32::from(total),
                remaining: f32::from(remaining),
                predicted_at: 0,
                generated,
                gpu_blocks: 1,
            })
            .collect();
        let mut sorted = jobs.clone();
        sorted.sort_by_key(|job| {
            let left = (job.remaining as i64 - i64::from(job.generated)).max(0);
            let past = 4 * job.generated.max(1) > u32::from(quarters) * job.total as u32;
            let pinned = job.runs > 0 && past;
            (if pinned { -1 } else { left }, job.arrival_us, job.id)
        });
        let ids: Vec<u64> = sorted.iter().map(|job| job.id).collect();
        let count = ids.len().min(max_num_seqs as usize + super::LOOKAHEAD as usize);
        let middle = rotate.min(jobs.len());
        jobs.rotate_left(middle);
        let mut trail = with(&format!("c = {}", f32::from(quarters) / 4.0));
        let plan = plan(&mut trail, &header(max_num_seqs), &jobs);
        prop_assert_eq!(&plan.run, &ids[..count]);
        let behind: Vec<u64> = ids[count..].iter().rev().copied().collect();
        prop_assert_eq!(plan.victims, behind);
    }
}
