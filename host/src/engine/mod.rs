//! The engine: the scheduler core in real time, between clients, a policy, a predictor and workers.
//!
//! The HTTP server knows it only as something that can [`Generate`].

mod control;
mod deck;
mod driver;
mod forecast;
mod iteration_log;
mod live;
mod metrics;
mod recordings;
mod reply;
mod request;
mod runner;
mod tenants;

use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;

use elis_llm::Vocabulary;
use tokio::sync::mpsc;

pub use control::{
    Check, Overview, Policies, PolicyError, PolicyOptions, Promote, Promoted, Pushed, Row, Shade,
};
pub use deck::{
    CanaryReport, Counts, Estimate, Fault, Guard, ShadowCounts, SideReport, Stage, Trial,
};
pub use forecast::Predictor;
pub use iteration_log::IterationLog;
pub use live::{Engine, EngineError, EngineOptions, Parts};
pub use recordings::{Recording, RecordingError};
pub use request::{Event, FinishReason, GenerateError, GenerateRequest, LogProb};

/// The model that is served, as clients see it.
#[derive(Debug, Clone)]
pub struct ServedModel {
    /// Its name in requests and answers.
    pub id: String,
    /// Unix time of the server's start, seconds.
    pub created_s: u64,
    /// Its tokens.
    pub vocabulary: Vocabulary,
    /// Whether prompts are read: a modelled worker only counts their tokens, and any number is one.
    pub reads_prompts: bool,
    /// How a conversation becomes a prompt, a Jinja template, if the model came with one.
    pub chat_template: Option<String>,
    /// What templates call `bos_token` and `eos_token`.
    pub bos_token: String,
    /// The same.
    pub eos_token: String,
    /// The most tokens of prompt and response together.
    pub context_tokens: u32,
}

/// A response on its way. Dropping it tells the engine that the client is gone.
#[derive(Debug)]
pub struct Generation {
    /// What happens; ends after the last event.
    pub events: mpsc::UnboundedReceiver<Event>,
    /// Runs when the client has what it wants or is gone.
    _guard: Option<CancelOnDrop>,
}

impl Generation {
    /// A response whose events come here; `cancel` runs when it is dropped, finished or not.
    pub fn new(
        events: mpsc::UnboundedReceiver<Event>,
        cancel: impl FnOnce() + Send + 'static,
    ) -> Self {
        let cancel: Box<dyn FnOnce() + Send> = Box::new(cancel);
        Self {
            events,
            _guard: Some(CancelOnDrop(Some(cancel))),
        }
    }
}

struct CancelOnDrop(Option<Box<dyn FnOnce() + Send>>);

impl std::fmt::Debug for CancelOnDrop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CancelOnDrop")
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(cancel) = self.0.take() {
            cancel();
        }
    }
}

/// How the engine stands.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
pub struct Status {
    /// Requests without a slot.
    pub waiting: usize,
    /// Requests with a slot.
    pub running: usize,
    /// KV blocks in use.
    pub kv_blocks_used: u32,
    /// KV blocks of all workers.
    pub kv_blocks_total: u32,
    /// The name of the live policy.
    pub policy: String,
    /// Jobs that waited too long and were put first, whatever the policy said.
    pub starvation_boosts: u64,
    /// Whether requests are taken.
    pub ready: bool,
}

/// The answer to a submission, when it comes.
pub type Submission = Pin<Box<dyn Future<Output = Result<Generation, GenerateError>> + Send>>;

/// The beginning of a recording, when it comes.
pub type BegunRecording = Pin<Box<dyn Future<Output = Result<Recording, RecordingError>> + Send>>;

/// Something that answers requests: the engine, or a double of it in tests.
pub trait Generate: Send + Sync + 'static {
    /// The model behind it.
    fn model(&self) -> &ServedModel;

    /// Takes a request in. The future is ready when the request is queued or refused; it does not
    /// wait for a token.
    fn submit(&self, request: GenerateRequest) -> Submission;

    /// How it stands.
    fn status(&self) -> Status;

    /// All metrics in the text format of Prometheus (OpenMetrics).
    fn metrics(&self) -> String;

    /// Its policies, where it has any that can be changed.
    fn policies(&self) -> Option<&Policies>;

    /// Records all that the scheduler is told, until the recording is dropped or the engine is
    /// drained.
    fn record(&self, out: Box<dyn Write + Send>) -> BegunRecording {
        drop(out);
        Box::pin(std::future::ready(Err(RecordingError::None)))
    }

    /// Takes no more requests; ready when those that are there have ended.
    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// An engine that several parts of a server share.
pub type SharedEngine = Arc<dyn Generate>;
