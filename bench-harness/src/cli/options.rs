//! Options that several subcommands share: the stream, the worker, how it is scheduled.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use elis_bench_harness::setup::{BoundaryKind, DEFAULT_PROFILE, PlacementKind, WorkerSetup};
use elis_policy_runtime::{Options as RuntimeOptions, Runtime, cache_folder};
use elis_scheduler::Span;
use elis_sim::profile::BatchingKind;
use elis_sim::{DecisionCost, Failure, Options};
use elis_workloads::{ArrivalProcess, Limits, Overrides, WorkloadRef};

/// The request stream.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Request stream")]
pub(crate) struct StreamArgs {
    /// A spec (`workloads/specs/industrial.toml`, or its name) or a trace with its format:
    /// azure:, burstgpt:, mooncake:, servegen:, vidur:, sharegpt:, vllm:, lengths: and a path; or
    /// responses: and a file of responses, whose text a predictor that reads can read
    #[arg(long, default_value = "industrial")]
    pub(crate) workload: String,
    /// File of the prompts that a responses: file names by id (may be given again)
    #[arg(long, value_name = "FILE")]
    pub(crate) prompts: Vec<PathBuf>,
    /// Of a responses: file, only prompts that no predictor of `elis-predictor train` was fitted to
    #[arg(long)]
    pub(crate) unseen: bool,
    /// Requests per second; rescales a spec's arrivals or a lengths: file
    #[arg(long, value_name = "RPS")]
    pub(crate) rate: Option<f64>,
    /// Divide a trace's arrival times by this
    #[arg(long, value_name = "FACTOR")]
    pub(crate) speedup: Option<f64>,
    /// Only the first N requests; of a spec, so many
    #[arg(long, visible_alias = "requests", value_name = "N")]
    pub(crate) take: Option<u64>,
    /// Only the first seconds of the stream
    #[arg(long = "for", value_name = "SECONDS")]
    pub(crate) for_s: Option<f64>,
    /// Arrival process for streams that have none: gamma:0.73, poisson, constant, burst
    #[arg(long, value_name = "PROCESS")]
    pub(crate) arrivals: Option<String>,
    /// Cut prompts to so many tokens
    #[arg(long, value_name = "TOKENS")]
    pub(crate) max_prompt_tokens: Option<u32>,
    /// Cut responses to so many tokens
    #[arg(long, value_name = "TOKENS")]
    pub(crate) max_output_tokens: Option<u32>,
    /// Cut both together to so many tokens, such as a model's context
    #[arg(long, value_name = "TOKENS")]
    pub(crate) max_model_tokens: Option<u32>,
}

impl StreamArgs {
    pub(crate) fn workload(&self) -> Result<WorkloadRef> {
        Ok(WorkloadRef::parse(&self.workload)?)
    }

    pub(crate) fn overrides(&self) -> Result<Overrides> {
        let arrivals = self
            .arrivals
            .as_deref()
            .map(str::parse::<ArrivalProcess>)
            .transpose()?;
        Ok(Overrides {
            rate_rps: self.rate,
            speedup: self.speedup,
            take: self.take,
            for_s: self.for_s,
            arrivals,
            prompts: self.prompts.clone(),
            unseen: self.unseen,
            limits: Limits {
                max_prompt_tokens: self.max_prompt_tokens,
                max_output_tokens: self.max_output_tokens,
                max_model_tokens: self.max_model_tokens,
            },
            ..Overrides::default()
        })
    }
}

/// How prompts and decodes share iterations.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum BatchingArg {
    /// Chunked prefill beside decodes.
    Mixed,
    /// Prompts in iterations of their own.
    PrefillFirst,
}

/// The workers and how they are scheduled.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Workers")]
pub(crate) struct WorkerArgs {
    /// A built-in profile (`elis-bench worker list`) or the path of one in TOML
    #[arg(long, default_value = DEFAULT_PROFILE)]
    pub(crate) worker: String,
    /// How many workers
    #[arg(long, default_value_t = 1)]
    pub(crate) workers: u16,
    /// Sequences in one iteration, instead of the profile's
    #[arg(long, value_name = "N")]
    pub(crate) max_num_seqs: Option<u32>,
    /// Tokens in one iteration, instead of the profile's
    #[arg(long, value_name = "N")]
    pub(crate) max_batched_tokens: Option<u32>,
    /// KV blocks of the device, instead of the profile's
    #[arg(long, value_name = "N")]
    pub(crate) gpu_blocks: Option<u32>,
    /// How prompts and decodes share iterations, instead of the profile's
    #[arg(long)]
    pub(crate) batching: Option<BatchingArg>,
    /// When jobs come back to the scheduler
    #[arg(long, default_value = "slot")]
    pub(crate) boundary: BoundaryKind,
    /// Which worker a request goes to
    #[arg(long, default_value = "jobs")]
    pub(crate) placement: PlacementKind,
    /// Tokens between two boundaries of a job; 1 is per-step scheduling
    #[arg(long, default_value_t = 50, value_name = "TOKENS")]
    pub(crate) window: u32,
    /// Predict again after so many tokens; 0 never
    #[arg(long, default_value_t = 50, value_name = "TOKENS")]
    pub(crate) repredict: u32,
    /// Let a boundary wait until its predictions are in, as the paper does
    #[arg(long)]
    pub(crate) wait_for_predictions: bool,
    /// A request that has waited so long goes first, whatever the policy says; 0 is no guard
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub(crate) max_wait_ms: u64,
    /// Virtual time that a decision costs: free, a time such as 50us, or fuel (0.5 ns a unit)
    #[arg(long, default_value = "free", value_name = "COST")]
    pub(crate) decision_cost: String,
    /// A worker fails: WORKER:AT_S:FOR_S, for example 0:30:10 (may be given again)
    #[arg(long = "fail", value_name = "W:AT:FOR")]
    pub(crate) failures: Vec<String>,
}

