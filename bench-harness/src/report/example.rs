//! A made-up comparison for tests of the reports.

use elis_sim::outcome::RunOutcome;
use serde_json::json;

use super::document::{Document, Generated, LoadPoint};
use super::{Inputs, assemble};
use crate::metrics::{ClientSide, MetricOptions, Slo, policy_result};
use crate::stats::CompareOptions;
use crate::stats::fixture::{Order, queue};
use crate::stats::metric::UNSEEN_NS;

/// Three policies on a server at 85 % load, and at two loads beside.
pub(crate) fn document(seeds: u64, requests: u64) -> Document {
    let runs = all_runs(seeds, requests, 0.85);
    let slo = Slo {
        ttft_ms: Some(1_000.0),
        tpot_ms: Some(50.0),
        jct_ms: None,
    };
    let metrics = MetricOptions { slo, workers: 1 };
    let load = |(label, load): (&str, f64)| LoadPoint {
        label: label.into(),
        rate_rps: load / 0.19,
        results: all_runs(seeds, requests, load)
            .iter()
            .map(|group| policy_result(group, &metrics).unwrap())
            .collect(),
    };
    let inputs = Inputs {
        generated: Generated {
            tool: "elis-bench".into(),
            version: "0.1.0".into(),
            commit: None,
            command: ["elis-bench", "compare", "--seeds", "10"]
                .map(String::from)
                .into(),
        },
        workload: json!({
            "source": "synthetic", "arrivals": { "process": "poisson", "rate_rps": 4.5 },
            "output_tokens": { "law": "pareto", "index": 1.4, "cap": 2000 },
        }),
        worker: json!({ "model": "one server", "ms_per_token": 1.0, "slots": 1 }),
        predictor: "oracle with noise".into(),
        runs: &runs,
        baseline: "fcfs",
        bound: Some("srpt"),
        rerolled: Some(&runs[0]),
        loads: [("0.5x", 0.5), ("0.7x", 0.7), ("0.85x", 0.85)]
            .map(load)
            .into(),
        metrics,
        clients: None,
        compare: CompareOptions {
            resamples: 4_000,
            ..CompareOptions::default()
        },
        notes: vec!["The queue is made up; it only shows the page.".into()],
    };
    assemble(inputs).unwrap()
}

/// Two policies as a client sees them, with some refusals.
pub(crate) fn measured() -> Document {
    let mut runs = all_runs(3, 120, 0.85);
    runs.truncate(2);
    for run in runs.iter_mut().flatten() {
        run.timeline.clear();
        for request in &mut run.requests {
            request.first_run_ns = UNSEEN_NS;
            request.isolated_ns = 0;
            request.predicted_tokens = f32::NAN;
        }
    }
    let client = ClientSide {
        errors: [("http-429".to_owned(), 3)].into(),
        ..ClientSide::default()
    };
    let inputs = Inputs {
        worker: json!({ "url": "http://127.0.0.1:8080", "model": "m" }),
        runs: &runs,
        baseline: "fcfs",
        clients: Some(vec![client; 2]),
        ..Inputs::default()
    };
    assemble(inputs).unwrap()
}

/// The runs behind `document`: fcfs, isrtf, srpt.
pub(crate) fn all_runs(seeds: u64, requests: u64, load: f64) -> Vec<Vec<RunOutcome>> {
    let policies = [
        ("fcfs", Order::Fcfs),
        ("isrtf", Order::Shortest(1.2)),
        ("srpt", Order::Shortest(0.0)),
    ];
    let runs = |(name, order)| {
        (0..seeds)
            .map(|s| queue(name, order, s, requests, load))
            .collect()
    };
    policies.map(runs).into()
}
