//! Checks what a suite means, and says where it means nothing.

use elis_workloads::{ArrivalProcess, Overrides, WorkloadRef, paper};
use toml::Spanned;

use super::file::{
    CellTable, DefaultTable, PaperTable, PublishedTable, SeedTable, SmokeTable, StreamTable,
    SuiteFile, SweepTable,
};
use super::{CellSpec, CellStream, Part, Published, Smoke, Suite, SuiteError, Sweep};
use crate::setup::{BoundaryKind, WorkerSetup};

/// The predictor where nobody says otherwise: what the ELIS paper reports of its own.
const DEFAULT_PREDICTOR: &str = "elis-paper";

/// The file, for messages.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) text: &'a str,
    pub(super) path: &'a str,
}

impl Place<'_> {
    /// An error at a byte of the text.
    pub(super) fn at(&self, byte: usize, problem: String) -> SuiteError {
        let before = self.text.get(..byte).unwrap_or(self.text);
        SuiteError::At {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.chars().rev().take_while(|c| *c != '\n').count() + 1,
            problem,
        }
    }

    /// An error at a value, unless `fine`.
    fn need<T>(
        &self,
        at: &Spanned<T>,
        fine: bool,
        problem: impl FnOnce() -> String,
    ) -> Result<(), SuiteError> {
        if fine {
            return Ok(());
        }
        Err(self.at(at.span().start, problem()))
    }

    /// Puts the place of a value to what a check finds.
    fn place<T, U, E: std::fmt::Display>(
        &self,
        at: &Spanned<T>,
        result: Result<U, E>,
    ) -> Result<U, SuiteError> {
        result.map_err(|error| self.at(at.span().start, error.to_string()))
    }
}

/// Turns the file into a checked suite.
pub(super) fn resolve(file: SuiteFile, place: Place<'_>) -> Result<Suite, SuiteError> {
    let baselines = &file.baselines;
    place.need(baselines, !baselines.get_ref().is_empty(), || {
        "name at least one baseline, such as \"fcfs\"".into()
    })?;
    let mut suite = Suite {
        name: file.name,
        description: file.description,
        baselines: file.baselines.into_inner(),
        seeds: seeds(&file.seeds, place)?,
        cells: Vec::new(),
        sweep: None,
        smoke: None,
        published: Vec::new(),
    };
    for table in &file.paper {
        for cell in paper_cells(table.get_ref(), &file.defaults, place)? {
            add(&mut suite, cell, table, place)?;
        }
    }
    for table in &file.cell {
        let cell = cell(table.get_ref(), &file.defaults, place)?;
        add(&mut suite, cell, table, place)?;
    }
    suite.sweep = file
        .sweep
        .map(|table| sweep(&table, &suite, place))
        .transpose()?;
    suite.smoke = file
        .smoke
        .map(|table| smoke(&table, &suite, place))
        .transpose()?;
    let published = file.published.into_iter();
    suite.published = published
        .map(|table| said(table.into_inner(), &suite, place))
        .collect::<Result<_, _>>()?;
    Ok(suite)
}

/// The seeds of each part: every seed once, in one part.
fn seeds(
    tables: &[Spanned<SeedTable>],
    place: Place<'_>,
) -> Result<Vec<(Part, Vec<u64>)>, SuiteError> {
    let mut all: Vec<(Part, Vec<u64>)> = Vec::new();
    for table in tables {
        let SeedTable { part, list } = table.get_ref();
        place.need(table, !list.is_empty(), || {
            "'list' is empty; give at least one seed".into()
        })?;
        place.need(table, all.iter().all(|(other, _)| other != part), || {
            "this part has seeds already; put them into one list".into()
        })?;
        for (i, seed) in list.iter().enumerate() {
            let before = all.iter().flat_map(|(_, list)| list).chain(&list[..i]);
            place.need(
                table,
                !before.into_iter().any(|other| other == seed),
                || format!("seed {seed} is given twice; a seed belongs to one part, once"),
            )?;
        }
        all.push((*part, list.clone()));
    }
    Ok(all)
}

