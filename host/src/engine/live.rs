//! The running engine: its threads, and the way in for everybody else.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Sender};
use std::thread;

use elis_policy_runtime::{Runtime, resolve};
use elis_scheduler::config::{Boundary, Config, ConfigError, Placement, WorkerConfig};
use elis_scheduler::{NO_DEADLINE, Scheduler, Span};
use tokio::sync::oneshot;

use super::control::{Policies, PolicyError, PolicyOptions};
use super::deck::Board;
use super::driver::{Crew, Driver, Message};
use super::forecast::{Forecasts, Predictor};
use super::metrics::Metrics;
use super::recordings::{self, Recordings};
use super::runner::Runner;
use super::tenants::Tenants;
use super::{
    Generate, GenerateError, GenerateRequest, IterationLog, ServedModel, Status, Submission,
};
use crate::worker::Worker;

/// How an engine schedules.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineOptions {
    /// When jobs come back to the scheduler.
    pub boundary: Boundary,
    /// Which worker a request goes to.
    pub placement: Placement,
    /// Tokens between two boundaries of a job.
    pub window_tokens: u32,
    /// Tokens after which a length is predicted again; 0 predicts on arrival only.
    pub repredict_tokens: u32,
    /// The longest that a job waits before it goes first; zero is no guard.
    pub max_wait: Span,
    /// Requests that are held at once; beyond it they are refused.
    pub jobs_max: usize,
    /// Seed of what policies may use as randomness.
    pub seed: u64,
}

impl Default for EngineOptions {
    /// The paper's windows; a guard of a minute.
    fn default() -> Self {
        Self {
            boundary: Boundary::Slot,
            placement: Placement::Jobs,
            window_tokens: 50,
            repredict_tokens: 50,
            max_wait: Span::from_ms(60_000),
            jobs_max: 4096,
            seed: 0,
        }
    }
}

