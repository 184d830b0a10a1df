//! An experiment: policies times seeds on one workload, run in parallel, each run deterministic.

use std::sync::atomic::{AtomicU64, Ordering};

use cpu_time::ThreadTime;
use elis_policy_runtime::{LoadError, LoadedPolicy, Runtime, StartError, resolve};
use elis_predictor::PredictError;
use elis_sim::outcome::RunOutcome;
use elis_sim::{Options, SimError, simulate};
use elis_workloads::{Overrides, Workload, WorkloadError, WorkloadRef};
use rayon::prelude::*;
use thiserror::Error;

/// Why an experiment cannot run.
#[derive(Debug, Error)]
pub enum ExperimentError {
    /// The policy is not there.
    #[error(transparent)]
    NotFound(#[from] resolve::NotFound),
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The policy was refused.
    #[error("policy {name}: {source}")]
    Load {
        /// As it was named.
        name: String,
        /// Why.
        source: Box<LoadError>,
    },
    /// The policy does not start with its configuration.
    #[error("policy {name}: {source}")]
    Start {
        /// As it was named.
        name: String,
        /// Why.
        source: Box<StartError>,
    },
    /// The workload cannot be had.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// The predictor cannot be had.
    #[error(transparent)]
    Predictor(#[from] PredictError),
    /// The simulation gave up.
    #[error("policy {name}, seed {seed}: {source}")]
    Sim {
        /// The policy.
        name: String,
        /// The seed.
        seed: u64,
        /// Why.
        source: SimError,
    },
}

/// A policy that takes part, under the name that the report gives it.
#[derive(Debug, Clone)]
pub struct Contestant {
    /// Name in the report.
    pub name: String,
    /// The component.
    pub policy: LoadedPolicy,
    /// Its configuration, TOML.
    pub config: String,
    /// A predictor of its own instead of the experiment's.
    pub predictor: Option<String>,
    /// A window of its own, in tokens, instead of the experiment's.
    pub window_tokens: Option<u32>,
}

impl Contestant {
    /// Loads a policy given as `NAME`, `PATH`, or either followed by `@CONFIG.toml`. Built-in names
    /// and paths go through the same door.
    ///
    /// # Errors
    /// It is not there, it is refused, or it does not start with this configuration.
    pub fn load(runtime: &Runtime, given: &str) -> Result<Self, ExperimentError> {
        let (name, config) = match given.split_once('@') {
            Some((name, path)) => (name, read_text(path)?),
            None => (given, String::new()),
        };
        let path = resolve::resolve(name)?;
        let bytes = std::fs::read(&path).map_err(|source| ExperimentError::Read {
            path: path.display().to_string(),
            source,
        })?;
        let policy = runtime
            .load(&bytes)
            .map_err(|source| ExperimentError::Load {
                name: name.into(),
                source: source.into(),
            })?;
        let contestant = Self {
            name: policy.info().name.clone(),
            policy,
            config,
            predictor: None,
            window_tokens: None,
        };
        contestant.start()?;
        Ok(contestant)
    }

    fn start(&self) -> Result<elis_policy_runtime::PolicySlot, ExperimentError> {
        self.policy
            .start(&self.config)
            .map_err(|source| ExperimentError::Start {
                name: self.name.clone(),
                source: source.into(),
            })
    }
}

fn read_text(path: &str) -> Result<String, ExperimentError> {
    std::fs::read_to_string(path).map_err(|source| ExperimentError::Read {
        path: path.into(),
        source,
    })
}

/// What is compared, on what.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// The request stream.
    pub workload: WorkloadRef,
    /// Changes to it; the seed is set for each run.
    pub overrides: Overrides,
    /// Seeds of the workload and of the predictor.
    pub seeds: Vec<u64>,
    /// The predictor's name.
    pub predictor: String,
    /// The simulation; its seed is set for each run.
    pub options: Options,
}

impl Experiment {
    /// The stream of one seed.
    ///
    /// # Errors
    /// The trace or spec cannot be read.
    pub fn load(&self, seed: u64) -> Result<Workload, ExperimentError> {
        Ok(self.workload.load(&Overrides {
            seed,
            ..self.overrides.clone()
        })?)
    }

    /// Runs every policy on every seed. `progress` hears of each finished run and of all that will
    /// be. Runs go side by side; each is deterministic, and so is the order of the result.
    ///
    /// # Errors
    /// The first thing that went wrong.
    pub fn run(
        &self,
        contestants: &[Contestant],
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Vec<Vec<RunOutcome>>, ExperimentError> {
        let total = (contestants.len() * self.seeds.len()) as u64;
        let done = AtomicU64::new(0);
        progress(0, total);
        let by_seed: Vec<Vec<RunOutcome>> = self
            .seeds
            .par_iter()
            .map(|&seed| {
                let workload = self.load(seed)?;
                let run = |contestant| {
                    let outcome = self.run_one(contestant, &workload, seed);
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
                    outcome
                };
                contestants.par_iter().map(run).collect()
            })
            .collect::<Result<_, ExperimentError>>()?;
        let mut by_policy: Vec<Vec<RunOutcome>> = contestants.iter().map(|_| Vec::new()).collect();
        for runs in by_seed {
            for (policy, run) in by_policy.iter_mut().zip(runs) {
                policy.push(run);
            }
        }
        Ok(by_policy)
    }

    /// Runs one policy on one stream.
    ///
    /// # Errors
    /// The policy does not start, or the simulation gives up.
    pub fn run_one(
        &self,
        contestant: &Contestant,
        workload: &Workload,
        seed: u64,
    ) -> Result<RunOutcome, ExperimentError> {
        let name = contestant.predictor.as_ref().unwrap_or(&self.predictor);
        let mut predictor = elis_predictor::parse(name, seed)?;
        let mut slot = contestant.start()?;
        let tenants = workload.provenance.tenants.iter();
        let mut options = Options {
            seed,
            tenant_weights: tenants.map(|tenant| tenant.weight as f32).collect(),
            ..self.options.clone()
        };
        if let Some(window_tokens) = contestant.window_tokens {
            options.window_tokens = window_tokens;
            options.repredict_tokens = window_tokens;
        }
        let started = ThreadTime::now();
        let outcome = simulate(&options, &workload.arrivals, &mut slot, predictor.as_mut());
        let cpu_s = started.elapsed().as_secs_f64();
        let mut outcome = outcome.map_err(|source| ExperimentError::Sim {
            name: contestant.name.clone(),
            seed,
            source,
        })?;
        outcome.policy.clone_from(&contestant.name);
        outcome.digest = contestant.policy.digest().to_owned();
        outcome.summary.cpu_s = cpu_s;
        Ok(outcome)
    }
}