/// Adds a cell, unless it clashes with one before.
fn add<T>(
    suite: &mut Suite,
    cell: CellSpec,
    at: &Spanned<T>,
    place: Place<'_>,
) -> Result<(), SuiteError> {
    let of_part = suite.seeds_of(cell.part).len();
    place.need(at, of_part > 0, || {
        "there are no seeds for the part of this cell; add [[seeds]]".into()
    })?;
    place.need(at, cell.seeds.unwrap_or(of_part) <= of_part, || {
        format!("'seeds' asks for more than the {of_part} that its part has")
    })?;
    for other in &suite.cells {
        place.need(at, other.id != cell.id, || {
            format!("cell '{}' is there already; give it another id", cell.id)
        })?;
        let both = (&other.stream, &other.worker) == (&cell.stream, &cell.worker);
        place.need(at, !both || other.part == cell.part, || {
            let (one, two) = (&other.id, &cell.id);
            format!("cells '{one}' and '{two}' are the same set-up in two parts; change one")
        })?;
        let one_row = other.group == cell.group;
        let alike = other.part == cell.part && other.seeds == cell.seeds;
        place.need(at, !one_row || alike, || {
            let group = &cell.group;
            format!("cells of group '{group}' must have one part and as many seeds")
        })?;
    }
    suite.cells.push(cell);
    Ok(())
}

/// The cells of a `[[paper]]` table.
fn paper_cells(
    table: &PaperTable,
    defaults: &DefaultTable,
    place: Place<'_>,
) -> Result<Vec<CellSpec>, SuiteError> {
    let batch = *table.batch.get_ref();
    place.need(&table.batch, batch > 0, || {
        "'batch' must be 1 or more".into()
    })?;
    let mut cells = Vec::new();
    for model in &table.models {
        let known = paper::MODELS.iter().any(|m| m.name == model.get_ref());
        place.need(model, known, || {
            let names = paper::model_names();
            format!(
                "the paper has no model '{}'; one of {names}",
                model.get_ref()
            )
        })?;
        for multiple in &table.multiples {
            let multiple = positive(multiple, place)?;
            let slots = match table.boundary {
                BoundaryKind::Slot => " slots",
                BoundaryKind::Batch => "",
            };
            cells.push(CellSpec {
                id: format!("{} b{batch} {multiple}x{slots}", model.get_ref()),
                part: table.part,
                group: table.group.clone(),
                stream: CellStream::Paper {
                    model: model.get_ref().clone(),
                    batch,
                    multiple,
                    boundary: table.boundary,
                },
                worker: WorkerSetup::default(),
                predictor: default_predictor(defaults, place)?,
                slo: defaults.slo,
                seeds: count(table.seeds.as_ref(), place)?,
            });
        }
    }
    Ok(cells)
}

fn cell(
    table: &CellTable,
    defaults: &DefaultTable,
    place: Place<'_>,
) -> Result<CellSpec, SuiteError> {
    let own = table.worker.as_ref();
    let worker = own.map_or_else(WorkerSetup::default, |worker| worker.get_ref().clone());
    let worker = worker.or(&defaults.worker);
    match own {
        Some(own) => place.place(own, worker.options())?,
        None => place.place(&table.stream, worker.options())?,
    };
    Ok(CellSpec {
        id: table.id.clone(),
        part: table.part,
        group: table.group.clone(),
        stream: place.place(&table.stream, stream(table.stream.get_ref()))?,
        worker,
        predictor: match &table.predictor {
            Some(name) => predictor(name, place)?,
            None => default_predictor(defaults, place)?,
        },
        slo: table.slo.unwrap_or(defaults.slo),
        seeds: count(table.seeds.as_ref(), place)?,
    })
}

