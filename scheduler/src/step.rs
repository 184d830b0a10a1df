//! What one worker runs next, as changes to what it ran before.

use alloc::vec::Vec;

/// A piece of a prompt to read in one iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PrefillChunk {
    /// The job.
    pub job: u64,
    /// Tokens of this chunk.
    pub tokens: u32,
    /// Tokens whose KV was there before.
    pub context_tokens: u32,
    /// Whether the prompt is complete after it, so that the job gives its next token.
    pub last: bool,
}

/// KV blocks that move between device and host memory before the iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct BlockMove {
    /// The job.
    pub job: u64,
    /// How many.
    pub blocks: u32,
}

/// One step of a worker: one or more iterations with the same jobs.
///
/// Jobs that decode are not listed again: they are those of the step before, less `removed` and
/// less what finished, plus those of `added` that have all their KV, plus those whose last prompt
/// chunk was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Step {
    /// Counts the steps of the worker.
    pub id: u64,
    /// Jobs that get a slot.
    pub added: Vec<u64>,
    /// Jobs that lose their slot without having finished.
    pub removed: Vec<u64>,
    /// Jobs whose KV is dropped.
    pub dropped: Vec<u64>,
    /// KV that goes to host memory first.
    pub swap_out: Vec<BlockMove>,
    /// KV that comes back first.
    pub swap_in: Vec<BlockMove>,
    /// Prompts to read; where there are any, the step has one iteration.
    pub prefill: Vec<PrefillChunk>,
    /// Whether the jobs that decode take part; not while an engine that separates the two prefills.
    pub decode: bool,
    /// Jobs that decode in this step.
    pub decode_seqs: u32,
    /// Their context at the start, together.
    pub decode_kv_tokens: u64,
    /// The step ends after as many iterations, or when a job finishes.
    pub max_iterations: u32,
}

impl Step {
    /// Empties the step for reuse; its id stays.
    pub(crate) fn clear(&mut self) {
        self.added.clear();
        self.removed.clear();
        self.dropped.clear();
        self.swap_out.clear();
        self.swap_in.clear();
        self.prefill.clear();
        self.decode = false;
        self.decode_seqs = 0;
        self.decode_kv_tokens = 0;
        self.max_iterations = 0;
    }

    /// Tokens that the step computes in its first iteration.
    pub fn batched_tokens(&self) -> u32 {
        self.decode_seqs + self.prefill.iter().map(|chunk| chunk.tokens).sum::<u32>()
    }
}
