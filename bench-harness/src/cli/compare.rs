//! `elis-bench compare`: several policies on the same stream.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use elis_bench_harness::experiment::{BOUND, Contestant, Experiment, Stream};
use elis_bench_harness::metrics::{MetricOptions, Slo, policy_result};
use elis_bench_harness::report::table::{self, TableOptions};
use elis_bench_harness::report::{Document, Inputs, LoadPoint, assemble, csv, page};
use elis_bench_harness::stats::Verdict;
use elis_sim::outcome::RunOutcome;
use serde_json::json;

use super::options::{StreamArgs, WorkerArgs, runtime};
use super::output;
use super::suite::SuiteArgs;

/// Replay a request stream under several policies.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  elis-bench compare --policy fcfs --policy sjf --policy isrtf --seeds 10 --out results/
  elis-bench compare --workload azure:trace.csv --speedup 4 --policy fcfs --policy mine.wasm
  elis-bench compare --workload lengths:lens.csv --rate 15 --window 1 --policy fcfs --json -
  elis-bench compare --policy fcfs --policy isrtf@aged.toml --loads 0.5,0.8,1,1.2 --gate
  elis-bench compare --suite siblings --out results/siblings
  elis-bench compare --suite siblings --cell industrial --policy built --policy mine.wasm

Exit codes: 0 done, 1 error, 2 usage, 3 requests lost, 4 a policy was significantly worse (--gate).
All figures are simulated.")]
pub(crate) struct Compare {
    #[command(flatten)]
    stream: StreamArgs,
    #[command(flatten)]
    worker: WorkerArgs,
    #[command(flatten)]
    pub(super) suite: SuiteArgs,
    /// A policy by name or path, with @CONFIG.toml behind it if it takes one; may be given again;
    /// fcfs, sjf and isrtf if none is; in a suite all that are built, as is said by `built`
    #[arg(long = "policy", value_name = "POLICY")]
    pub(super) policies: Vec<String>,
    /// The policy that the others are compared with
    #[arg(long, default_value = "fcfs", value_name = "NAME")]
    baseline: String,
    /// Length predictor: oracle, none, constant:N, noisy:MAE, elis-paper; @Nms sets its latency
    #[arg(long, default_value = "elis-paper")]
    predictor: String,
    /// How many seeds, 10 by default, in a suite as many as it says; seed 0 of a trace is the trace
    /// as it is, others start elsewhere in it
    #[arg(long)]
    pub(super) seeds: Option<u64>,
    /// Also run at these multiples of the stream's rate, for the curve of JCT against load
    #[arg(long, value_delimiter = ',', value_name = "X,X,…")]
    loads: Vec<f64>,
    /// Objective for the first token, for goodput
    #[arg(long, value_name = "MS")]
    slo_ttft_ms: Option<f64>,
    /// Objective for each token after it
    #[arg(long, value_name = "MS")]
    slo_tpot_ms: Option<f64>,
    /// Objective for the whole response
    #[arg(long, value_name = "MS")]
    slo_jct_ms: Option<f64>,
    /// Leave out the clairvoyant SRPT reference
    #[arg(long)]
    no_bound: bool,
    /// Folder for a log of each run, POLICY-SEED.elog, for `elis-bench replay`
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Folder for report.html, report.json and requests.csv, or suite.html and suite.json
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Write everything as one JSON document to a path, or to standard output for -
    #[arg(long, value_name = "PATH")]
    pub(super) json: Option<PathBuf>,
    /// Leave this machine's speed out of the JSON, so that equal runs are equal bytes
    #[arg(long)]
    deterministic: bool,
    /// Exit with 4 if any policy is significantly worse than the baseline, in a suite on any cell
    #[arg(long)]
    pub(super) gate: bool,
}

/// The policies that are compared where none are named.
const DEFAULT_POLICIES: [&str; 3] = ["fcfs", "sjf", "isrtf"];
/// Enough for a sound interval.
const DEFAULT_SEEDS: u64 = 10;

impl Compare {
    pub(crate) fn run(self) -> Result<ExitCode> {
        if self.seeds == Some(0) {
            bail!("--seeds 0: at least one seed is needed (10 or more for a sound interval)");
        }
        if let Some(suite) = &self.suite.suite {
            return super::suite::run(&self, suite);
        }
        let seeds = self.seeds.unwrap_or(DEFAULT_SEEDS);
        let experiment = Experiment {
            stream: Stream::Named(self.stream.workload()?),
            overrides: self.stream.overrides()?,
            seeds: (0..seeds).collect(),
            predictor: self.predictor.clone(),
            options: self.worker.options()?,
            record: self.record.clone(),
        };
        let contestants = self.contestants()?;
        let bar = output::bar("simulating", "runs");
        bar.set_length(contestants.len() as u64 * seeds);
        let runs = experiment.run(&contestants, &|| bar.inc(1))?;
        let loads = self.load_points(&experiment, &contestants)?;
        bar.finish_and_clear();
        let document = self.document(&experiment, &runs, loads)?;
        self.publish(&document, &runs)?;
        self.exit_code(&document, &runs)
    }

    fn contestants(&self) -> Result<Vec<Contestant>> {
        let runtime = runtime()?;
        let mut policies = self.policies.clone();
        if policies.is_empty() {
            policies = DEFAULT_POLICIES.map(String::from).into();
        }
        let mut contestants = Contestant::load_all(&runtime, &policies)?;
        if !self.no_bound {
            let bound = Contestant::clairvoyant(&runtime)
                .context("the clairvoyant reference is isrtf with an oracle (see --no-bound)")?;
            contestants.push(bound);
        }
        if !contestants
            .iter()
            .any(|contestant| contestant.name == self.baseline)
        {
            contestants.insert(0, Contestant::load(&runtime, &self.baseline)?);
        }
        Ok(contestants)
    }