/// The requests of a cell.
fn stream(table: &StreamTable) -> Result<CellStream, String> {
    let said = |error: elis_workloads::WorkloadError| error.to_string();
    let arrivals = table
        .arrivals
        .as_deref()
        .map(str::parse::<ArrivalProcess>)
        .transpose()
        .map_err(said)?;
    let overrides = Overrides {
        rate_rps: table.rate_rps,
        speedup: table.speedup,
        take: table.take,
        for_s: table.for_s,
        arrivals,
        ..Overrides::default()
    };
    overrides.check().map_err(said)?;
    let overrides = Box::new(overrides);
    match (&table.workload, &table.trace) {
        (Some(workload), None) => {
            let workload = WorkloadRef::parse(workload).map_err(said)?;
            Ok(CellStream::Workload(workload, overrides))
        }
        (None, Some(trace)) => match WorkloadRef::parse(trace).map_err(said)? {
            trace @ WorkloadRef::Trace { .. } => Ok(CellStream::Trace(trace, overrides)),
            _ => Err(format!(
                "'{trace}' is no trace; write FORMAT:FILE, or 'workload' for a spec"
            )),
        },
        _ => Err("give either 'workload' (a spec) or 'trace' (FORMAT:FILE)".into()),
    }
}

fn default_predictor(defaults: &DefaultTable, place: Place<'_>) -> Result<String, SuiteError> {
    match &defaults.predictor {
        Some(name) => predictor(name, place),
        None => Ok(DEFAULT_PREDICTOR.into()),
    }
}

/// A predictor that exists.
fn predictor(name: &Spanned<String>, place: Place<'_>) -> Result<String, SuiteError> {
    place.place(name, elis_predictor::parse(name.get_ref(), 0))?;
    Ok(name.get_ref().clone())
}

fn positive(value: &Spanned<f64>, place: Place<'_>) -> Result<f64, SuiteError> {
    let number = *value.get_ref();
    place.need(value, number.is_finite() && number > 0.0, || {
        format!("{number} must be a number above 0")
    })?;
    Ok(number)
}

fn count(value: Option<&Spanned<usize>>, place: Place<'_>) -> Result<Option<usize>, SuiteError> {
    let Some(value) = value else { return Ok(None) };
    place.need(value, *value.get_ref() > 0, || {
        "'seeds' must be 1 or more".into()
    })?;
    Ok(Some(*value.get_ref()))
}

/// Names of cells that exist.
fn ids(
    names: &[Spanned<String>],
    suite: &Suite,
    place: Place<'_>,
) -> Result<Vec<String>, SuiteError> {
    let id = |name: &Spanned<String>| {
        let there = suite.cells.iter().any(|cell| cell.id == *name.get_ref());
        place.need(name, there, || {
            format!("there is no cell '{}' above; see [[cell]]", name.get_ref())
        })?;
        Ok(name.get_ref().clone())
    };
    names.iter().map(id).collect()
}

fn sweep(
    table: &Spanned<SweepTable>,
    suite: &Suite,
    place: Place<'_>,
) -> Result<Sweep, SuiteError> {
    let SweepTable {
        mae_tokens,
        cells,
        seeds,
    } = table.get_ref();
    let sound = mae_tokens.iter().all(|mae| mae.is_finite() && *mae >= 0.0);
    place.need(table, sound && mae_tokens.len() > 1, || {
        "'mae_tokens' needs two errors or more, each 0 or more".into()
    })?;
    Ok(Sweep {
        mae_tokens: mae_tokens.clone(),
        cells: ids(cells, suite, place)?,
        seeds: count(Some(seeds), place)?.unwrap_or(1),
    })
}

fn smoke(
    table: &Spanned<SmokeTable>,
    suite: &Suite,
    place: Place<'_>,
) -> Result<Smoke, SuiteError> {
    let SmokeTable {
        cells,
        requests,
        seeds,
    } = table.get_ref();
    place.need(table, *requests > 0, || {
        "'requests' must be 1 or more".into()
    })?;
    Ok(Smoke {
        cells: ids(cells, suite, place)?,
        requests: *requests,
        seeds: count(Some(seeds), place)?.unwrap_or(1),
    })
}

fn said(table: PublishedTable, suite: &Suite, place: Place<'_>) -> Result<Published, SuiteError> {
    let group = &table.group;
    let there = suite
        .cells
        .iter()
        .any(|cell| cell.group == *group.get_ref());
    place.need(group, there, || {
        format!("no cell above is of group '{}'", group.get_ref())
    })?;
    Ok(Published {
        system: table.system,
        source: table.source,
        policy: table.policy,
        against: table.against,
        group: table.group.into_inner(),
        measure: table.measure,
        shown_as: table.shown_as,
        theirs: table.theirs,
        differences: table.differences,
    })
}
