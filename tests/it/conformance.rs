//! What every policy must do, whatever its rule; and the theorems of the rules that ship.

use std::collections::BTreeSet;

use elis_predictor::{
    Constant, Latency, LengthPredictor, Oracle, PredictError, Prediction, Request,
};
use elis_scheduler::plan::Plan;
use elis_sim::cost::CostModel;
use elis_sim::outcome::RunOutcome;
use elis_sim::{Options, Profile, simulate};
use elis_workloads::Arrival;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::twins::native::native;
use crate::twins::queues::{self, Queue};
use crate::twins::{loaded, policies};

const ITERATION_US: u64 = 1_000;

fn plan(name: &str, queue: &Queue) -> Plan {
    native(name).decide(&queue.snapshot()).plan.unwrap()
}

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
    let one = |(&(at, output_tokens), id): (&(u64, u32), u64)| Arrival {
        id,
        arrival_ns: at * ITERATION_US * 1_000,
        prompt_tokens: 8,
        output_tokens,
        tenant: 0,
        priority: 100,
        ttft_deadline_ns: 0,
        deadline_ns: 0,
        text: None,
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

fn serve(
    policy: &str,
    options: &Options,
    jobs: &[(u64, u32)],
    predictor: &mut dyn LengthPredictor,
) -> Vec<(u64, u64)> {
    let outcome = simulate(options, &arrivals(jobs), &mut *native(policy), predictor).unwrap();
    assert_eq!(outcome.summary.completed, jobs.len() as u64);
    finishes(&outcome)
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

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn isrtf_that_knows_the_truth_is_srpt(jobs in over_time()) {
        let served = serve("isrtf", &one_slot(1), &jobs, &mut oracle());
        prop_assert_eq!(served, srpt(&jobs));
    }

    #[test]
    fn isrtf_that_knows_the_truth_clears_a_queue_by_length(jobs in at_once(), window in 1u32..60) {
        let jobs = with_a_first(jobs);
        let served = serve("isrtf", &one_slot(window), &jobs, &mut oracle());
        let first = |job: usize| job != 0;
        prop_assert_eq!(served, in_order_of(&jobs, |job| (first(job), jobs[job].1)));
    }

    #[test]
    fn isrtf_without_windows_is_sjf(
        jobs in at_once(),
        guesses in vec(1u16..50, 26),
    ) {
        let jobs = with_a_first(jobs);
        let mut options = one_slot(u32::MAX);
        options.repredict_tokens = 0;
        let mut guesses: Vec<f32> = guesses.into_iter().map(f32::from).collect();
        guesses.resize(jobs.len(), 1.0);
        let serve = |policy| serve(policy, &options, &jobs, &mut FixedError(guesses.clone()));
        let (isrtf, sjf) = (serve("isrtf"), serve("sjf"));
        let key = |job: usize| (job != 0, guesses[job] as u32);
        prop_assert_eq!(&isrtf, &in_order_of(&jobs, key));
        prop_assert_eq!(isrtf, sjf);
    }

    #[test]
    fn equal_predictions_are_first_come_first_served(jobs in over_time()) {
        let options = Options {
            repredict_tokens: 0,
            ..one_slot(u32::MAX)
        };
        let serve = |policy| {
            let mut constant = Constant::new("constant:40", 40, Latency::default());
            serve(policy, &options, &jobs, &mut constant)
        };
        let fcfs = serve("fcfs");
        prop_assert!(fcfs.windows(2).all(|pair| pair[0].1 < pair[1].1), "{:?}", fcfs);
        prop_assert_eq!(serve("sjf"), fcfs.clone());
        prop_assert_eq!(serve("isrtf"), fcfs);
    }

    #[test]
    fn every_policy_keeps_the_contract(queue in queues::queue(0..120), seed in any::<u64>()) {
        let known: BTreeSet<u64> = queue.jobs.id.iter().copied().collect();
        for name in policies() {
            let first = plan(&name, &queue);
            prop_assert!(first.run.len() <= queue.header.plan_max as usize, "{}", name);
            for list in [&first.run, &first.victims, &first.preempt, &first.reject] {
                let each: BTreeSet<u64> = list.iter().copied().collect();
                prop_assert_eq!(each.len(), list.len(), "{} names a job twice", name);
                prop_assert!(each.is_subset(&known), "{} makes up jobs", name);
            }
            let somebody = !known.is_empty() && queue.header.plan_max > 0;
            prop_assert_eq!(!first.run.is_empty(), somebody, "{} runs nobody", name);
            prop_assert_eq!(&first, &plan(&name, &queue), "{} wavers", name);
            prop_assert_eq!(&first, &plan(&name, &queue.permuted(seed)), "{}: rows", name);
        }
    }

    #[test]
    fn what_came_before_matters_as_far_as_it_is_handed_over(
        before in vec(queues::queue(0..40), 1..4),
        queue in queues::queue(0..40),
    ) {
        for name in policies() {
            let mut veteran = native(&name);
            for earlier in &before {
                drop(veteran.decide(&earlier.snapshot()));
            }
            let mut heir = native(&name);
            heir.import_state(&veteran.export_state());
            let [one, other] = [veteran, heir].map(|mut p| p.decide(&queue.snapshot()).plan);
            prop_assert_eq!(one, other, "{} remembers what it does not tell", name);
        }
    }
}

#[test]
fn without_any_prediction_every_policy_goes_by_arrival() {
    let jobs: Vec<(u64, f32)> = (1..50).map(|id| (id, f32::NAN)).collect();
    let queue = Queue::of(&jobs).permuted(9);
    for name in policies() {
        let run = plan(&name, &queue).run;
        assert!(run.is_sorted() && run[0] == 1, "{name}: {run:?}");
        assert!(run.len() >= queue.header.max_num_seqs as usize, "{name}");
    }
}

#[test]
fn fresh_instances_decide_alike() {
    let jobs: Vec<(u64, f32)> = (1..50).map(|id| (id, (id * 37 % 101) as f32)).collect();
    let queue = Queue::of(&jobs);
    for name in policies() {
        let policy = loaded(&name);
        let [one, other] = [0; 2].map(|_| policy.start("").unwrap().decide(&queue.snapshot()));
        assert_eq!(one.plan, other.plan, "{name}");
        assert_eq!(one.fuel_used, other.fuel_used, "{name}");
    }
}
