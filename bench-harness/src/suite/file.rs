//! A suite as its file says it, before any check of meaning.

use serde::Deserialize;
use toml::Spanned;

use super::Part;
use super::scores::Measure;
use crate::metrics::Slo;
use crate::setup::{BoundaryKind, WorkerSetup};

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SuiteFile {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) baselines: Spanned<Vec<String>>,
    pub(super) seeds: Vec<Spanned<SeedTable>>,
    #[serde(default)]
    pub(super) defaults: DefaultTable,
    #[serde(default)]
    pub(super) paper: Vec<Spanned<PaperTable>>,
    #[serde(default)]
    pub(super) cell: Vec<Spanned<CellTable>>,
    pub(super) sweep: Option<Spanned<SweepTable>>,
    pub(super) smoke: Option<Spanned<SmokeTable>>,
    #[serde(default)]
    pub(super) published: Vec<Spanned<PublishedTable>>,
}

/// `[[seeds]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeedTable {
    pub(super) part: Part,
    pub(super) list: Vec<u64>,
}

/// `[defaults]`
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct DefaultTable {
    pub(super) predictor: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) worker: WorkerSetup,
    #[serde(default)]
    pub(super) slo: Slo,
}

/// `[[paper]]`: set-ups of the ELIS paper, one cell for each model and multiple.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PaperTable {
    pub(super) part: Part,
    pub(super) group: String,
    pub(super) models: Vec<Spanned<String>>,
    pub(super) batch: Spanned<u32>,
    pub(super) multiples: Vec<Spanned<f64>>,
    pub(super) boundary: BoundaryKind,
    pub(super) seeds: Option<Spanned<usize>>,
}

/// `[[cell]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CellTable {
    pub(super) id: String,
    pub(super) part: Part,
    pub(super) group: String,
    pub(super) stream: Spanned<StreamTable>,
    pub(super) worker: Option<Spanned<WorkerSetup>>,
    pub(super) predictor: Option<Spanned<String>>,
    pub(super) slo: Option<Slo>,
    pub(super) seeds: Option<Spanned<usize>>,
}

/// `stream = { … }`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamTable {
    pub(super) workload: Option<String>,
    pub(super) trace: Option<String>,
    pub(super) rate_rps: Option<f64>,
    pub(super) speedup: Option<f64>,
    pub(super) take: Option<u64>,
    pub(super) for_s: Option<f64>,
    pub(super) arrivals: Option<String>,
}

/// `[sweep]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SweepTable {
    pub(super) mae_tokens: Vec<f64>,
    pub(super) cells: Vec<Spanned<String>>,
    pub(super) seeds: Spanned<usize>,
}

/// `[smoke]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SmokeTable {
    pub(super) cells: Vec<Spanned<String>>,
    pub(super) requests: u64,
    pub(super) seeds: Spanned<usize>,
}

/// `[[published]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishedTable {
    pub(super) system: String,
    pub(super) source: String,
    pub(super) policy: String,
    pub(super) against: String,
    pub(super) group: Spanned<String>,
    pub(super) measure: Measure,
    #[serde(rename = "as")]
    pub(super) shown_as: super::ShownAs,
    pub(super) theirs: String,
    pub(super) differences: String,
}
