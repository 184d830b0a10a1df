//! What a simulated run leaves behind: one record for each request, counters for the whole.

use std::collections::BTreeMap;

use elis_scheduler::plan::{Plan, PolicyExit};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It gave all its tokens.
    Completed,
    /// The scheduler or the policy refused it; the client was told.
    Rejected,
    /// Still unfinished when the run was cut: a bug of the scheduler unless a cut was asked for.
    Lost,
}

/// The life of one request, times in virtual nanoseconds since the start of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestOutcome {
    /// Position in the workload; the same request has the same id under every policy.
    pub id: u64,
    /// When it arrived.
    pub arrival_ns: u64,
    /// When it first had a slot.
    pub first_run_ns: u64,
    /// When its first token was out.
    pub first_token_ns: u64,
    /// When its last token was out.
    pub finish_ns: u64,
    /// Length of the prompt.
    pub prompt_tokens: u32,
    /// Length of the response.
    pub output_tokens: u32,
    /// Who sent it.
    pub tenant: u32,
    /// The user's class, lower sooner.
    pub priority: u32,
    /// The worker that finished it.
    pub worker: u32,
    /// How often it lost its slot before it finished.
    pub preemptions: u32,
    /// Requests that arrived later and finished earlier.
    pub overtaken_by: u32,
    /// The first prediction of its length; NaN without one.
    pub predicted_tokens: f32,
    /// How long it would have taken alone on the same worker.
    pub isolated_ns: u64,
    /// How it ended.
    pub ending: Ending,
}

/// The state of all queues at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimelinePoint {
    /// Virtual time.
    pub at_ns: u64,
    /// Jobs without a slot.
    pub waiting: u32,
    /// Jobs with a slot.
    pub running: u32,
    /// KV blocks in use on the devices.
    pub gpu_blocks: u32,
}

/// Distribution of a quantity that is recorded once for each decision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spread {
    /// How many were recorded.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

/// Counters of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunSummary {
    /// Requests that arrived.
    pub arrived: u64,
    /// Requests that gave all their tokens.
    pub completed: u64,
    /// Requests that were refused.
    pub rejected: u64,
    /// From the first arrival to the last token.
    pub makespan_ns: u64,
    /// Tokens read and written, of completed requests.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub output_tokens: u64,
    /// Iterations of all workers.
    pub iterations: u64,
    /// Events that the simulator handled.
    pub events: u64,
    /// Time that workers were busy, summed over workers.
    pub busy_ns: u64,
    /// Decisions by verdict: `applied`, `late`, `failed`, …
    pub decisions: BTreeMap<String, u64>,
    /// Decisions that fell back to arrival order, by cause: `trap`, `out-of-fuel`, …
    pub fallbacks: BTreeMap<String, u64>,
    /// Faults found in plans, by kind: `unknown-job`, `duplicate-job`, …
    pub plan_faults: BTreeMap<String, u64>,
    /// Preemptions by mode: `pause`, `swap`, `recompute`.
    pub preemptions: BTreeMap<String, u64>,
    /// Tokens whose KV had to be computed again.
    pub recomputed_tokens: u64,
    /// KV blocks moved to host memory or back.
    pub swapped_blocks: u64,
    /// Predictions asked for.
    pub predictions: u64,
    /// Jobs moved because their worker was lost.
    pub moved_jobs: u64,
    /// Times that the starvation guard put a job first.
    pub starvation_boosts: u64,
    /// Fuel of one decision; empty for native policies.
    pub fuel: Spread,
    /// Real time of one decision, microseconds. Not deterministic: never part of a comparison.
    pub decision_us: Spread,
    /// Real CPU time of the whole run, seconds. Not deterministic.
    pub cpu_s: f64,
}

/// Everything that one run of one policy on one workload seed gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunOutcome {
    /// Name of the policy, as in its `info`.
    pub policy: String,
    /// SHA-256 of the policy's bytes, or `native`.
    pub digest: String,
    /// Seed of workload and predictor.
    pub seed: u64,
    /// By id; empty where records were not asked for.
    pub requests: Vec<RequestOutcome>,
    /// Counters.
    pub summary: RunSummary,
    /// Queue length over time, at most a few thousand points.
    pub timeline: Vec<TimelinePoint>,
    /// Every answer of the policy, where a log was asked for.
    pub decisions: Vec<LoggedDecision>,
}

/// One entry of a decision log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedDecision {
    /// The worker that was asked about.
    pub worker: u16,
    /// The question.
    pub revision: u64,
    /// The answer.
    pub plan: Result<Plan, PolicyExit>,
}
