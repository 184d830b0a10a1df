//! How a scheduler is set up: limits of a worker, boundaries, guards.

use thiserror::Error;

use crate::limits;
use crate::time::Span;

/// When the jobs of a batch come back to the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Boundary {
    /// Each job on its own after its window; no slot idles.
    #[default]
    Slot,
    /// The whole batch, when all jobs made their window or any one finished (ELIS, section 4.1).
    Batch,
}

/// Which worker's queue a request joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Placement {
    /// The one with the fewest jobs (ELIS, section 4.1).
    #[default]
    Jobs,
    /// The one whose jobs are predicted to need the least work: tokens still to give and to read,
    /// at the worker's own speed. A job without a prediction counts as the mean of those with one;
    /// where none has one, jobs count.
    Work,
}

/// How prompts and decodes share iterations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Batching {
    /// Decodes first, then chunks of prompts inside the same token budget (Sarathi, vLLM V1).
    #[default]
    Mixed,
    /// An iteration is either whole prompts, padded to the longest, or decodes; prompts go first
    /// (vLLM before V1, Orca-style engines).
    PrefillFirst,
}

/// The cost model that a policy sees in its snapshot, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CostHint {
    /// An iteration over nothing.
    pub iteration_base_us: f32,
    /// For each sequence that decodes.
    pub per_seq_us: f32,
    /// For each KV token that is read.
    pub per_kv_token_us: f32,
    /// For each prompt token.
    pub per_prefill_token_us: f32,
    /// For each block moved to or from host memory.
    pub swap_per_block_us: f32,
}

/// One worker's capacity.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct WorkerConfig {
    /// Sequences in one iteration.
    pub max_num_seqs: u32,
    /// Tokens in one iteration: a decode is one, a prompt its chunk.
    pub max_batched_tokens: u32,
    /// Tokens of one KV block.
    pub block_size_tokens: u32,
    /// KV blocks of the device.
    pub gpu_blocks: u32,
    /// KV blocks of host memory for swapping; 0 where the worker cannot swap.
    pub cpu_blocks: u32,
    /// Blocks that admission leaves free for running jobs to grow into.
    pub watermark_blocks: u32,
    /// How prompts and decodes share iterations.
    pub batching: Batching,
    /// What policies are told about its speed.
    pub cost: CostHint,
}

impl WorkerConfig {
    /// The most tokens of prompt and response that one job may have here.
    pub const fn room_tokens(&self) -> u64 {
        let blocks = self.gpu_blocks.saturating_sub(self.watermark_blocks);
        blocks as u64 * self.block_size_tokens as u64
    }
}

/// A scheduler's configuration.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Config {
    /// When jobs come back.
    pub boundary: Boundary,
    /// Which worker a request goes to.
    pub placement: Placement,
    /// Tokens between two boundaries of a job, 50 in the paper; 1 is per-step scheduling.
    pub window_tokens: u32,
    /// Tokens after which a length is predicted again; 0 predicts on arrival only.
    pub repredict_tokens: u32,
    /// How long a boundary waits for outstanding predictions; zero never waits.
    pub prediction_wait: Span,
    /// How long a decision may take before arrival order stands in.
    pub decision_deadline: Span,
    /// The longest that a job waits before it goes first; zero is no guard.
    pub max_wait: Span,
    /// Jobs held at once; beyond it requests are refused.
    pub jobs_max: usize,
    /// Seed of what a policy may use as randomness.
    pub seed: u64,
    /// The workers, by number.
    pub workers: alloc::vec::Vec<WorkerConfig>,
}

/// A configuration under which nothing could run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// No worker at all, or more than the index can name.
    #[error("{0} workers: there must be between 1 and {max}", max = limits::WORKERS_MAX)]
    Workers(usize),
    /// A worker that cannot hold a single sequence or token.
    #[error("worker {worker}: {field} is 0, it must be at least 1")]
    Zero {
        /// The worker's number.
        worker: usize,
        /// The field in question.
        field: &'static str,
    },
    /// The watermark leaves nothing to admit into.
    #[error("worker {worker}: watermark_blocks {watermark} leaves none of {total} gpu_blocks")]
    Watermark {
        /// The worker's number.
        worker: usize,
        /// The watermark.
        watermark: u32,
        /// All blocks.
        total: u32,
    },
    /// A window of no tokens never ends.
    #[error("window_tokens is 0, it must be at least 1 (1 is per-step scheduling)")]
    Window,
}

impl Config {
    /// Checks that something can run.
    ///
    /// # Errors
    /// Names the field that makes it impossible.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.workers.is_empty() || self.workers.len() > limits::WORKERS_MAX {
            return Err(ConfigError::Workers(self.workers.len()));
        }
        if self.window_tokens == 0 {
            return Err(ConfigError::Window);
        }
        for (worker, config) in self.workers.iter().enumerate() {
            let positive = [
                ("max_num_seqs", config.max_num_seqs),
                ("max_batched_tokens", config.max_batched_tokens),
                ("block_size_tokens", config.block_size_tokens),
                ("gpu_blocks", config.gpu_blocks),
            ];
            if let Some((field, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
                return Err(ConfigError::Zero { worker, field });
            }
            if config.watermark_blocks >= config.gpu_blocks {
                let (watermark, total) = (config.watermark_blocks, config.gpu_blocks);
                return Err(ConfigError::Watermark {
                    worker,
                    watermark,
                    total,
                });
            }
        }
        Ok(())
    }
}
