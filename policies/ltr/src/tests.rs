//! LTR on small snapshots, and against the obvious way to write it.

use elis_policy_sdk::{Column, Header, Plan, Policy, Preemption, Snapshot};
use proptest::prelude::*;

use super::Ltr;

#[derive(Debug, Clone, Copy, Default)]
struct Job {
    id: u64,
    arrival_us: u64,
    rank: f32,
    last_run_iteration: u64,
    generated: u32,
    gpu_blocks: u32,
    words: [u64; 2],
}

fn plan(policy: &mut Ltr, header: &Header, jobs: &[Job]) -> Plan {
    let id: Vec<u64> = jobs.iter().map(|job| job.id).collect();
    let arrival: Vec<u64> = jobs.iter().map(|job| job.arrival_us).collect();
    let rank: Vec<f32> = jobs.iter().map(|job| job.rank).collect();
    let last_run: Vec<u64> = jobs.iter().map(|job| job.last_run_iteration).collect();
    let generated: Vec<u32> = jobs.iter().map(|job| job.generated).collect();
    let gpu_blocks: Vec<u32> = jobs.iter().map(|job| job.gpu_blocks).collect();
    let state_a: Vec<u64> = jobs.iter().map(|job| job.words[0]).collect();
    let state_b: Vec<u64> = jobs.iter().map(|job| job.words[1]).collect();
    let columns = [
        Column::U64s(&id),
        Column::U64s(&arrival),
        Column::F32s(&rank),
        Column::U64s(&last_run),
        Column::U32s(&generated),
        Column::U32s(&gpu_blocks),
        Column::U64s(&state_a),
        Column::U64s(&state_b),
    ];
    policy.decide(&Snapshot::new(header, &columns))
}

fn header(iteration: u64) -> Header {
    Header {
        iteration,
        max_num_seqs: 2,
        plan_max: 1_000,
        now_us: 1_000_000,
        last_iteration_us: 2_000,
        ..Header::default()
    }
}

fn job(id: u64, rank: f32) -> Job {
    Job {
        id,
        arrival_us: id,
        rank,
        words: [1, 0],
        ..Job::default()
    }
}

#[test]
fn the_rank_decides_and_progress_does_not() {
    let far = Job {
        generated: 400,
        ..job(1, 7.0)
    };
    let jobs = [job(2, f32::NAN), job(3, 3.0), job(4, 3.0), far];
    assert_eq!(
        plan(&mut Ltr::default(), &header(9), &jobs).run,
        [3, 4, 1, 2]
    );
}

#[test]
fn two_hundred_iterations_without_a_run_are_worth_ten() {
    let mut ltr = Ltr::default();
    let starved = Job {
        last_run_iteration: 100,
        generated: 30,
        ..job(1, 900.0)
    };
    let jobs = [job(2, 1.0), starved].map(|job| Job {
        last_run_iteration: job.last_run_iteration.max(100),
        ..job
    });
    let early = plan(&mut ltr, &header(299), &jobs);
    assert_eq!((early.run, early.state_jobs), (vec![2, 1], vec![]));
    let starves = plan(&mut ltr, &header(300), &jobs[1..]);
    assert_eq!(starves.state_jobs, [1]);
    assert_eq!(starves.state_values, [1, 40]);
    let boosted = Job {
        words: [1, 40],
        ..starved
    };
    assert_eq!(
        plan(&mut ltr, &header(300), &[jobs[0], boosted]).run,
        [2, 1]
    );
    let runs = |generated| Job {
        last_run_iteration: 310,
        generated,
        ..boosted
    };
    let other = Job {
        last_run_iteration: 310,
        ..jobs[0]
    };
    assert_eq!(plan(&mut ltr, &header(310), &[other, runs(39)]).run, [1, 2]);
    assert_eq!(plan(&mut ltr, &header(310), &[other, runs(40)]).run, [2, 1]);
    ltr.configure("idle_iterations = 50\nboost_runs = 3")
        .unwrap();
    assert_eq!(
        plan(&mut ltr, &header(150), &jobs[1..]).state_values,
        [1, 33]
    );
    assert!(ltr.configure("boost_runs = 5_000_000_000").is_err());
}

