//! Recorded predictions, refits and counterfactuals on logs that a test can follow.

use std::collections::BTreeMap;

use crate::cost::CostModel;
use crate::fit::Measurement;
use elis_predictor::{LengthPredictor as _, Request as Question};
use elis_scheduler::config::{Batching, Boundary, Config, CostHint, Placement, WorkerConfig};
use elis_scheduler::{Predicted, Request, Span, Time};

use super::*;

fn predicted(at_tokens: u32, remaining_tokens: f32) -> Predicted {
    Predicted {
        job: 9,
        at_tokens,
        remaining_tokens,
        sigma_tokens: 3.0,
        p90_tokens: f32::NAN,
        source: 5,
    }
}

#[test]
fn recorded_predictions_come_again_and_count_down_between() {
    let mut predictor = RecordedPredictor::new(7);
    predictor.add(4, 10, vec![predicted(10, 80.0), predicted(60, 12.0)]);
    let ask = |job, generated_tokens| Question {
        job,
        prompt_tokens: 5,
        generated_tokens,
        max_new_tokens: 100,
        true_total_tokens: None,
        text: None,
    };
    let mut answers = Vec::new();
    // Ten of its tokens came along as prompt, so 0 tokens here are 10 there.
    let questions = [ask(4, 0), ask(4, 20), ask(4, 50), ask(4, 90), ask(5, 0)];
    predictor.predict(&questions, &mut answers).unwrap();
    let remaining: Vec<f32> = answers.iter().map(|a| a.remaining_tokens).collect();
    assert_eq!(remaining[..4], [80.0, 60.0, 12.0, 1.0]);
    assert!(remaining[4].is_nan() && answers[0].p90_tokens.is_nan());
    assert_eq!(predictor.latency_ns(1), 7);
}

fn config(workers: usize) -> Config {
    let worker = WorkerConfig {
        max_num_seqs: 4,
        max_batched_tokens: 512,
        block_size_tokens: 16,
        gpu_blocks: 1_000,
        cpu_blocks: 0,
        watermark_blocks: 0,
        batching: Batching::Mixed,
        cost: CostHint::default(),
    };
    Config {
        boundary: Boundary::Slot,
        placement: Placement::Jobs,
        window_tokens: 50,
        repredict_tokens: 50,
        prediction_wait: Span::ZERO,
        decision_deadline: elis_scheduler::NO_DEADLINE,
        max_wait: Span::ZERO,
        jobs_max: 100,
        seed: 0,
        workers: vec![worker; workers],
    }
}

/// Iterations of 10 ms and 1 ms for each sequence.
fn steps() -> Vec<(Measurement, u32)> {
    let step = |n: u32| Measurement {
        decode_seqs: 1 + n % 4,
        decode_kv_tokens: u64::from(100 + n * 37 % 900),
        prefill_tokens: u64::from(n % 3 * 50),
        latency_ms: 10.0 + f64::from(1 + n % 4),
    };
    (0..60).map(|n| (step(n), 1 + n % 7)).collect()
}

fn job(id: u64, arrival_ms: u64, tokens: u32, ended_ms: u64, outcome: Outcome) -> Job {
    Job {
        arrival: Time::ZERO + Span::from_ms(arrival_ms),
        request: Request::new(id, 20, 500),
        carried_tokens: None,
        tokens,
        outcome,
        ended: Time::ZERO + Span::from_ms(ended_ms),
        predictions: Vec::new(),
    }
}

fn observed(jobs: Vec<Job>) -> Observed {
    Observed {
        config: Some(config(1)),
        jobs: jobs.into_iter().map(|job| (job.request.id, job)).collect(),
        steps: steps(),
        from: Time::ZERO + Span::from_ms(1_000),
        to: Time::ZERO + Span::from_ms(9_000),
        ..Observed::default()
    }
}

#[test]
fn a_worker_is_fitted_to_the_recorded_steps() {
    let refit = refit(&observed(vec![]), None).unwrap();
    let CostModel::Linear {
        base_us,
        per_seq_us,
        ..
    } = refit.profile.cost
    else {
        panic!("{:?}", refit.profile.cost);
    };
    assert!((base_us - 10_000.0).abs() < 1.0 && (per_seq_us - 1_000.0).abs() < 1.0);
    assert!(refit.mape.unwrap() < 1e-3);
    assert_eq!(refit.profile.max_num_seqs, 4);
    let empty = super::refit(&Observed::default(), None).unwrap_err();
    assert!(empty.to_string().contains("no state"), "{empty}");
}

#[test]
fn workers_that_differ_are_refused() {
    let mut unequal = observed(vec![]);
    let mut both = config(2);
    both.workers[1].max_num_seqs = 5;
    unequal.config = Some(both);
    let error = refit(&unequal, None).unwrap_err().to_string();
    assert!(error.contains("differ"), "{error}");
}

#[test]
fn only_whole_lives_count_and_the_others_are_load() {
    let jobs = vec![
        Job {
            carried_tokens: Some(30),
            ..job(1, 500, 50, 2_000, Outcome::Finished)
        },
        job(2, 1_500, 40, 3_000, Outcome::Finished),
        job(3, 1_600, 0, 1_700, Outcome::Refused),
        job(4, 1_700, 0, 1_800, Outcome::Cancelled),
        job(5, 1_800, 12, 2_800, Outcome::Cancelled),
        job(6, 8_900, 3, 9_000, Outcome::Open),
    ];
    let observed = observed(jobs);
    let refit = refit(&observed, None).unwrap();
    let counterfactual = Counterfactual::new(&observed, &refit).unwrap();
    assert_eq!(counterfactual.requests(), 4);
    let calibration = counterfactual.calibrate(&Default::default());
    assert_eq!(calibration.requests, 0);
    let nobody = Observed {
        jobs: BTreeMap::new(),
        ..observed
    };
    let error = Counterfactual::new(&nobody, &refit).unwrap_err();
    assert!(error.to_string().contains("no request"), "{error}");
}
