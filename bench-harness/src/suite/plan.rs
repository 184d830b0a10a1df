//! Which cells are run, on which seeds, with which data.

use std::path::{Path, PathBuf};

use elis_workloads::{Overrides, WorkloadRef};

use super::document::LeftOut;
use super::{CellSpec, CellStream, Part, Suite, SuiteError};
use crate::experiment::{Experiment, Stream};
use crate::metrics::Slo;
use crate::paper;

/// What the user wants of a suite.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Choice {
    /// The part; `report` if none.
    pub part: Option<Part>,
    /// Ids or groups of cells; all of the part if empty.
    pub cells: Vec<String>,
    /// The small form.
    pub smoke: bool,
    /// At most so many seeds.
    pub seeds: Option<usize>,
    /// The folder of the real traces.
    pub data: PathBuf,
}

/// A cell that can be run.
#[derive(Debug, Clone)]
pub struct PlannedCell {
    /// Its name.
    pub id: String,
    /// The row of the matrix.
    pub group: String,
    /// What it is for.
    pub part: Part,
    /// Stream, worker, predictor and seeds.
    pub experiment: Experiment,
    /// Objectives.
    pub slo: Slo,
}

/// A run of a suite.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The cells of the matrix.
    pub cells: Vec<PlannedCell>,
    /// The cells of the sweep, with the seeds that it takes.
    pub sweep: Vec<PlannedCell>,
    /// The errors of the sweep.
    pub mae_tokens: Vec<f64>,
    /// Cells without data.
    pub left_out: Vec<LeftOut>,
    /// Whether it is the small form.
    pub smoke: bool,
}

/// Picks the cells, and finds their data.
///
/// # Errors
/// A name that no cell has, or no cell left to run.
pub fn plan(suite: &Suite, choice: &Choice) -> Result<Plan, SuiteError> {
    let smoke = suite.smoke.as_ref().filter(|_| choice.smoke);
    if choice.smoke && smoke.is_none() {
        let problem = format!("suite '{}' has no [smoke]; run it whole", suite.name);
        return Err(SuiteError::Nothing(problem));
    }
    for wanted in &choice.cells {
        let known = |cell: &CellSpec| [&cell.id, &cell.group].contains(&wanted);
        if !suite.cells.iter().any(known) {
            let ids: Vec<&str> = suite.cells.iter().map(|cell| cell.id.as_str()).collect();
            let problem = format!(
                "there is no cell or group '{wanted}'; cells are {}",
                ids.join(", ")
            );
            return Err(SuiteError::Nothing(problem));
        }
    }
    let part = choice.part.unwrap_or(Part::Report);
    let chosen = |cell: &&CellSpec| {
        let named = |name: &String| [&cell.id, &cell.group].contains(&name);
        cell.part == part
            && (choice.cells.is_empty() || choice.cells.iter().any(named))
            && smoke.is_none_or(|smoke| smoke.cells.contains(&cell.id))
    };
    let mut plan = Plan {
        cells: Vec::new(),
        sweep: Vec::new(),
        mae_tokens: Vec::new(),
        left_out: Vec::new(),
        smoke: choice.smoke,
    };
    for cell in suite.cells.iter().filter(chosen) {
        match missing(cell, &choice.data) {
            Some(reason) => plan.left_out.push(LeftOut {
                what: format!("cell {}", cell.id),
                reason,
            }),
            None => plan.cells.push(planned(suite, cell, choice)?),
        }
    }
    if plan.cells.is_empty() {
        let reasons = plan.left_out.iter().map(|left| left.reason.clone());
        let reasons: Vec<String> = reasons.collect();
        let problem = format!("no cell is left to run: {}", reasons.join("; "));
        return Err(SuiteError::Nothing(problem));
    }
    add_sweep(suite, choice, &mut plan);
    Ok(plan)
}

/// Why a cell cannot be run, if its trace is not there.
fn missing(cell: &CellSpec, data: &Path) -> Option<String> {
    let CellStream::Trace(trace, _) = &cell.stream else {
        return None;
    };
    let WorkloadRef::Trace { path, .. } = below(trace, data) else {
        return None;
    };
    let shown = path.display();
    (!path.is_file())
        .then(|| format!("{shown} is not there; give the folder of the traces with --data"))
}

/// A trace, its path taken from the folder of data.
fn below(trace: &WorkloadRef, data: &Path) -> WorkloadRef {
    match trace {
        WorkloadRef::Trace { format, path } => WorkloadRef::Trace {
            format: *format,
            path: data.join(path),
        },
        other => other.clone(),
    }
}

fn planned(suite: &Suite, cell: &CellSpec, choice: &Choice) -> Result<PlannedCell, SuiteError> {
    let named = |workload: WorkloadRef, overrides: &Overrides| {
        let options = cell.worker.options()?;
        Ok::<_, SuiteError>(Experiment {
            stream: Stream::Named(workload),
            overrides: overrides.clone(),
            seeds: Vec::new(),
            predictor: cell.predictor.clone(),
            options,
            record: None,
        })
    };
    let mut experiment = match &cell.stream {
        CellStream::Workload(workload, overrides) => named(workload.clone(), overrides)?,
        CellStream::Trace(trace, overrides) => named(below(trace, &choice.data), overrides)?,
        CellStream::Paper {
            model,
            batch,
            multiple,
            boundary,
        } => {
            let set_up = paper::set_up(model, *batch, *multiple, (*boundary).into())?;
            Experiment {
                predictor: cell.predictor.clone(),
                ..set_up
            }
        }
    };
    let seeds = suite.seeds_of(cell.part);
    let mut count = cell.seeds.unwrap_or(seeds.len());
    if let Some(smoke) = suite.smoke.as_ref().filter(|_| choice.smoke) {
        let take = experiment.overrides.take.unwrap_or(u64::MAX);
        experiment.overrides.take = Some(take.min(smoke.requests));
        count = count.min(smoke.seeds);
    }
    count = count.min(choice.seeds.unwrap_or(count)).min(seeds.len());
    experiment.seeds = seeds[..count].to_vec();
    Ok(PlannedCell {
        id: cell.id.clone(),
        group: cell.group.clone(),
        part: cell.part,
        experiment,
        slo: cell.slo,
    })
}

/// The cells of the sweep that are run anyway; the small form takes one, and two errors.
fn add_sweep(suite: &Suite, choice: &Choice, plan: &mut Plan) {
    let Some(sweep) = &suite.sweep else { return };
    let chosen = plan
        .cells
        .iter()
        .filter(|cell| sweep.cells.contains(&cell.id));
    plan.sweep = chosen
        .map(|cell| {
            let mut cell = cell.clone();
            cell.experiment.seeds.truncate(sweep.seeds);
            cell
        })
        .collect();
    plan.mae_tokens.clone_from(&sweep.mae_tokens);
    if choice.smoke {
        plan.sweep.truncate(1);
        plan.mae_tokens.truncate(2);
    }
}
