//! The stream of requests that a driver replays.

use std::sync::Arc;

use serde::Serialize;

use crate::provenance::Provenance;
use crate::responses::Response;

/// The priority of a request that nobody gave one.
pub const DEFAULT_PRIORITY: u32 = 100;

/// One request of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Arrival {
    /// Position in the stream, from 0.
    pub id: u64,
    /// When it arrives, in nanoseconds since the first request of the stream.
    pub arrival_ns: u64,
    /// Length of the prompt, at least 1.
    pub prompt_tokens: u32,
    /// Length of the response, at least 1.
    pub output_tokens: u32,
    /// The most tokens that its response may have, as its client or the server says; `u32::MAX`
    /// where nobody does. Never what the response will have: predictors and policies see this.
    pub limit_tokens: u32,
    /// Who sent it: an index into the provenance's tenants, 0 where there is one tenant.
    pub tenant: u32,
    /// Its priority class; [`DEFAULT_PRIORITY`] where nobody gave one.
    pub priority: u32,
    /// By when the first token is wanted, in nanoseconds after the arrival; 0 for no deadline.
    pub ttft_deadline_ns: u64,
    /// By when the whole response is wanted, in nanoseconds after the arrival; 0 for no deadline.
    pub deadline_ns: u64,
    /// What is asked and answered, where the workload carries text. Its lengths are those of the
    /// file, before any clipping.
    #[serde(skip)]
    pub text: Option<Arc<Response>>,
}

impl Arrival {
    /// A request that says nothing beyond its lengths, without a text.
    pub const fn new(id: u64, arrival_ns: u64, prompt_tokens: u32, output_tokens: u32) -> Self {
        Self {
            id,
            arrival_ns,
            prompt_tokens,
            output_tokens,
            limit_tokens: u32::MAX,
            tenant: 0,
            priority: DEFAULT_PRIORITY,
            ttft_deadline_ns: 0,
            deadline_ns: 0,
            text: None,
        }
    }
}

/// A whole stream plus how it came about.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Workload {
    /// The requests, by arrival time, with ids 0, 1, 2, ...
    pub arrivals: Vec<Arrival>,
    /// Where they come from.
    pub provenance: Provenance,
}
