//! A modelled worker fitted to the iterations of a log.

use std::collections::BTreeMap;

use crate::Profile;
use crate::cost::{CostModel, Load};
use crate::fit::{self, FitError, Measurement};
use crate::profile::BatchingKind;
use elis_scheduler::config::{Batching, WorkerConfig};
use thiserror::Error;

use super::Observed;

/// A fitted worker and how well it fits.
#[derive(Debug, Clone, PartialEq)]
pub struct Refit {
    /// The worker.
    pub profile: Profile,
    /// Steps that it was fitted to.
    pub steps: usize,
    /// Mean absolute relative error over sizes of steps; `None` where a profile was given instead.
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
            let steps = &observed.steps;
            let fitted = fit::linear(&condensed(steps))?;
            let source = format!("fitted to {} recorded steps", steps.len());
            (in_time(fitted.cost, steps), Some(fitted.mape), source)
        }
    };
    Ok(Refit {
        profile: profile(worker, cost, source),
        steps: observed.steps.len(),
        mape,
    })
}

/// A size of steps that makes up less than one part in so many of all iterations is left out: its
/// mean is as uncertain as a single step.
const SIZES_MAX: f64 = 500.0;

/// Means of steps of about one size, since a single one on a real machine tells little.
fn condensed(steps: &[(Measurement, u32)]) -> Vec<Measurement> {
    let octave = |tokens: u64| u64::BITS - tokens.leading_zeros();
    let mut sums = BTreeMap::<_, (f64, [f64; 4])>::new();
    let total: f64 = steps
        .iter()
        .map(|(_, iterations)| f64::from(*iterations))
        .sum();
    for (step, iterations) in steps {
        let size = (
            step.decode_seqs,
            octave(step.decode_kv_tokens),
            octave(step.prefill_tokens),
        );
        let weight = f64::from(*iterations);
        let (weights, sum) = sums.entry(size).or_default();
        *weights += weight;
        let all = [
            f64::from(step.decode_seqs),
            step.decode_kv_tokens as f64,
            step.prefill_tokens as f64,
            step.latency_ms,
        ];
        sum.iter_mut().zip(all).for_each(|(s, x)| *s += weight * x);
    }
    let mean = |(weight, sum): (f64, [f64; 4])| Measurement {
        decode_seqs: (sum[0] / weight).round() as u32,
        decode_kv_tokens: (sum[1] / weight).round() as u64,
        prefill_tokens: (sum[2] / weight).round() as u64,
        latency_ms: sum[3] / weight,
    };
    let sizes = sums.into_values();
    let common = sizes.filter(|(weight, _)| *weight * SIZES_MAX >= total);
    common.map(mean).collect()
}

/// The model, scaled so that all recorded steps together take as long as they took.
fn in_time(cost: CostModel, steps: &[(Measurement, u32)]) -> CostModel {
    let modelled_ms = |step: &Measurement| {
        let load = Load {
            decode_seqs: step.decode_seqs,
            decode_kv_tokens: step.decode_kv_tokens,
            prefill_tokens: step.prefill_tokens,
            ..Load::default()
        };
        cost.iteration_ns(&load) as f64 / 1e6
    };
    let all = steps.iter().map(|(step, n)| (step, f64::from(*n)));
    let (recorded, modelled) = all.fold((0.0, 0.0), |(recorded, modelled), (step, n)| {
        let (took, takes) = (n * step.latency_ms, n * modelled_ms(step));
        (recorded + took, modelled + takes)
    });
    match cost {
        CostModel::Linear {
            base_us,
            per_seq_us,
            per_kv_token_us,
            per_prefill_token_us,
        } if modelled > 0.0 => {
            let scale = recorded / modelled;
            CostModel::Linear {
                base_us: base_us * scale,
                per_seq_us: per_seq_us * scale,
                per_kv_token_us: per_kv_token_us * scale,
                per_prefill_token_us: per_prefill_token_us * scale,
            }
        }
        other => other,
    }
}

fn profile(worker: &WorkerConfig, cost: CostModel, source: String) -> Profile {
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
