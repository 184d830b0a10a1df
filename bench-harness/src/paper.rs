//! The set-ups of the ELIS paper's Table 5 and Figure 6, with its figures beside ours.
//!
//! What the paper does not give is ours and said so: its prompts (we draw lengths with the shape
//! of Vicuna-13B's answers to LMSYS prompts, scaled so that a request alone takes the latency of
//! its Table 4), its predictor (we draw errors with its own per-step profile), where KV lies
//! between windows (on the device), and how the Gamma is rescaled (shape kept).

use elis_scheduler::config::Boundary;
use elis_sim::outcome::RunOutcome;
use elis_sim::profile::{BatchingKind, ProfileError};
use elis_sim::{Options, Profile};
use elis_workloads::{Overrides, Spec, WorkloadError};
use rayon::prelude::*;
use serde::Serialize;

use crate::experiment::{Contestant, Experiment, ExperimentError, Stream};

/// One cell of Table 5: mean JCT in seconds at batch 4 on A100.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Published {
    /// Model, as `workloads` names it.
    pub model: &'static str,
    /// Multiple of the request rate.
    pub multiple: f64,
    /// First come, first served.
    pub fcfs_s: f64,
    /// The paper's policy.
    pub isrtf_s: f64,
    /// Shortest job first with profiled latencies.
    pub sjf_s: f64,
}

const fn published(model: &'static str, multiple: f64, jct_s: [f64; 3]) -> Published {
    let [fcfs_s, isrtf_s, sjf_s] = jct_s;
    Published {
        model,
        multiple,
        fcfs_s,
        isrtf_s,
        sjf_s,
    }
}

/// ELIS, Table 5.
pub const TABLE_5: [Published; 15] = [
    published("opt-13b", 1.0, [77.83, 73.57, 20.35]),
    published("opt-13b", 3.0, [116.46, 98.74, 43.63]),
    published("opt-13b", 5.0, [118.13, 118.11, 43.63]),
    published("opt-6.7b", 1.0, [45.08, 50.52, 13.21]),
    published("opt-6.7b", 3.0, [83.42, 72.33, 24.62]),
    published("opt-6.7b", 5.0, [73.93, 74.41, 31.91]),
    published("vicuna-13b", 1.0, [93.42, 73.43, 32.34]),
    published("vicuna-13b", 3.0, [134.96, 118.22, 58.39]),
    published("vicuna-13b", 5.0, [144.23, 131.38, 60.98]),
    published("llama2-13b", 1.0, [240.25, 212.60, 70.55]),
    published("llama2-13b", 3.0, [350.55, 352.53, 133.11]),
    published("llama2-13b", 5.0, [451.59, 377.29, 125.59]),
    published("llama2-7b", 1.0, [91.28, 130.71, 37.02]),
    published("llama2-7b", 3.0, [229.64, 200.34, 59.37]),
    published("llama2-7b", 5.0, [251.66, 234.08, 89.64]),
];

/// Multiples of the request rate, the columns of [`FIGURE_6`].
pub const MULTIPLES: [f64; 3] = [1.0, 3.0, 5.0];

/// ELIS, Figure 6: mean over the models of FCFS / ISRTF - 1, in percent, by batch size.
pub const FIGURE_6: [(u32, [f64; 3]); 3] = [
    (1, [19.58, -1.00, 6.09]),
    (2, [7.12, 2.19, 2.06]),
    (4, [1.02, 12.30, 7.27]),
];

/// Quantiles of output lengths in tokens: Vicuna-13B's answers on LMSYS-Chat-1M, as SSJF published
/// them (Apache-2.0; 85,482 lengths, capped at 511 there). Other models get the same shape, scaled.
const OUTPUT_QUANTILES: [(f64, f64); 16] = [
    (0.0, 2.0),
    (0.02, 2.0),
    (0.05, 9.0),
    (0.1, 13.0),
    (0.2, 31.0),
    (0.3, 57.0),
    (0.4, 95.0),
    (0.5, 140.0),
    (0.6, 201.0),
    (0.7, 263.0),
    (0.8, 325.0),
    (0.9, 397.0),
    (0.95, 447.0),
    (0.98, 487.0),
    (0.99, 502.0),
    (1.0, 511.0),
];

/// Their mean, in tokens.
const OUTPUT_MEAN_TOKENS: f64 = 176.8;

/// One simulated cell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// Model.
    pub model: &'static str,
    /// Batch size.
    pub batch: u32,
    /// Multiple of the request rate.
    pub multiple: f64,
    /// `batch` or `slot`.
    pub boundary: &'static str,
    /// Mean JCT in seconds over all seeds of FCFS, ISRTF and SJF with an oracle.
    pub fcfs_s: f64,
    /// ISRTF with the paper's error profile.
    pub isrtf_s: f64,
    /// SJF with an oracle.
    pub sjf_s: f64,
    /// Mean JCT of each seed, same order of policies.
    pub by_seed_s: Vec<[f64; 3]>,
}

impl Cell {
    /// FCFS / ISRTF - 1 in percent, the average that Figure 6 shows.
    pub fn speedup_minus_one_percent(&self) -> f64 {
        (self.fcfs_s / self.isrtf_s - 1.0) * 100.0
    }
}

