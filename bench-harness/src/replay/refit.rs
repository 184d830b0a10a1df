//! A modelled worker fitted to the iterations of a log.

use elis_scheduler::config::{Batching, WorkerConfig};
use elis_sim::Profile;
use elis_sim::fit::{self, FitError};
use elis_sim::profile::BatchingKind;
use thiserror::Error;

use super::Observed;

/// A fitted worker and how well it fits.
#[derive(Debug, Clone, PartialEq)]
pub struct Refit {
    /// The worker.
    pub profile: Profile,
    /// Steps that it was fitted to.
    pub steps: usize,
    /// Mean absolute relative error of an iteration; `None` where a profile was given instead.
    pub mape: Option<f64>,
}

/// Why there is no worker.
#[derive(Debug, Error)]
pub enum RefitError {
    /// The log has no checkpoint.
    #[error("the log holds no state to begin with: it was cut before anything was recorded")]
    Empty,
    /// Workers that differ cannot be simulated yet.
    #[error("the recorded workers differ from one another; only equal ones can be simulated")]
    Unequal,
    /// No model follows from the steps.
    #[error("no worker can be fitted to the recorded iterations ({0}); give one with --worker")]
    Fit(#[from] FitError),
}

/// The worker of a log: its memory and its limits as configured, its pace as recorded, or that of
/// `given`.
///
/// # Errors
/// Workers that differ, or steps from which no model follows.
pub fn refit(observed: &Observed, given: Option<&Profile>) -> Result<Refit, RefitError> {
    let config = observed.config.as_ref().ok_or(RefitError::Empty)?;
    let worker = config.workers.first().ok_or(RefitError::Empty)?;
    if config.workers.iter().any(|other| other != worker) {
        return Err(RefitError::Unequal);
    }
    let (cost, mape, source) = match given {
        Some(profile) => (profile.cost, None, profile.source.clone()),
        None => {
            let fitted = fit::linear(&observed.steps)?;
            let source = format!("fitted to {} recorded steps", observed.steps.len());
            (fitted.cost, Some(fitted.mape), source)
        }
    };
    Ok(Refit {
        profile: profile(worker, cost, source),
        steps: observed.steps.len(),
        mape,
    })
}

fn profile(worker: &WorkerConfig, cost: elis_sim::cost::CostModel, source: String) -> Profile {
    Profile {
        name: "recorded".to_owned(),
        model: "the recorded one".to_owned(),
        gpu: "the recorded one".to_owned(),
        source,
        block_size_tokens: worker.block_size_tokens,
        gpu_blocks: worker.gpu_blocks,
        cpu_blocks: worker.cpu_blocks,
        swap_per_block_us: f64::from(worker.cost.swap_per_block_us),
        watermark_blocks: worker.watermark_blocks,
        max_num_seqs: worker.max_num_seqs,
        max_batched_tokens: worker.max_batched_tokens,
        batching: match worker.batching {
            Batching::Mixed => BatchingKind::Mixed,
            Batching::PrefillFirst => BatchingKind::PrefillFirst,
        },
        cost,
    }
}
