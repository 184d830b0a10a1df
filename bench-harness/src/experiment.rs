//! An experiment: policies times seeds on one workload, run in parallel, each run deterministic.

use std::fs::File;
use std::path::PathBuf;

use cpu_time::ThreadTime;
use elis_policy_runtime::{LoadError, LoadedPolicy, Runtime, StartError, resolve};
use elis_predictor::PredictError;
use elis_record::{Pace, Policy, Post, RecordError, Recorder, Start};
use elis_sim::outcome::RunOutcome;
use elis_sim::{Options, SimError, simulate_recorded};
use elis_workloads::{Overrides, Spec, Workload, WorkloadError, WorkloadRef};
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
    /// The log of a run cannot be written.
    #[error("policy {name}, seed {seed}: {source}")]
    Record {
        /// The policy.
        name: String,
        /// The seed.
        seed: u64,
        /// Why.
        source: RecordError,
    },
}

impl ExperimentError {
    fn record(contestant: &Contestant, seed: u64, source: RecordError) -> Self {
        Self::Record {
            name: contestant.name.clone(),
            seed,
            source,
        }
    }
}

/// The name of the clairvoyant reference in reports.
pub const BOUND: &str = "srpt (clairvoyant)";

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

    /// Loads policies as `load` does, each under a name of its own.
    ///
    /// # Errors
    /// The first that cannot be had.
    pub fn load_all(runtime: &Runtime, given: &[String]) -> Result<Vec<Self>, ExperimentError> {
        let mut all = Vec::new();
        for given in given {
            Self::load(runtime, given)?.join(&mut all, given);
        }
        Ok(all)
    }

    /// Joins others. The same policy in other bytes or under another configuration is another
    /// contestant, and goes under what was given.
    pub fn join(mut self, all: &mut Vec<Self>, given: &str) {
        if all.iter().any(|other| other.name == self.name) {
            given.clone_into(&mut self.name);
        }
        all.push(self);
    }

    /// Shortest remaining time first with true lengths, decided at every step: the reference that
    /// gives gains a scale.
    ///
    /// # Errors
    /// isrtf has not been built.
    pub fn clairvoyant(runtime: &Runtime) -> Result<Self, ExperimentError> {
        Ok(Self {
            name: BOUND.into(),
            predictor: Some("oracle".into()),
            window_tokens: Some(1),
            ..Self::load(runtime, "isrtf")?
        })
    }

    /// Who it is, for a log.
    pub fn identity(&self) -> Policy {
        Policy {
            name: self.name.clone(),
            digest: self.policy.digest().to_owned(),
            config: self.config.clone(),
        }
    }

    pub(crate) fn start(&self) -> Result<elis_policy_runtime::PolicySlot, ExperimentError> {
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

/// Where requests come from.
#[derive(Debug, Clone)]
pub enum Stream {
    /// A named workload or a file.
    Named(WorkloadRef),
    /// A spec that has no file.
    Spec(Box<Spec>),
}

/// What is compared, on what.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// The request stream.
    pub stream: Stream,
    /// Changes to it; the seed is set for each run.
    pub overrides: Overrides,
    /// Seeds of the workload and of the predictor.
    pub seeds: Vec<u64>,
    /// The predictor's name.
    pub predictor: String,
    /// The simulation; its seed is set for each run.
    pub options: Options,
    /// A folder for a log of each run.
    pub record: Option<PathBuf>,
}

impl Experiment {
    /// The stream of one seed.
    ///
    /// # Errors
    /// The trace or spec cannot be read.
    pub fn load(&self, seed: u64) -> Result<Workload, ExperimentError> {
        let overrides = Overrides {
            seed,
            ..self.overrides.clone()
        };
        Ok(match &self.stream {
            Stream::Named(workload) => workload.load(&overrides)?,
            Stream::Spec(spec) => spec.generate(&overrides)?,
        })
    }

    /// Runs every policy on every seed; `progress` hears of each finished run. Runs go side by
    /// side; each is deterministic, and so is the order of the result.
    ///
    /// # Errors
    /// The first thing that went wrong.
    pub fn run(
        &self,
        contestants: &[Contestant],
        progress: &(dyn Fn() + Sync),
    ) -> Result<Vec<Vec<RunOutcome>>, ExperimentError> {
        let by_seed: Vec<Vec<RunOutcome>> = self
            .seeds
            .par_iter()
            .map(|&seed| {
                let workload = self.load(seed)?;
                let run = |contestant| {
                    let outcome = self.run_one(contestant, &workload, seed);
                    progress();
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
        let mut log = self.log(contestant, seed)?;
        let (arrivals, predictor) = (&workload.arrivals, predictor.as_mut());
        let outcome = simulate_recorded(&options, arrivals, &mut slot, predictor, log.as_mut());
        let cpu_s = started.elapsed().as_secs_f64();
        if let Some(log) = log {
            let failed = |source| ExperimentError::record(contestant, seed, source);
            log.finish().map_err(failed)?;
        }
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

    /// The log of one run, if logs are wanted.
    fn log(&self, contestant: &Contestant, seed: u64) -> Result<Option<Recorder>, ExperimentError> {
        let Some(folder) = &self.record else {
            return Ok(None);
        };
        let failed = |source| ExperimentError::record(contestant, seed, source);
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let name: String = contestant.name.chars().map(plain).collect();
        std::fs::create_dir_all(folder).map_err(|e| failed(e.into()))?;
        let file = File::create(folder.join(format!("{name}-{seed}.elog")));
        let start = Start {
            build: concat!("elis-bench ", env!("CARGO_PKG_VERSION")).to_owned(),
            origin: format!("a simulated {}", self.options.profile.name),
            began_unix_ms: 0,
        };
        let file = file.map_err(|e| failed(e.into()))?;
        let posts = vec![Post::everywhere(contestant.identity())];
        let log = Recorder::start(file, start, posts, Pace::Offline);
        log.map(Some).map_err(failed)
    }
}