/// Why a cell cannot be simulated.
#[derive(Debug, thiserror::Error)]
pub enum PaperError {
    /// No such worker.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// No such stream.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// A run failed.
    #[error(transparent)]
    Experiment(#[from] ExperimentError),
}

/// The policies of a cell.
#[derive(Debug, Clone)]
pub struct Policies {
    /// First come, first served.
    pub fcfs: Contestant,
    /// The paper's policy.
    pub isrtf: Contestant,
    /// Shortest job first; its predictor must be the oracle.
    pub sjf: Contestant,
}

/// Simulates every model at every batch size, rate and boundary; `progress` hears of each cell.
///
/// # Errors
/// The first thing that went wrong.
pub fn run(
    policies: &Policies,
    seeds: u64,
    progress: &(dyn Fn() + Sync),
) -> Result<Vec<Cell>, PaperError> {
    let mut setups = Vec::new();
    for boundary in [Boundary::Batch, Boundary::Slot] {
        for (batch, _) in FIGURE_6 {
            for row in TABLE_5 {
                setups.push((row.model, batch, row.multiple, boundary));
            }
        }
    }
    let cell = |&(model, batch, multiple, boundary): &(&'static str, u32, f64, Boundary)| {
        let cell = simulate_cell(policies, seeds, model, batch, multiple, boundary);
        progress();
        cell
    };
    setups.par_iter().map(cell).collect()
}

/// The set-up of one cell, without seeds.
///
/// # Errors
/// There is no such model.
pub fn set_up(
    model: &str,
    batch: u32,
    multiple: f64,
    boundary: Boundary,
) -> Result<Experiment, PaperError> {
    let mut profile = Profile::resolve(&format!("sim:{model}-a100"))?;
    profile.max_num_seqs = batch;
    profile.batching = BatchingKind::PrefillFirst;
    let spec = spec(model, batch, multiple, &profile);
    Ok(Experiment {
        stream: Stream::Spec(Spec::parse(&spec, "the paper".as_ref())?.into()),
        overrides: Overrides::default(),
        seeds: Vec::new(),
        predictor: "elis-paper".into(),
        options: Options {
            boundary,
            wait_for_predictions: boundary == Boundary::Batch,
            ..Options::new(profile)
        },
        record: None,
    })
}

fn simulate_cell(
    policies: &Policies,
    seeds: u64,
    model: &'static str,
    batch: u32,
    multiple: f64,
    boundary: Boundary,
) -> Result<Cell, PaperError> {
    let experiment = set_up(model, batch, multiple, boundary)?;
    let mut by_seed_s = Vec::new();
    for seed in 0..seeds {
        let workload = experiment.load(seed)?;
        let mean = |contestant: &Contestant| {
            experiment
                .run_one(contestant, &workload, seed)
                .map(|outcome| mean_jct_s(&outcome))
        };
        by_seed_s.push([
            mean(&policies.fcfs)?,
            mean(&policies.isrtf)?,
            mean(&policies.sjf)?,
        ]);
    }
    let over_seeds = |i: usize| {
        by_seed_s.iter().map(|seed| seed[i]).sum::<f64>() / by_seed_s.len().max(1) as f64
    };
    Ok(Cell {
        model,
        batch,
        multiple,
        boundary: if boundary == Boundary::Batch {
            "batch"
        } else {
            "slot"
        },
        fcfs_s: over_seeds(0),
        isrtf_s: over_seeds(1),
        sjf_s: over_seeds(2),
        by_seed_s,
    })
}

fn mean_jct_s(outcome: &RunOutcome) -> f64 {
    let jct = |request: &elis_sim::outcome::RequestOutcome| {
        (request.finish_ns - request.arrival_ns) as f64 / 1e9
    };
    outcome.requests.iter().map(jct).sum::<f64>() / outcome.requests.len().max(1) as f64
}

/// The stream of a cell: 200 prompts, Gamma arrivals at the paper's rate, outputs such that a
/// request alone takes as long as the paper measured.
fn spec(model: &str, batch: u32, multiple: f64, profile: &Profile) -> String {
    let latency_ms = elis_workloads::paper::MODELS
        .iter()
        .find(|known| known.name == model)
        .map_or(0.0, |known| known.latency_ms);
    let decode_ms = f64::from(profile.cost.hint_us()[0]) / 1e3;
    let scale = latency_ms / decode_ms / OUTPUT_MEAN_TOKENS;
    let points = OUTPUT_QUANTILES.map(|(q, tokens)| format!("[{q}, {:.3}]", tokens * scale));
    format!(
        "name = 'paper'\ndescription = 'one cell'\nrequests = 200\n\
         [arrivals]\nprocess = 'gamma'\nshape = 0.73\n\
         paper = {{ model = '{model}', batch = {batch}, multiple = {multiple:.1} }}\n\
         [lengths.prompt.lognormal]\nmu = 3.786\nsigma = 1.007\nmax_tokens = 1024\n\
         [lengths.output]\nquantiles = [{}]\n",
        points.join(", ")
    )
}
