//! Workers: what computes tokens. The engine drives all kinds of them by the same loop.

mod model;
mod paced;

use std::sync::Arc;

use elis_scheduler::Step;
use elis_scheduler::config::WorkerConfig;

use crate::engine::GenerateRequest;

pub use model::{ModelOptions, ModelWorker, calibrate};
pub use paced::PacedWorker;

/// A token that a worker gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// Whose it is.
    pub job: u64,
    /// The token.
    pub token: u32,
    /// Its logarithmic probability and the likeliest tokens with theirs, where these were asked
    /// for.
    pub logprobs: Option<(f32, Vec<(u32, f32)>)>,
}

/// What one iteration computes.
#[derive(Debug, Clone, Copy)]
pub struct Iteration<'a> {
    /// Jobs that give a token each.
    pub decode: &'a [u64],
    /// Jobs of which so many tokens of context are computed, and whether they give a token then.
    pub prefill: &'a [elis_scheduler::PrefillChunk],
}

/// Why a worker cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WorkerError(pub String);

/// Something that computes iterations, on a thread of its own. A step's plan is the word: a worker
/// computes what it says and nothing else.
pub trait Worker: Send {
    /// What it can take at once, and what policies are told of its speed.
    fn config(&self) -> WorkerConfig;

    /// A request that steps will name from now on.
    fn open(&mut self, job: u64, request: &Arc<GenerateRequest>);

    /// The job is over: whatever is kept of it goes, its KV first of all.
    fn close(&mut self, job: u64);

    /// Moves and drops KV as a step wants it, before its first iteration.
    ///
    /// # Errors
    ///
    /// A [`WorkerError`] where that is impossible.
    fn begin(&mut self, step: &Step) -> Result<(), WorkerError>;

    /// Computes one iteration and appends the tokens that came of it.
    ///
    /// # Errors
    ///
    /// A [`WorkerError`]; the jobs of the iteration cannot go on then.
    fn iterate(
        &mut self,
        iteration: &Iteration<'_>,
        tokens: &mut Vec<Sampled>,
    ) -> Result<(), WorkerError>;
}

/// A worker whose kind is known at run time.
impl<W: Worker + ?Sized> Worker for Box<W> {
    fn config(&self) -> WorkerConfig {
        (**self).config()
    }

    fn open(&mut self, job: u64, request: &Arc<GenerateRequest>) {
        (**self).open(job, request);
    }

    fn close(&mut self, job: u64) {
        (**self).close(job);
    }

    fn begin(&mut self, step: &Step) -> Result<(), WorkerError> {
        (**self).begin(step)
    }

    fn iterate(
        &mut self,
        iteration: &Iteration<'_>,
        tokens: &mut Vec<Sampled>,
    ) -> Result<(), WorkerError> {
        (**self).iterate(iteration, tokens)
    }
}