    fn metrics(&self) -> MetricOptions {
        MetricOptions {
            slo: Slo {
                ttft_ms: self.slo_ttft_ms,
                tpot_ms: self.slo_tpot_ms,
                jct_ms: self.slo_jct_ms,
            },
            workers: u32::from(self.worker.workers),
        }
    }

    fn load_points(
        &self,
        experiment: &Experiment,
        contestants: &[Contestant],
    ) -> Result<Vec<LoadPoint>> {
        let mut points = Vec::new();
        for &multiple in &self.loads {
            if !(multiple.is_finite() && multiple > 0.0) {
                bail!("--loads {multiple}: a multiple of the rate must be larger than 0");
            }
            let mut scaled = Experiment {
                record: None,
                ..experiment.clone()
            };
            match scaled.overrides.rate_rps {
                Some(rate) => scaled.overrides.rate_rps = Some(rate * multiple),
                None => {
                    let speedup = scaled.overrides.speedup.unwrap_or(1.0);
                    scaled.overrides.speedup = Some(speedup * multiple);
                }
            }
            let rate_rps = scaled
                .load(0)?
                .provenance
                .arrivals
                .measured_rate_rps
                .unwrap_or(0.0);
            let bar = output::bar(&format!("load {multiple}x"), "runs");
            bar.set_length((contestants.len() * scaled.seeds.len()) as u64);
            let runs = scaled.run(contestants, &|| bar.inc(1))?;
            bar.finish_and_clear();
            let metrics = self.metrics();
            let results = runs.iter().map(|runs| policy_result(runs, &metrics));
            let results = results.collect::<Result<_, _>>()?;
            points.push(LoadPoint {
                label: format!("{multiple}x"),
                rate_rps,
                results,
            });
        }
        Ok(points)
    }

    fn document(
        &self,
        experiment: &Experiment,
        runs: &[Vec<RunOutcome>],
        loads: Vec<LoadPoint>,
    ) -> Result<Document> {
        let provenance = experiment.load(0)?.provenance;
        let mut notes = provenance.notes.clone();
        notes.extend(faults(runs));
        let worker = &self.worker;
        let document = assemble(Inputs {
            generated: output::generated(),
            workload: serde_json::to_value(&provenance)?,
            worker: json!({
                "profile": experiment.options.profile,
                "workers": worker.workers,
                "boundary": worker.boundary,
                "placement": worker.placement,
                "window_tokens": worker.window,
                "repredict_tokens": worker.repredict,
                "wait_for_predictions": worker.wait_for_predictions,
                "max_wait_ms": worker.max_wait_ms,
                "decision_cost": worker.decision_cost,
                "failures": worker.failures,
            }),
            predictor: self.predictor.clone(),
            runs,
            baseline: &self.baseline,
            bound: (!self.no_bound).then_some(BOUND),
            loads,
            metrics: self.metrics(),
            notes,
            ..Inputs::default()
        })?;
        Ok(if self.deterministic {
            document.deterministic()
        } else {
            document
        })
    }

    fn publish(&self, document: &Document, runs: &[Vec<RunOutcome>]) -> Result<()> {
        let to_stdout = self
            .json
            .as_ref()
            .is_some_and(|path| path.as_os_str() == "-");
        if !to_stdout {
            output::print(&table::render(document, TableOptions::detect()))?;
        }
        if let Some(folder) = &self.out {
            let html = folder.join("report.html");
            output::write(&html, &page::render(document)?)?;
            output::write(&folder.join("report.json"), &document.to_json()?)?;
            let csv = output::create(&folder.join("requests.csv"))?;
            csv::write_requests(csv, runs.iter().flatten())?;
            if !to_stdout {
                output::print(&format!("report: {}", output::shown(&html).display()))?;
            }
        }
        if let Some(path) = &self.json {
            output::write_or_print(path, &document.to_json()?)?;
        }
        Ok(())
    }

    fn exit_code(&self, document: &Document, runs: &[Vec<RunOutcome>]) -> Result<ExitCode> {
        let lost: u64 = runs
            .iter()
            .flatten()
            .map(|run| &run.summary)
            .map(|summary| summary.arrived - summary.completed - summary.rejected)
            .sum();
        if lost > 0 {
            eprintln!("elis-bench: {lost} requests were neither completed nor refused");
            return Ok(ExitCode::from(3));
        }
        let worse = document
            .paired
            .iter()
            .filter(|pair| pair.verdict == Verdict::Worse);
        let worse: Vec<_> = worse.map(|pair| pair.policy.as_str()).collect();
        if self.gate && !worse.is_empty() {
            eprintln!(
                "elis-bench: significantly worse than {}: {}",
                self.baseline,
                worse.join(", ")
            );
            return Ok(ExitCode::from(4));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Names the causes of faults, so that a reader sees them without searching.
fn faults(runs: &[Vec<RunOutcome>]) -> Vec<String> {
    let mut notes = Vec::new();
    for policy in runs {
        let mut causes = std::collections::BTreeMap::<&str, u64>::new();
        for run in policy {
            let both = run.summary.fallbacks.iter().chain(&run.summary.plan_faults);
            both.for_each(|(cause, n)| *causes.entry(cause.as_str()).or_default() += n);
        }
        if let (Some(first), false) = (policy.first(), causes.is_empty()) {
            let list: Vec<_> = causes
                .iter()
                .map(|(cause, n)| format!("{cause} {n}"))
                .collect();
            notes.push(format!(
                "policy {} had faults: {}",
                first.policy,
                list.join(", ")
            ));
        }
    }
    notes
}
