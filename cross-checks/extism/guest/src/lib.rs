//! Fewest predicted remaining tokens first, as a plug-in of Extism with JSON in and out.
//!
//! The rule of the policy `isrtf`, written the way that Extism's own examples are.

use extism_pdk::{FnResult, Json, plugin_fn};
use serde::{Deserialize, Serialize};

/// The bit of `flags` for a job that cannot be preempted now.
const LOCKED: u32 = 2;

/// What the host knows.
#[derive(Debug, Deserialize)]
struct Snapshot {
    /// How many jobs are asked for.
    count: usize,
    jobs: Vec<Job>,
}

/// One job. What a host does not send is 0.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Job {
    id: u64,
    arrival_us: u64,
    state: u32,
    flags: u32,
    priority: u32,
    tenant: u32,
    prompt_tokens: u32,
    generated_tokens: u32,
    gpu_blocks: u32,
    /// None without a prediction.
    predicted_remaining_tokens: Option<f32>,
    predicted_at_tokens: u32,
    deadline_us: u64,
}

impl Job {
    /// Tokens that it still needs, as far as they count for its place.
    fn score(&self) -> f32 {
        if self.flags & LOCKED != 0 {
            return f32::NEG_INFINITY;
        }
        let Some(predicted) = self.predicted_remaining_tokens else {
            return f32::INFINITY;
        };
        let since = self
            .generated_tokens
            .saturating_sub(self.predicted_at_tokens);
        (predicted - since as f32).max(0.0)
    }
}

/// What the plug-in answers.
#[derive(Debug, Serialize)]
struct Answer {
    /// Best first.
    run: Vec<u64>,
}

/// Picks the jobs to run.
#[plugin_fn]
pub fn decide(snapshot: Json<Snapshot>) -> FnResult<Json<Answer>> {
    let Json(Snapshot { count, jobs }) = snapshot;
    let mut order: Vec<(f32, u64, u64)> = jobs
        .iter()
        .map(|job| (job.score(), job.arrival_us, job.id))
        .collect();
    let by_rank = |a: &(f32, u64, u64), b: &(f32, u64, u64)| {
        a.0.total_cmp(&b.0)
            .then_with(|| (a.1, a.2).cmp(&(b.1, b.2)))
    };
    // Only the best are sorted, as in the policy.
    if count > 0 && count < order.len() {
        order.select_nth_unstable_by(count - 1, by_rank);
    }
    order.truncate(count);
    order.sort_unstable_by(by_rank);
    Ok(Json(Answer {
        run: order.into_iter().map(|(.., id)| id).collect(),
    }))
}
