//! The requests of a log under other policies, in the simulator, and how true that simulator is.

use crate::outcome::{Ending, RunOutcome};
use crate::{Decider, Options, SimError, simulate};
use elis_predictor::LengthPredictor;
use elis_scheduler::{NO_DEADLINE, Time};
use elis_workloads::Arrival;
use serde::Serialize;
use thiserror::Error;

use super::observe::{Job, Outcome};
use super::{Observed, RecordedPredictor, Refit};

/// Why nothing can be said of other policies.
#[derive(Debug, Error)]
pub enum CounterfactualError {
    /// There is nobody to compare.
    #[error(
        "no request both arrived and finished within the log: record for longer than a response \
         takes"
    )]
    NoRequests,
    /// A policy wants predictions that nobody made.
    #[error(
        "it reads predictions and the log holds none, since the recorded policy asked for none: \
         give --predictor, for example --predictor elis-paper or oracle"
    )]
    NoPredictions,
    /// The simulation gave up.
    #[error(transparent)]
    Sim(#[from] SimError),
}

/// How far the simulated run of the recorded policy is from the recorded one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Calibration {
    /// Requests that arrived and finished within the log, and finished in the simulation.
    pub requests: usize,
    /// Their mean JCT as recorded.
    pub recorded_jct_ms: f64,
    /// The same as simulated.
    pub simulated_jct_ms: f64,
}

impl Calibration {
    /// The simulated mean over the recorded one, less 1.
    pub fn error(&self) -> f64 {
        self.simulated_jct_ms / self.recorded_jct_ms - 1.0
    }
}

/// A log's requests, ready to be simulated.
#[derive(Debug)]
pub struct Counterfactual {
    options: Options,
    arrivals: Vec<Arrival>,
    /// For each arrival its JCT as recorded, nanoseconds, where it counts for figures.
    recorded_ns: Vec<Option<u64>>,
    predictor: RecordedPredictor,
    predictions: bool,
}

impl Counterfactual {
    /// Takes the requests of a log: jobs that were there when it began come at once, with what they
    /// had generated as part of their prompt; jobs that left or were cut are as long as they came.
    ///
    /// # Errors
    /// Nothing that could be compared.
    pub fn new(observed: &Observed, refit: &Refit) -> Result<Self, CounterfactualError> {
        let mut delays = observed.prediction_ns.clone();
        delays.sort_unstable();
        let delay_ns = delays.get(delays.len() / 2).copied().unwrap_or(0);
        let mut all = Self {
            options: options(observed, refit),
            arrivals: Vec::new(),
            recorded_ns: Vec::new(),
            predictor: RecordedPredictor::new(delay_ns),
            predictions: false,
        };
        for job in observed.jobs.values() {
            all.add(job, observed.from);
        }
        if all.recorded_ns.iter().all(Option::is_none) {
            return Err(CounterfactualError::NoRequests);
        }
        Ok(all)
    }

    fn add(&mut self, job: &Job, from: Time) {
        let carried = job.carried_tokens.unwrap_or(0);
        let given = job.tokens.saturating_sub(carried);
        // What was refused or left before its first token took nobody's time.
        if job.outcome == Outcome::Refused || (job.outcome == Outcome::Cancelled && given == 0) {
            return;
        }
        let id = self.arrivals.len() as u64;
        let arrival = job.arrival.max(from);
        let due = |at: Option<Time>| at.map_or(0, |at| (at - arrival).as_ns());
        let arrival_ns = (arrival - from).as_ns();
        let prompt_tokens = job.request.prompt_tokens.max(1) + carried;
        self.arrivals.push(Arrival {
            limit_tokens: job.request.max_new_tokens.saturating_sub(carried),
            tenant: job.request.tenant,
            priority: job.request.priority,
            ttft_deadline_ns: due(job.request.ttft_deadline),
            deadline_ns: due(job.request.deadline),
            ..Arrival::new(id, arrival_ns, prompt_tokens, given.max(1))
        });
        let whole = job.outcome == Outcome::Finished && job.carried_tokens.is_none();
        self.recorded_ns
            .push(whole.then(|| (job.ended - job.arrival).as_ns()));
        self.predictions |= !job.predictions.is_empty();
        self.predictor.add(id, carried, job.predictions.clone());
    }

    /// The seed of the recorded scheduler.
    pub fn seed(&self) -> u64 {
        self.options.seed
    }

    /// Requests that are simulated.
    pub fn requests(&self) -> usize {
        self.arrivals.len()
    }

    /// Runs one policy; `predictor` instead of the recorded predictions where it is given. Only
    /// requests with a whole life in the log have a record in the outcome.
    ///
    /// # Errors
    /// It wants predictions that nobody has, or the simulation gave up.
    pub fn run(
        &self,
        decider: &mut dyn Decider,
        predictor: Option<&mut dyn LengthPredictor>,
    ) -> Result<RunOutcome, CounterfactualError> {
        let mut recorded = self.predictor.clone();
        let predictor: &mut dyn LengthPredictor = match predictor {
            Some(predictor) => predictor,
            None if decider.interest().predictions && !self.predictions => {
                return Err(CounterfactualError::NoPredictions);
            }
            None => &mut recorded,
        };
        let mut outcome = simulate(&self.options, &self.arrivals, decider, predictor)?;
        outcome.seed = 0;
        outcome
            .requests
            .retain(|request| self.recorded_ns[request.id as usize].is_some());
        Ok(outcome)
    }

    /// Holds a simulated run of the recorded policy against the record.
    pub fn calibrate(&self, outcome: &RunOutcome) -> Calibration {
        let done = outcome.requests.iter();
        let done = done.filter(|request| request.ending == Ending::Completed);
        let pairs: Vec<(f64, f64)> = done
            .filter_map(|request| {
                let recorded_ns = self.recorded_ns[request.id as usize]?;
                let simulated_ns = request.finish_ns - request.arrival_ns;
                Some((recorded_ns as f64 / 1e6, simulated_ns as f64 / 1e6))
            })
            .collect();
        let mean = |of: fn(&(f64, f64)) -> f64| {
            pairs.iter().map(of).sum::<f64>() / pairs.len().max(1) as f64
        };
        Calibration {
            requests: pairs.len(),
            recorded_jct_ms: mean(|pair| pair.0),
            simulated_jct_ms: mean(|pair| pair.1),
        }
    }
}

fn options(observed: &Observed, refit: &Refit) -> Options {
    let mut options = Options::new(refit.profile.clone());
    if let Some(config) = &observed.config {
        options.workers = config.workers.len() as u16;
        options.boundary = config.boundary;
        options.placement = config.placement;
        options.window_tokens = config.window_tokens;
        options.repredict_tokens = config.repredict_tokens;
        options.wait_for_predictions = config.prediction_wait == NO_DEADLINE;
        options.max_wait = config.max_wait;
        options.seed = config.seed;
    }
    options
}
