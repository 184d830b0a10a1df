//! A spec as its file says it, before any check of meaning.

use serde::Deserialize;
use toml::Spanned;

use crate::limits::Limits;

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SpecFile {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) requests: Option<Spanned<u64>>,
    pub(super) duration_s: Option<Spanned<f64>>,
    pub(super) arrivals: Spanned<ArrivalTable>,
    pub(super) lengths: Spanned<LengthTable>,
    #[serde(default)]
    pub(super) tenants: Vec<Spanned<TenantTable>>,
    #[serde(default)]
    pub(super) priorities: Vec<Spanned<PriorityTable>>,
    pub(super) deadlines: Option<Spanned<DeadlineTable>>,
    pub(super) limits: Option<Spanned<Limits>>,
}

/// `[arrivals]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ArrivalTable {
    pub(super) process: Option<String>,
    pub(super) shape: Option<f64>,
    pub(super) trace: Option<String>,
    pub(super) rate_rps: Option<f64>,
    pub(super) paper: Option<PaperTable>,
}

/// `paper = { model, batch, multiple }`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PaperTable {
    pub(super) model: String,
    pub(super) batch: u32,
    pub(super) multiple: f64,
}

/// `[lengths]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LengthTable {
    pub(super) prompt: Option<MarginalTable>,
    pub(super) output: Option<MarginalTable>,
    pub(super) correlation: Option<f64>,
    pub(super) trace: Option<String>,
    pub(super) draw: Option<Draw>,
}

/// `[lengths.prompt.lognormal]`, `prompt = { constant = 100 }` and so on
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum MarginalTable {
    Lognormal(LognormalTable),
    Constant(u32),
    Quantiles(Vec<(f64, f64)>),
}

/// The lognormal's keys; either `mu` or `mean_tokens` (before clipping).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LognormalTable {
    pub(super) mu: Option<f64>,
    pub(super) mean_tokens: Option<f64>,
    pub(super) sigma: f64,
    pub(super) min_tokens: Option<u32>,
    pub(super) max_tokens: Option<u32>,
}

/// How a trace's lengths are drawn.
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(super) enum Draw {
    Replace,
    Shuffle,
}

/// `[[tenants]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TenantTable {
    pub(super) name: String,
    pub(super) share: f64,
    pub(super) weight: Option<f64>,
}

/// `[[priorities]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PriorityTable {
    pub(super) class: u32,
    pub(super) share: f64,
}

/// `[deadlines]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadlineTable {
    pub(super) ttft_ms: Option<f64>,
    pub(super) jct_ms: Option<f64>,
}
