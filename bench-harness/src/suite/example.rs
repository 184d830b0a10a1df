//! A made-up suite for tests of the reports: a queue with one server under four orders.

use std::sync::OnceLock;

use serde_json::json;

use super::assemble::{DoneCell, Results, assemble, whole};
use super::document::{
    CellRecord, PolicyRecord, SuiteDocument, SweepCurve, SweepPoint, SweepRecord,
};
use super::tally::Tally;
use super::{Measure, Part, Suite};
use crate::experiment::BOUND;
use crate::metrics::Slo;
use crate::report::Generated;
use crate::stats::fixture::{Order, queue};

const SUITE: &str = r#"
name = "example"
description = "a queue that is made up"
baselines = ["fcfs", "isrtf"]

[[seeds]]
part = "report"
list = [1, 2, 3, 4, 5, 6]

[[cell]]
id = "one"
part = "report"
group = "two loads"
stream = { workload = "steady" }

[[cell]]
id = "two"
part = "report"
group = "two loads"
stream = { workload = "burst" }

[[cell]]
id = "three"
part = "report"
group = "alone"
stream = { workload = "tenants" }

[[published]]
system = "ELIS"
source = "a paper"
policy = "isrtf"
against = "fcfs"
group = "two loads"
measure = "jct-mean"
as = "reduction"
theirs = "7 % lower"
differences = "everything"
"#;

/// The order of each policy; the third serves the longest first.
const POLICIES: [(&str, Order); 4] = [
    ("fcfs", Order::Fcfs),
    ("isrtf", Order::Shortest(1.2)),
    ("backwards", Order::Longest),
    (BOUND, Order::Shortest(0.0)),
];

/// Four policies on three cells of two groups, and a sweep; made once for all tests.
pub(crate) fn document() -> SuiteDocument {
    static DOCUMENT: OnceLock<SuiteDocument> = OnceLock::new();
    DOCUMENT.get_or_init(made).clone()
}

/// The same, made anew.
pub(crate) fn made() -> SuiteDocument {
    let suite = Suite::parse(SUITE, "example.toml").unwrap();
    let loads = [0.8, 0.9, 0.7];
    let cells: Vec<DoneCell> = suite
        .cells
        .iter()
        .zip(loads)
        .map(|(cell, load)| {
            let tallies = tallies(suite.seeds_of(Part::Report), load);
            let whole = whole(&tallies, "fcfs");
            let record = CellRecord {
                id: cell.id.clone(),
                group: cell.group.clone(),
                part: cell.part,
                workload: json!({ "name": cell.id, "source": { "sha256": "0123456789abcdef" } }),
                worker: json!({ "workers": 1, "profile": { "name": "one server" } }),
                predictor: cell.predictor.clone(),
                slo: Slo::default(),
                seeds: suite.seeds_of(Part::Report).to_vec(),
                requests: 120,
                results: tallies
                    .iter()
                    .map(|tally| tally.row("fcfs", whole))
                    .collect(),
            };
            DoneCell { record, tallies }
        })
        .collect();
    let sweep = vec![sweep(&cells[0])];
    let policy = |(name, _): (&str, Order)| PolicyRecord {
        name: name.into(),
        digest: "native".into(),
    };
    assemble(Results {
        suite: &suite,
        generated: Generated::default(),
        smoke: false,
        policies: POLICIES.map(policy).into(),
        cells,
        sweep,
        left_out: Vec::new(),
    })
}

fn tallies(seeds: &[u64], load: f64) -> Vec<Tally> {
    let runs = POLICIES.map(|(name, order)| {
        let run = |seed: &u64| queue(name, order, *seed, 120, load);
        seeds.iter().map(run).collect::<Vec<_>>()
    });
    let slo = Slo {
        ttft_ms: Some(1_000.0),
        ..Slo::default()
    };
    let baselines = [&runs[0][..], &runs[1][..]];
    runs.iter()
        .map(|runs| Tally::of(runs, &baselines, slo))
        .collect()
}

/// The same gain at every error: nothing here reads predictions.
fn sweep(cell: &DoneCell) -> SweepRecord {
    let curve = |tally: &Tally| {
        let point = |mae_tokens: f64| SweepPoint {
            mae_tokens,
            jct_mean_ms: tally.score(Measure::JctMean),
            versus: tally.versus("fcfs", Measure::JctMean),
        };
        SweepCurve {
            policy: tally.policy.clone(),
            points: [0.0, 20.0, 71.0].map(point).into(),
        }
    };
    SweepRecord {
        cell: cell.record.id.clone(),
        seeds: cell.record.seeds.clone(),
        curves: cell.tallies[..3].iter().map(curve).collect(),
    }
}
