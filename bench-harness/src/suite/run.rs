//! Runs a plan and writes down what comes out.

use elis_policy_runtime::{Runtime, resolve};
use elis_sim::outcome::RunOutcome;
use rayon::prelude::*;
use serde_json::json;

use super::Suite;
use super::assemble::{DoneCell, Results, assemble, whole};
use super::document::{
    CellRecord, LeftOut, PolicyRecord, SuiteDocument, SweepCurve, SweepPoint, SweepRecord,
};
use super::plan::{Plan, PlannedCell};
use super::scores::Measure;
use super::tally::Tally;
use crate::experiment::{BOUND, Contestant, Experiment, ExperimentError};
use crate::report::Generated;

/// Stands for all policies that have been built, where others are named beside.
const BUILT: &str = "built";

/// Who takes part.
#[derive(Debug)]
pub struct Field {
    /// The policies, the clairvoyant reference last.
    pub contestants: Vec<Contestant>,
    /// Built policies that cannot take part.
    pub left_out: Vec<LeftOut>,
}

/// Why a suite stopped.
#[derive(Debug, thiserror::Error)]
pub enum SuiteRunError {
    /// A cell could not be run.
    #[error("cell {id}: {source}")]
    Cell {
        /// The cell.
        id: String,
        /// Why.
        source: ExperimentError,
    },
    /// What came out is no JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// The policies given, or all that have been built if none are; always with the baselines and the
/// clairvoyant reference.
///
/// # Errors
/// A policy that was named, or a baseline, cannot be had. One that was only found is left out.
pub fn field(runtime: &Runtime, suite: &Suite, given: &[String]) -> Result<Field, ExperimentError> {
    let all = given.is_empty() || given.iter().any(|name| name == BUILT);
    let mut contestants = Contestant::load_all(runtime, &suite.baselines)?;
    let mut known = suite.baselines.clone();
    let mut left_out = Vec::new();
    for policy in resolve::list().into_iter().filter(|_| all) {
        if known.contains(&policy.name) {
            continue;
        }
        match Contestant::load(runtime, &policy.name) {
            Ok(contestant) => contestant.join(&mut contestants, &policy.name),
            Err(error) => left_out.push(LeftOut {
                what: format!("policy {}", policy.name),
                reason: error.to_string(),
            }),
        }
        known.push(policy.name);
    }
    for name in given.iter().filter(|name| *name != BUILT) {
        if !known.contains(name) {
            Contestant::load(runtime, name)?.join(&mut contestants, name);
            known.push(name.clone());
        }
    }
    contestants.push(Contestant::clairvoyant(runtime)?);
    Ok(Field {
        contestants,
        left_out,
    })
}

impl Field {
    /// How many runs a plan takes.
    pub fn runs(&self, plan: &Plan) -> u64 {
        let seeds = |cells: &[PlannedCell]| {
            let seeds = cells.iter().map(|cell| cell.experiment.seeds.len());
            seeds.sum::<usize>()
        };
        let matrix = seeds(&plan.cells) * self.contestants.len();
        let sweep = seeds(&plan.sweep) * plan.mae_tokens.len() * (self.contestants.len() - 1);
        (matrix + sweep) as u64
    }
}

/// Runs all cells of a plan, one after the other; `progress` hears of each run.
///
/// # Errors
/// The first thing that went wrong, and in which cell.
pub fn run(
    suite: &Suite,
    plan: &Plan,
    field: &Field,
    generated: Generated,
    progress: &(dyn Fn() + Sync),
) -> Result<SuiteDocument, SuiteRunError> {
    let done = plan
        .cells
        .iter()
        .map(|cell| run_cell(suite, cell, &field.contestants, progress))
        .collect::<Result<Vec<_>, _>>()?;
    let mut sweep = Vec::new();
    for cell in &plan.sweep {
        sweep.push(run_sweep(suite, cell, &plan.mae_tokens, field, progress)?);
    }
    let record = |contestant: &Contestant| PolicyRecord {
        name: contestant.name.clone(),
        digest: contestant.policy.digest().to_owned(),
    };
    let left_out = [&field.left_out[..], &plan.left_out].concat();
    let policies = field.contestants.iter().map(record).collect();
    Ok(assemble(Results {
        suite,
        generated,
        smoke: plan.smoke,
        policies,
        cells: done,
        sweep,
        left_out,
    }))
}

/// Runs all policies on a cell and keeps its figures.
fn tallies(
    suite: &Suite,
    cell: &PlannedCell,
    contestants: &[Contestant],
    progress: &(dyn Fn() + Sync),
) -> Result<Vec<Tally>, SuiteRunError> {
    let runs = cell
        .experiment
        .run(contestants, progress)
        .map_err(at(cell))?;
    let named = |runs: &[RunOutcome], name: &str| runs.first().is_some_and(|r| r.policy == name);
    let of = |name: &String| runs.iter().find(|runs| named(runs, name));
    let baselines = suite.baselines.iter().filter_map(of);
    let baselines: Vec<&[RunOutcome]> = baselines.map(Vec::as_slice).collect();
    let tally = |runs: &Vec<RunOutcome>| Tally::of(runs, &baselines, cell.slo);
    Ok(runs.par_iter().map(tally).collect())
}

fn at(cell: &PlannedCell) -> impl FnOnce(ExperimentError) -> SuiteRunError + use<> {
    let id = cell.id.clone();
    move |source| SuiteRunError::Cell { id, source }
}

fn run_cell(
    suite: &Suite,
    cell: &PlannedCell,
    contestants: &[Contestant],
    progress: &(dyn Fn() + Sync),
) -> Result<DoneCell, SuiteRunError> {
    let tallies = tallies(suite, cell, contestants, progress)?;
    let Experiment {
        predictor,
        seeds,
        options,
        ..
    } = &cell.experiment;
    let first = cell
        .experiment
        .load(seeds.first().copied().unwrap_or_default())
        .map_err(at(cell))?;
    let whole = whole(&tallies, suite.first());
    let record = CellRecord {
        id: cell.id.clone(),
        group: cell.group.clone(),
        part: cell.part,
        workload: serde_json::to_value(&first.provenance)?,
        worker: json!({
            "profile": options.profile,
            "workers": options.workers,
            "boundary": format!("{:?}", options.boundary).to_lowercase(),
            "placement": format!("{:?}", options.placement).to_lowercase(),
            "window_tokens": options.window_tokens,
            "repredict_tokens": options.repredict_tokens,
            "wait_for_predictions": options.wait_for_predictions,
        }),
        predictor: predictor.clone(),
        slo: cell.slo,
        seeds: seeds.clone(),
        requests: first.arrivals.len() as u64,
        results: tallies
            .par_iter()
            .map(|tally| tally.row(suite.first(), whole))
            .collect(),
    };
    Ok(DoneCell { record, tallies })
}

/// One cell with predictors of every error, under all policies but the reference.
fn run_sweep(
    suite: &Suite,
    cell: &PlannedCell,
    mae_tokens: &[f64],
    field: &Field,
    progress: &(dyn Fn() + Sync),
) -> Result<SweepRecord, SuiteRunError> {
    let fallible = field
        .contestants
        .iter()
        .filter(|contestant| contestant.name != BOUND);
    let contestants: Vec<Contestant> = fallible.cloned().collect();
    let first = suite.first();
    let mut curves: Vec<SweepCurve> = contestants
        .iter()
        .map(|contestant| SweepCurve {
            policy: contestant.name.clone(),
            points: Vec::new(),
        })
        .collect();
    for &mae_tokens in mae_tokens {
        let mut noisy = cell.clone();
        noisy.experiment.predictor = format!("noisy:{mae_tokens}");
        let tallies = tallies(suite, &noisy, &contestants, progress)?;
        for (curve, tally) in curves.iter_mut().zip(tallies) {
            curve.points.push(SweepPoint {
                mae_tokens,
                jct_mean_ms: tally.score(Measure::JctMean),
                versus: tally.versus(first, Measure::JctMean),
            });
        }
    }
    Ok(SweepRecord {
        cell: cell.id.clone(),
        seeds: cell.experiment.seeds.clone(),
        curves,
    })
}