impl WorkerArgs {
    pub(crate) fn options(&self) -> Result<Options> {
        let setup = WorkerSetup {
            profile: Some(self.worker.clone()),
            workers: Some(self.workers),
            max_num_seqs: self.max_num_seqs,
            max_batched_tokens: self.max_batched_tokens,
            gpu_blocks: self.gpu_blocks,
            batching: self.batching.map(|kind| match kind {
                BatchingArg::Mixed => BatchingKind::Mixed,
                BatchingArg::PrefillFirst => BatchingKind::PrefillFirst,
            }),
            boundary: Some(self.boundary),
            placement: Some(self.placement),
            window_tokens: Some(self.window),
            repredict_tokens: Some(self.repredict),
            wait_for_predictions: Some(self.wait_for_predictions),
            ..WorkerSetup::default()
        };
        let failures = self
            .failures
            .iter()
            .map(|given| parse_failure(given, self.workers));
        Ok(Options {
            max_wait: Span::from_ms(self.max_wait_ms),
            decision_cost: parse_cost(&self.decision_cost)?,
            failures: failures.collect::<Result<_>>()?,
            ..setup.options()?
        })
    }
}

fn parse_cost(given: &str) -> Result<DecisionCost> {
    if given == "free" {
        return Ok(DecisionCost::Free);
    }
    if given == "fuel" {
        // A rule of thumb that others have measured: 2 million units of fuel take about 1 ms.
        return Ok(DecisionCost::Fuel { ns_per_unit: 0.5 });
    }
    let units = [("ns", 1.0), ("us", 1e3), ("ms", 1e6)];
    let parsed = units.into_iter().find_map(|(unit, ns)| {
        let number: f64 = given.strip_suffix(unit)?.parse().ok()?;
        (number.is_finite() && number >= 0.0).then_some(number * ns)
    });
    match parsed {
        Some(ns) => Ok(DecisionCost::Fixed { ns: ns as u64 }),
        None => bail!("decision cost '{given}': give free, fuel, or a time such as 50us or 1.5ms"),
    }
}

fn parse_failure(given: &str, workers: u16) -> Result<Failure> {
    let wanted = || format!("failure '{given}': give WORKER:AT_S:FOR_S, for example 0:30:10");
    let [worker, at, down] = given.split(':').collect::<Vec<_>>()[..] else {
        bail!(wanted())
    };
    let worker: u16 = worker.parse().with_context(wanted)?;
    if worker >= workers {
        bail!(
            "failure '{given}': there are workers 0 to {} (see --workers)",
            workers - 1
        );
    }
    let seconds = |text: &str| -> Result<u64> {
        let seconds: f64 = text.parse().with_context(wanted)?;
        if !(seconds.is_finite() && seconds >= 0.0) {
            bail!(wanted());
        }
        Ok((seconds * 1e9) as u64)
    };
    Ok(Failure {
        worker,
        at_ns: seconds(at)?,
        down_ns: seconds(down)?,
    })
}

/// A runtime for simulations: metered by fuel, so that a run is the same on every machine.
pub(crate) fn runtime() -> Result<Runtime> {
    Ok(Runtime::new(RuntimeOptions {
        cache_dir: cache_folder(),
        ..RuntimeOptions::default()
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_and_failures_are_read_or_explained() {
        assert_eq!(
            parse_cost("1.5ms").unwrap(),
            DecisionCost::Fixed { ns: 1_500_000 }
        );
        assert!(parse_cost("soon").unwrap_err().to_string().contains("50us"));
        let failure = Failure {
            worker: 1,
            at_ns: 2_500_000_000,
            down_ns: 10_000_000_000,
        };
        assert_eq!(parse_failure("1:2.5:10", 2).unwrap(), failure);
        assert!(
            parse_failure("2:0:1", 2)
                .unwrap_err()
                .to_string()
                .contains("0 to 1")
        );
        assert!(parse_failure("0:x:1", 2).is_err());
    }
}
