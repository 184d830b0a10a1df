//! What an operator is told.

use serde::Serialize;

use crate::engine::deck::{CanaryReport, Counts, ShadowCounts};
use crate::shelf::{Choice, Digest};

/// Something that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// `contract`, `imports`, `columns`, `signature`, `start` or `trial`.
    pub check: &'static str,
    /// Whether it was found in order.
    pub ok: bool,
    /// What was found.
    pub found: String,
}

/// A policy has been pushed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pushed {
    /// Of its bytes.
    pub digest: Digest,
    /// Its own name.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// Its rule in a sentence.
    pub summary: String,
    /// Its size in bytes.
    pub size_bytes: usize,
    /// Whether it was not here before.
    pub new: bool,
    /// Time to compile it, milliseconds; it is not compiled again to be promoted.
    pub compile_ms: f64,
    /// All that was looked at. A policy is kept if it fails to start or on trial, since it may need
    /// a configuration.
    pub checks: Vec<Check>,
}

/// A policy has become the live one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Promoted {
    /// Grew by one.
    pub epoch: u64,
    /// The live policy.
    pub digest: Digest,
    /// Its name.
    pub name: String,
    /// Whether it has taken its first decision. It has not where nobody waits for one, or nobody
    /// asked for one within a second.
    pub decided: bool,
    /// Bytes of state handed over from the policy before.
    pub state_bytes: usize,
    /// Recent snapshots that it was tried on.
    pub tried_on: usize,
    /// From the request to a policy that was ready, milliseconds.
    pub prepare_ms: f64,
    /// How long the scheduling thread was held up, microseconds.
    pub install_us: f64,
    /// Whether the change survives a restart.
    pub durable: bool,
}

/// A stored policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Of its bytes.
    pub digest: Digest,
    /// Its name; none of these three where it cannot be loaded any more.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its rule.
    pub summary: Option<String>,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// `live`, `warm`, `canary`, `shadow` or `stored`.
    pub role: &'static str,
    /// The configuration that it runs with, if it runs.
    pub config: Option<String>,
    /// What it has done since the server started, if it decided.
    pub counts: Option<Counts>,
    /// What came of its shadow run, if it is in shadow.
    pub shadow: Option<ShadowCounts>,
    /// What came of its canary, if it is one or was the last.
    pub canary: Option<CanaryReport>,
}

/// How things stand.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overview {
    /// Grows with every change of the live policy. Send it with a change to have that refused if
    /// something has changed in between.
    pub epoch: u64,
    /// The live policy.
    pub live: Choice,
    /// Its name.
    pub name: String,
    /// What it has done.
    pub counts: Counts,
    /// Those to go back to, the last one first.
    pub before: Vec<Choice>,
    /// Who decides in shadow.
    pub shadow: Option<Shade>,
    /// The canary under way, or the last one.
    pub canary: Option<CanaryReport>,
    /// Whether all of this survives a restart.
    pub durable: bool,
    /// What could not be loaded when the server started.
    pub not_loaded: Vec<String>,
}

/// A policy in shadow.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shade {
    /// The policy.
    #[serde(flatten)]
    pub choice: Choice,
    /// Its name.
    pub name: String,
    /// What came of it so far.
    #[serde(flatten)]
    pub counts: ShadowCounts,
}
