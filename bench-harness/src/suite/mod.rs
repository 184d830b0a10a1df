//! A suite: many cells (a stream on a worker), all policies, one matrix.
//!
//! A suite is a TOML file, see `suites/README.md`. [`Suite`] is what it says, checked; [`plan`]
//! picks the cells to run and finds their data; [`run`] runs them one after the other, all policies
//! and seeds of a cell side by side; [`SuiteDocument`] is what comes out.

mod assemble;
pub mod document;
#[cfg(test)]
pub(crate) mod example;
mod file;
mod plan;
mod resolve;
mod run;
pub mod scores;
mod standings;
pub mod tally;

use std::path::Path;

use elis_workloads::{Overrides, WorkloadRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use document::{SCHEMA, SuiteDocument, schema_json};
pub use plan::{Choice, Plan, PlannedCell, plan};
pub use run::{Field, SuiteRunError, field, run};
pub use scores::{Measure, Score, Versus};
pub use tally::Tally;

use crate::metrics::Slo;
use crate::setup::{BoundaryKind, WorkerSetup};

/// What a cell or a list of seeds is for. Nothing is tuned on what is reported.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// For tuning policies.
    Tune,
    /// For judging them.
    Report,
}

/// How a published figure is set beside ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ShownAs {
    /// 1 − P/B.
    Reduction,
    /// B/P.
    SpeedUp,
    /// P against B.
    Values,
}

/// Where the requests of a cell come from.
#[derive(Debug, Clone, PartialEq)]
pub enum CellStream {
    /// A spec, shipped or in a file, or any other reference.
    Workload(WorkloadRef, Box<Overrides>),
    /// A trace below the folder of data, as `FORMAT:FILE`.
    Trace(WorkloadRef, Box<Overrides>),
    /// A set-up of the ELIS paper.
    Paper {
        /// The model.
        model: String,
        /// Sequences in one iteration.
        batch: u32,
        /// Multiple of the paper's rate.
        multiple: f64,
        /// When jobs come back.
        boundary: BoundaryKind,
    },
}

/// One cell: a stream on a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct CellSpec {
    /// Its name, unique in the suite.
    pub id: String,
    /// What it is for.
    pub part: Part,
    /// The row of the matrix that it belongs to.
    pub group: String,
    /// Its requests.
    pub stream: CellStream,
    /// Its worker.
    pub worker: WorkerSetup,
    /// Its predictor.
    pub predictor: String,
    /// Objectives for goodput.
    pub slo: Slo,
    /// How many of the part's seeds it takes; none for all.
    pub seeds: Option<usize>,
}

/// The sweep over the predictor's error.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    /// Mean absolute errors in tokens.
    pub mae_tokens: Vec<f64>,
    /// The cells, by id.
    pub cells: Vec<String>,
    /// How many seeds of the part.
    pub seeds: usize,
}

/// The small form of a suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smoke {
    /// The cells, by id.
    pub cells: Vec<String>,
    /// Requests of each.
    pub requests: u64,
    /// Seeds of each.
    pub seeds: usize,
}

/// A figure of a paper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Published {
    /// The system.
    pub system: String,
    /// Where it is said.
    pub source: String,
    /// Our policy of that rule.
    pub policy: String,
    /// The policy that it is set against.
    pub against: String,
    /// The row of the matrix that is most like their set-up.
    pub group: String,
    /// What is measured.
    pub measure: Measure,
    /// How it is put.
    pub shown_as: ShownAs,
    /// Their figure, in words.
    pub theirs: String,
    /// How the set-ups differ.
    pub differences: String,
}

/// A checked suite.
#[derive(Debug, Clone, PartialEq)]
pub struct Suite {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Policies that all others are set against, the first being the one that gains count from.
    pub baselines: Vec<String>,
    /// Seeds by part.
    pub seeds: Vec<(Part, Vec<u64>)>,
    /// All cells.
    pub cells: Vec<CellSpec>,
    /// The sweep over errors.
    pub sweep: Option<Sweep>,
    /// The small form.
    pub smoke: Option<Smoke>,
    /// What papers say.
    pub published: Vec<Published>,
}

/// Why there is no suite.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// Neither shipped nor a file.
    #[error(
        "there is no suite '{given}': shipped is {}; or give the path of a .toml file",
        shipped()
    )]
    Unknown {
        /// What was asked for.
        given: String,
    },
    /// The file cannot be read.
    #[error("{path}: cannot be read: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A place in the file is wrong.
    #[error("{path}:{line}:{column}: {problem}")]
    At {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// The character, from 1.
        column: usize,
        /// What is wrong there, and what to write.
        problem: String,
    },
    /// A set-up of the paper that cannot be had.
    #[error(transparent)]
    Paper(#[from] crate::paper::PaperError),
    /// A worker that cannot be had.
    #[error(transparent)]
    Worker(#[from] elis_sim::profile::ProfileError),
    /// Nothing is left to run.
    #[error("{0}")]
    Nothing(String),
}

/// The suites in the program.
const SHIPPED: [(&str, &str); 1] = [("siblings", include_str!("../../suites/siblings.toml"))];

fn shipped() -> String {
    SHIPPED.map(|(name, _)| name).join(", ")
}

impl Suite {
    /// The suite of that name, or of that file.
    ///
    /// # Errors
    /// There is none; or file, line and column of what is wrong in it.
    pub fn load(given: &str) -> Result<Self, SuiteError> {
        if let Some((name, text)) = SHIPPED.iter().find(|(name, _)| *name == given) {
            return Self::parse(text, &format!("{name}.toml"));
        }
        let path = Path::new(given);
        if path.extension().is_none_or(|ending| ending != "toml") {
            return Err(SuiteError::Unknown {
                given: given.into(),
            });
        }
        let text = std::fs::read_to_string(path).map_err(|source| SuiteError::Read {
            path: given.into(),
            source,
        })?;
        Self::parse(&text, given)
    }

    /// Reads a suite's text; `path` is for messages.
    ///
    /// # Errors
    /// File, line and column of what is unknown, missing or out of range.
    pub fn parse(text: &str, path: &str) -> Result<Self, SuiteError> {
        let place = resolve::Place { text, path };
        let file: file::SuiteFile = toml::from_str(text).map_err(|error| {
            let byte = error.span().map_or(0, |span| span.start);
            place.at(byte, error.message().to_owned())
        })?;
        resolve::resolve(file, place)
    }

    /// The baseline that gains count from.
    pub fn first(&self) -> &str {
        self.baselines.first().map_or("", String::as_str)
    }

    /// The seeds of a part.
    pub fn seeds_of(&self, part: Part) -> &[u64] {
        let of_part = self.seeds.iter().find(|(of, _)| *of == part);
        of_part.map_or(&[], |(_, list)| list)
    }
}

#[cfg(test)]
mod tests;
