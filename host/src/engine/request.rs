//! What a client asks for, and what comes back.

use std::sync::Arc;
use std::time::Duration;

use elis_llm::Sampling;
use elis_scheduler::RejectReason;

/// A response that a client wants generated.
#[derive(Debug, Clone)]
pub struct GenerateRequest {
    /// The prompt as the predictor reads it; empty where only tokens came.
    pub prompt: Arc<str>,
    /// The prompt as the model reads it.
    pub prompt_tokens: Arc<[u32]>,
    /// The longest response.
    pub max_new_tokens: u32,
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// Texts that end the response; they are not part of it.
    pub stop: Vec<String>,
    /// Whether the model's own end of a response does not count: the response then has
    /// `max_new_tokens` tokens unless a text of `stop` ends it.
    pub ignore_eos: bool,
    /// How many alternatives each token comes with their probabilities; `None` for no
    /// probabilities at all, 0 for that of the token only.
    pub logprobs: Option<usize>,
    /// Who sent it, for fairness between tenants; empty is the default tenant.
    pub tenant: String,
    /// The client's class, lower sooner, 100 where none was given.
    pub priority: u32,
    /// How soon the first token is due, from now.
    pub ttft_deadline: Option<Duration>,
    /// How soon the response is due, from now.
    pub deadline: Option<Duration>,
    /// For experiments: how long the response will be, which only an oracle is told.
    pub oracle_tokens: Option<u32>,
}

impl GenerateRequest {
    /// A request with nothing said but the prompt: 16 tokens at most, from the default tenant.
    pub fn plain(prompt: &str, prompt_tokens: &[u32], sampling: Sampling) -> Self {
        Self {
            prompt: prompt.into(),
            prompt_tokens: prompt_tokens.into(),
            max_new_tokens: 16,
            sampling,
            stop: Vec::new(),
            ignore_eos: false,
            logprobs: None,
            tenant: String::new(),
            priority: 100,
            ttft_deadline: None,
            deadline: None,
            oracle_tokens: None,
        }
    }
}

/// Why a response came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// The model ended it, or a text of `stop` came up.
    Stop,
    /// It has as many tokens as it may have.
    Length,
}

/// A token and how likely the model thought it.
#[derive(Debug, Clone, PartialEq)]
pub struct LogProb {
    /// The token.
    pub token: u32,
    /// Its text, lossily where it is a piece of a character.
    pub text: String,
    /// Natural logarithm of its probability before sampling options.
    pub logprob: f32,
}

/// What happens to a request, in order. The last event is [`Event::Finished`] or [`Event::Failed`].
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A token was generated.
    Token {
        /// The text that it completed; may be empty while a character or a stop text is in doubt.
        text: String,
        /// Its own probability and the alternatives, likeliest first, where these were asked for.
        logprobs: Option<(LogProb, Vec<LogProb>)>,
    },
    /// The response is complete.
    Finished {
        /// Text that was still kept back.
        text: String,
        /// Why.
        reason: FinishReason,
        /// Tokens of the response.
        completion_tokens: u32,
    },
    /// There will be no more.
    Failed(GenerateError),
}

/// Why a request is not served, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    /// Too many are waiting.
    #[error("the queue is full: {jobs} requests are being served or waiting; try again later")]
    QueueFull {
        /// How many.
        jobs: usize,
    },
    /// Prompt and response together never fit.
    #[error(
        "the prompt has {prompt_tokens} tokens and the response may have {max_new_tokens}, \
         together more than the {limit_tokens} that are possible; shorten the prompt or lower \
         max_tokens"
    )]
    TooLong {
        /// Of the prompt.
        prompt_tokens: usize,
        /// Asked for.
        max_new_tokens: u32,
        /// The most of both.
        limit_tokens: u32,
    },
    /// The core refused it.
    #[error("the request was refused: {0:?}")]
    Refused(RejectReason),
    /// The server is on its way out.
    #[error("the server is shutting down and takes no new requests")]
    Draining,
    /// The worker broke down.
    #[error("the worker failed: {0}")]
    Worker(String),
    /// The time that the server grants a request is over.
    #[error("the request took longer than the server allows")]
    TimedOut,
}