/// Why an engine cannot start, or a policy not become the live one.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The worker and the options describe nothing that could run.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no such policy.
    #[error(transparent)]
    NotFound(#[from] resolve::NotFound),
    /// Its file cannot be read.
    #[error("cannot read the policy: {0}")]
    Read(std::io::Error),
    /// It is no policy for this host.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The predictor's service does not start.
    #[error(transparent)]
    Predictor(#[from] elis_predictor::service::ServiceError),
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// The parts that an engine is made of.
pub struct Parts<W> {
    /// What clients see of the model.
    pub model: ServedModel,
    /// What computes.
    pub workers: Vec<W>,
    /// Where policies run.
    pub runtime: Runtime,
    /// What decides at first, and what outlives the process.
    pub policy: PolicyOptions,
    /// Who predicts.
    pub predictor: Predictor,
    /// Where iterations are recorded, if anywhere.
    pub log: Option<IterationLog>,
}

impl<W> std::fmt::Debug for Parts<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// A running engine. Its threads end when it is dropped and all responses are.
pub struct Engine {
    model: ServedModel,
    messages: Sender<Message>,
    metrics: Arc<Metrics>,
    policies: Policies,
    /// Tokens that fit into the KV memory of a worker.
    capacity_tokens: u32,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("model", &self.model.id)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// Every [`EngineError`].
    pub fn start<W: Worker + 'static>(
        parts: Parts<W>,
        options: &EngineOptions,
    ) -> Result<Self, EngineError> {
        let Parts {
            model,
            workers,
            runtime,
            policy,
            predictor,
            log,
        } = parts;
        let (messages, inbox) = mpsc::channel();
        let board = Arc::new(Board::new());
        let metrics = Arc::new(Metrics::new(&board));
        let count = workers.len();
        let (policies, deck) = Policies::begin(policy, runtime, board, messages.clone(), count)?;
        let configs: Vec<_> = workers.iter().map(Worker::config).collect();
        let room = configs.iter().map(WorkerConfig::room_tokens).min();
        let room = u32::try_from(room.unwrap_or(0)).unwrap_or(u32::MAX);
        let capacity_tokens = room.min(model.context_tokens);
        let scheduler = Scheduler::new(Config {
            boundary: options.boundary,
            placement: options.placement,
            window_tokens: options.window_tokens,
            repredict_tokens: options.repredict_tokens,
            prediction_wait: Span::ZERO,
            decision_deadline: NO_DEADLINE,
            max_wait: options.max_wait,
            jobs_max: options.jobs_max,
            seed: options.seed,
            workers: configs,
        })?;
        let mut crew = Vec::new();
        for (number, worker) in (0..).zip(workers) {
            let member = enlist(number, worker, &model, &messages, log.is_some())?;
            crew.push(member);
        }
        let notified = messages.clone();
        let forecasts = Forecasts::new(predictor, move || {
            let _ = notified.send(Message::Predicted);
        })?;
        let driver = Driver::new(
            scheduler,
            deck,
            forecasts,
            crew,
            Arc::clone(&metrics),
            messages.clone(),
            log,
            Tenants::default(),
            Recordings::new(model.id.clone(), metrics.recorded.clone()),
        );
        let thread = thread::Builder::new().name("elis-scheduler".to_owned());
        let spawned = thread.spawn(move || driver.run(&inbox));
        spawned.map_err(EngineError::Thread)?;
        Ok(Self {
            model,
            messages,
            metrics,
            policies,
            capacity_tokens,
        })
    }

    fn check(&self, request: &GenerateRequest) -> Result<(), GenerateError> {
        let prompt_tokens = request.prompt_tokens.len();
        let wanted = prompt_tokens as u64 + u64::from(request.max_new_tokens);
        if wanted > u64::from(self.capacity_tokens) {
            return Err(GenerateError::TooLong {
                prompt_tokens,
                max_new_tokens: request.max_new_tokens,
                limit_tokens: self.capacity_tokens,
            });
        }
        Ok(())
    }
}

/// Starts a worker's thread.
fn enlist<W: Worker + 'static>(
    number: u16,
    worker: W,
    model: &ServedModel,
    messages: &Sender<Message>,
    records: bool,
) -> Result<Crew, EngineError> {
    let (orders, inbox) = mpsc::channel();
    let interrupt = Arc::new(AtomicBool::new(false));
    let vocabulary = model.vocabulary.clone();
    let runner = Runner::new(worker, vocabulary, Arc::clone(&interrupt), records);
    let messages = messages.clone();
    let report = move |report| {
        let worker = number;
        let _ = messages.send(Message::Done { worker, report });
    };
    let thread = thread::Builder::new().name(format!("elis-worker-{number}"));
    let spawned = thread.spawn(move || runner.run(&inbox, report));
    spawned.map_err(EngineError::Thread)?;
    Ok(Crew {
        orders,
        interrupt,
        idle_since: None,
    })
}

impl Generate for Engine {
    fn model(&self) -> &ServedModel {
        &self.model
    }

    fn submit(&self, request: GenerateRequest) -> Submission {
        if let Err(error) = self.check(&request) {
            return Box::pin(std::future::ready(Err(error)));
        }
        let (reply, answer) = oneshot::channel();
        let request = Box::new(request);
        let sent = self.messages.send(Message::Submit { request, reply });
        Box::pin(async move {
            if sent.is_err() {
                return Err(GenerateError::Draining);
            }
            answer.await.unwrap_or(Err(GenerateError::Draining))
        })
    }

    fn status(&self) -> Status {
        self.metrics.status()
    }

    fn metrics(&self) -> String {
        self.metrics.text()
    }

    fn policies(&self) -> Option<&Policies> {
        Some(&self.policies)
    }

    fn record(&self, out: Box<dyn std::io::Write + Send>) -> super::BegunRecording {
        Box::pin(recordings::begin(self.messages.clone(), out))
    }

    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let (reply, answer) = oneshot::channel();
        let sent = self.messages.send(Message::Drain(reply));
        Box::pin(async move {
            if sent.is_ok() {
                // An engine that is gone is drained.
                let _ = answer.await;
            }
        })
    }
}
