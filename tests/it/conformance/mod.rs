//! What every policy must do, whatever its rule (`contract`), and the theorems of the rules that
//! ship, on one slot where every iteration takes the same time.

mod contract;
mod elis;
mod ltr;
mod noise;
mod service;
mod trail;

use elis_predictor::{Latency, LengthPredictor, Oracle, PredictError, Prediction, Request};
use elis_sim::cost::CostModel;
use elis_sim::outcome::RunOutcome;
use elis_sim::{Decider, Options, Profile, simulate};
use elis_workloads::Arrival;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::twins::native::native;

const ITERATION_US: u64 = 1_000;

/// One slot, and every iteration takes the same time, whatever is in it.
fn one_slot(window_tokens: u32) -> Options {
    let mut profile = Profile::resolve("sim:llama2-7b-a100").unwrap();
    profile.max_num_seqs = 1;
    profile.cost = CostModel::Linear {
        base_us: ITERATION_US as f64,
        per_seq_us: 0.0,
        per_kv_token_us: 0.0,
        per_prefill_token_us: 0.0,
    };
    Options {
        window_tokens,
        repredict_tokens: window_tokens,
        ..Options::new(profile)
    }
}

/// Requests by the iteration in which they come and their length.
fn arrivals(jobs: &[(u64, u32)]) -> Vec<Arrival> {
    let one = |(&(at, output_tokens), id): (&(u64, u32), u64)| {
        Arrival::new(id, at * ITERATION_US * 1_000, 8, output_tokens)
    };
    jobs.iter().zip(0..).map(one).collect()
}

/// Ids in the order in which they finish, each with the iteration after which it does.
fn finishes(outcome: &RunOutcome) -> Vec<(u64, u64)> {
    let one = |r: &elis_sim::outcome::RequestOutcome| (r.finish_ns / 1_000 / ITERATION_US, r.id);
    let mut order: Vec<_> = outcome.requests.iter().map(one).collect();
    order.sort_unstable();
    order
}

fn run(
    policy: &mut dyn Decider,
    options: &Options,
    jobs: &[(u64, u32)],
    predictor: &mut dyn LengthPredictor,
) -> RunOutcome {
    let outcome = simulate(options, &arrivals(jobs), policy, predictor).unwrap();
    assert_eq!(outcome.summary.completed, jobs.len() as u64);
    assert_eq!(outcome.summary.plan_faults.values().sum::<u64>(), 0);
    outcome
}

fn serve(
    policy: &str,
    options: &Options,
    jobs: &[(u64, u32)],
    predictor: &mut dyn LengthPredictor,
) -> Vec<(u64, u64)> {
    finishes(&run(&mut *native(policy), options, jobs, predictor))
}

fn oracle() -> Oracle {
    Oracle::new("oracle", Latency::default())
}

/// The truth at arrival with an error that stays the same over a job's life.
struct FixedError(Vec<f32>);

impl LengthPredictor for FixedError {
    fn name(&self) -> &'static str {
        "fixed-error"
    }

    fn predict(
        &mut self,
        batch: &[Request<'_>],
        out: &mut Vec<Prediction>,
    ) -> Result<(), PredictError> {
        out.clear();
        for request in batch {
            assert_eq!(request.generated_tokens, 0, "only asked on arrival");
            let remaining_tokens = self.0[request.job as usize];
            out.push(Prediction {
                remaining_tokens,
                sigma_tokens: f32::NAN,
                p90_tokens: f32::NAN,
                source: elis_predictor::Source::NoisyOracle,
            });
        }
        Ok(())
    }

    fn latency_ns(&self, _: usize) -> u64 {
        0
    }
}

/// Shortest remaining time first as a textbook has it: one unit of work at a time, to the job with
/// the least left of those that are there; ties to the earlier.
fn srpt(jobs: &[(u64, u32)]) -> Vec<(u64, u64)> {
    let mut left: Vec<u32> = jobs.iter().map(|&(_, length)| length).collect();
    let mut done = Vec::new();
    let mut now = 0;
    while done.len() < jobs.len() {
        let here = (0..jobs.len()).filter(|&job| jobs[job].0 <= now && left[job] > 0);
        let next = here.min_by_key(|&job| (left[job], jobs[job].0, job));
        now += 1;
        if let Some(job) = next {
            left[job] -= 1;
            if left[job] == 0 {
                done.push((now, job as u64));
            }
        }
    }
    done
}

/// Jobs one after the other, in the order of a key.
fn in_order_of<K: Ord>(jobs: &[(u64, u32)], key: impl Fn(usize) -> K) -> Vec<(u64, u64)> {
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by_key(|&job| (key(job), job));
    let mut now = 0;
    let finish = |job: usize| {
        now += u64::from(jobs[job].1);
        (now, job as u64)
    };
    order.into_iter().map(finish).collect()
}

/// All there at once.
fn at_once() -> impl Strategy<Value = Vec<(u64, u32)>> {
    vec(1u32..40, 1..25).prop_map(|lengths| lengths.into_iter().map(|l| (0, l)).collect())
}

/// One after the other: of two that come at the same moment, an idle worker starts the first before
/// it has heard of the second.
fn over_time() -> impl Strategy<Value = Vec<(u64, u32)>> {
    vec((0u64..100, 1u32..40), 1..25).prop_map(|mut jobs| {
        jobs.sort_by_key(|job| job.0);
        jobs.dedup_by_key(|job| job.0);
        jobs
    })
}

/// The queues of a static set-up form one by one, and the first decision falls on the first job
/// alone; a job of one token before them lets the rest come together.
fn with_a_first(mut jobs: Vec<(u64, u32)>) -> Vec<(u64, u32)> {
    jobs.insert(0, (0, 1));
    jobs
}
