//! What only the client of a real server knows of the runs of a policy.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stats::Distribution;

/// The client's side of measured runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClientSide {
    /// Requests that did not complete, by kind: `http-429`, `timeout`, `hang-up`, …
    pub errors: BTreeMap<String, u64>,
    /// Completed responses by the reason that the server gave for their end.
    pub finish_reasons: BTreeMap<String, u64>,
    /// Actual − intended sending, milliseconds: how late the client itself was.
    pub send_lag_ms: Distribution,
    /// Requests that the limit of requests in flight kept waiting.
    pub held_back: u64,
    /// The most requests at the server at once.
    pub in_flight_max: u64,
    /// Responses whose tokens were counted by chunks, since the server told no usage.
    pub counted_by_chunks: u64,
    /// Completed responses with fewer tokens than the workload has.
    pub shorter_than_wanted: u64,
    /// Requests that were never sent, since somebody stopped the run before.
    pub unsent: u64,
}
