//! The Gittins policy on small snapshots, and against the obvious way to write it.

use elis_policy_sdk::lengths::{Gittins as Index, Law};
use elis_policy_sdk::{Column, Header, Policy, Snapshot};
use proptest::prelude::*;

use super::Gittins;

#[derive(Debug, Clone, Copy, Default)]
struct Job {
    id: u64,
    arrival_us: u64,
    remaining: f32,
    sigma: f32,
    predicted_at: u32,
    generated: u32,
}

fn header(max_num_seqs: u32) -> Header {
    Header {
        max_num_seqs,
        plan_max: 1_000,
        ..Header::default()
    }
}

fn run(policy: &mut Gittins, header: &Header, jobs: &[Job], histogram: &[u32]) -> Vec<u64> {
    let id: Vec<u64> = jobs.iter().map(|job| job.id).collect();
    let arrival: Vec<u64> = jobs.iter().map(|job| job.arrival_us).collect();
    let remaining: Vec<f32> = jobs.iter().map(|job| job.remaining).collect();
    let sigma: Vec<f32> = jobs.iter().map(|job| job.sigma).collect();
    let predicted_at: Vec<u32> = jobs.iter().map(|job| job.predicted_at).collect();
    let generated: Vec<u32> = jobs.iter().map(|job| job.generated).collect();
    let columns = [
        Column::U64s(&id),
        Column::U64s(&arrival),
        Column::F32s(&remaining),
        Column::F32s(&sigma),
        Column::U32s(&predicted_at),
        Column::U32s(&generated),
        Column::U32s(histogram),
    ];
    policy.decide(&Snapshot::new(header, &columns)).run
}

fn four(policy: &mut Gittins, jobs: &[Job]) -> Vec<u64> {
    run(policy, &header(4), jobs, &[])
}

fn job(id: u64, remaining: f32, sigma: f32) -> Job {
    Job {
        id,
        arrival_us: id,
        remaining,
        sigma,
        ..Job::default()
    }
}

fn log_normal() -> Gittins {
    let mut policy = Gittins::default();
    policy.configure("law = \"log-normal\"").unwrap();
    policy
}

#[test]
fn without_a_spread_the_fewest_remaining_run_first() {
    let stale = Job {
        predicted_at: 50,
        generated: 90,
        ..job(4, 60.0, 0.0)
    };
    let jobs = [
        job(1, 80.0, f32::NAN),
        job(2, 30.0, f32::NAN),
        job(3, 10.0, 0.0),
        stale,
    ];
    assert_eq!(four(&mut Gittins::default(), &jobs), [3, 4, 2, 1]);
}

#[test]
fn a_guess_of_nearly_nothing_is_worth_less_than_a_sure_little() {
    // A normal law that lies mostly below zero: it has not ended, so the rest of the law counts.
    let jobs = [job(1, 1.0, 80.0), job(2, 30.0, 5.0)];
    assert_eq!(four(&mut Gittins::default(), &jobs), [2, 1]);
    // Of equal means a log-normal law with a long tail is the likelier to end soon.
    let jobs = [job(1, 100.0, 20.0), job(2, 100.0, 200.0)];
    assert_eq!(four(&mut Gittins::default(), &jobs), [1, 2]);
    assert_eq!(four(&mut log_normal(), &jobs), [2, 1]);
}

#[test]
fn without_any_prediction_recent_responses_say_what_is_to_come() {
    // Most end within 64 tokens, the rest after 640.
    let mut histogram = [0; 11];
    (histogram[0], histogram[10]) = (90, 10);
    let started = |id, generated| Job {
        generated,
        ..job(id, f32::NAN, f32::NAN)
    };
    let jobs = [
        started(1, 100),
        started(2, 0),
        started(3, 600),
        started(4, 690),
    ];
    let order = run(&mut Gittins::default(), &header(4), &jobs, &histogram);
    // The last bin has no end, and one that has come to it needs as much as it is wide.
    assert_eq!(order, [2, 4, 3, 1]);
    // Nobody has finished yet: by arrival.
    assert_eq!(four(&mut Gittins::default(), &jobs), [1, 2, 3, 4]);
}

#[test]
fn the_law_is_one_of_two() {
    let error = Gittins::default()
        .configure("law = \"cauchy\"")
        .unwrap_err();
    assert!(
        error.contains("`law`") && error.contains("cauchy"),
        "{error}"
    );
}

proptest! {
    #[test]
    fn it_is_a_sort_by_index(
        rows in prop::collection::vec((0u64..4, 0u8..90, 0u8..90, 0u32..60), 0..150),
        log in any::<bool>(),
        histogram in prop::collection::vec(0u32..9, 0..12),
        max_num_seqs in 0u32..80,
        rotate in 0usize..100,
    ) {
        // Some have no spread, some no prediction at all.
        let known = |tokens: u8| if tokens < 10 { f32::NAN } else { f32::from(tokens) };
        let mut jobs: Vec<Job> = (1..)
            .zip(&rows)
            .map(|(id, &(arrival_us, remaining, sigma, generated))| Job {
                id,
                arrival_us,
                remaining: known(remaining),
                sigma: known(sigma),
                predicted_at: 0,
                generated,
            })
            .collect();
        let index = |job: &Job| {
            let (mean, sigma) = (job.remaining, job.sigma);
            let law = match (mean.is_nan(), sigma.is_nan()) {
                (true, _) => Law::Histogram { counts: &histogram, bin_tokens: 64.0 },
                (_, true) => Law::Known(mean),
                _ if log => Law::LogNormal { mean, sigma },
                _ => Law::Normal { mean, sigma },
            };
            let index = Index::default().index(law, job.generated as f32);
            if index.is_nan() { f32::INFINITY } else { index }
        };
        let mut sorted = jobs.clone();
        sorted.sort_by(|a, b| {
            let ties = (a.arrival_us, a.id).cmp(&(b.arrival_us, b.id));
            index(a).total_cmp(&index(b)).then(ties)
        });
        let count = max_num_seqs as usize + super::LOOKAHEAD as usize;
        let twin: Vec<u64> = sorted.iter().take(count).map(|job| job.id).collect();
        let middle = rotate.min(jobs.len());
        jobs.rotate_left(middle);
        let mut policy = if log { log_normal() } else { Gittins::default() };
        prop_assert_eq!(run(&mut policy, &header(max_num_seqs), &jobs, &histogram), twin);
    }
}