#[test]
fn it_wakes_per_step_when_the_next_job_would_starve_or_a_boost_ends() {
    let ran = |job: Job, last_run_iteration| Job {
        last_run_iteration,
        ..job
    };
    // 150 and 60 iterations to go; an iteration takes 2 ms.
    let jobs = [ran(job(1, 1.0), 450), ran(job(2, 2.0), 360)];
    let plan_at = |jobs: &[Job]| plan(&mut Ltr::default(), &header(500), jobs).wake_up_us;
    assert_eq!(plan_at(&jobs), 1_000_000 + 60 * 2_000 - 1_000);
    let boosted = Job {
        generated: 5,
        words: [1, 9],
        ..ran(job(3, 3.0), 500)
    };
    assert_eq!(plan_at(&[boosted, jobs[0]]), 1_000_000 + 4 * 2_000 - 1_000);
    let unknown_pace = Header {
        last_iteration_us: 0,
        ..header(500)
    };
    assert_eq!(
        plan(&mut Ltr::default(), &unknown_pace, &jobs).wake_up_us,
        0
    );
}

#[test]
fn memory_is_taken_from_the_back() {
    let jobs: Vec<Job> = (1..40)
        .map(|id| Job {
            gpu_blocks: u32::from(id % 2 == 1),
            ..job(id, id as f32)
        })
        .collect();
    let swaps = Header {
        cpu_blocks_total: 10,
        ..header(5)
    };
    let plan = plan(&mut Ltr::default(), &swaps, &jobs);
    assert_eq!(plan.run, (1..=18).collect::<Vec<u64>>());
    assert_eq!(plan.victims, [39, 37, 35, 33, 31, 29, 27, 25, 23, 21, 19]);
    assert_eq!(plan.victim_mode, Preemption::Swap);
}

proptest! {
    #[test]
    fn it_is_a_sort_by_boost_and_rank(
        rows in prop::collection::vec((0u64..4, 0u8..40, 0u64..400, 0u32..30, 0u64..40), 0..150),
        max_num_seqs in 0u32..80,
        rotate in 0usize..100,
    ) {
        let iteration = 400;
        let mut jobs: Vec<Job> = (1..)
            .zip(&rows)
            .map(|(id, &(arrival_us, rank, last_run_iteration, generated, until))| Job {
                id,
                arrival_us,
                rank: f32::from(rank),
                last_run_iteration,
                generated,
                gpu_blocks: 1,
                words: [1, until],
            })
            .collect();
        let mut sorted = jobs.clone();
        sorted.sort_by_key(|job| {
            let left = job.words[1].saturating_sub(job.generated.into());
            let boosted = (1..=10).contains(&left) || iteration - job.last_run_iteration >= 200;
            (!boosted, job.rank as u32, job.arrival_us, job.id)
        });
        let ids: Vec<u64> = sorted.iter().map(|job| job.id).collect();
        let count = ids.len().min(max_num_seqs as usize + super::LOOKAHEAD as usize);
        let middle = rotate.min(jobs.len());
        jobs.rotate_left(middle);
        let header = Header { max_num_seqs, ..header(iteration) };
        let plan = plan(&mut Ltr::default(), &header, &jobs);
        prop_assert_eq!(&plan.run, &ids[..count]);
        let mut behind: Vec<&Job> = sorted[count..].iter().collect();
        behind.sort_by_key(|job| (job.rank as u32, job.arrival_us, job.id));
        let victims: Vec<u64> = behind.iter().rev().map(|job| job.id).collect();
        prop_assert_eq!(plan.victims, victims);
    }
}
