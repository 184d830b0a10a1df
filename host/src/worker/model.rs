//! A model in process: every job a sequence with its own KV blocks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use elis_llm::{Cache, Model, Part, Sampler, Sequence, Workspace, log_probabilities};
use elis_scheduler::Step;
use elis_scheduler::config::{Batching, CostHint, WorkerConfig};

use super::{Iteration, Sampled, Worker, WorkerError};
use crate::engine::GenerateRequest;

/// What a model may use, and how much it takes on at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModelOptions {
    /// KV blocks.
    pub kv_blocks: u32,
    /// KV blocks of host memory that jobs may be swapped to.
    pub swap_blocks: u32,
    /// Sequences in one iteration.
    pub max_num_seqs: u32,
    /// Tokens in one iteration.
    pub max_batched_tokens: u32,
    /// What policies are told of its speed.
    pub cost: CostHint,
}

/// A model with the jobs that are on it.
pub struct ModelWorker {
    model: Arc<Model>,
    options: ModelOptions,
    cache: Cache,
    space: Workspace,
    jobs: HashMap<u64, Job>,
}

struct Job {
    sequence: Sequence,
    sampler: Sampler,
    logprobs: Option<usize>,
}

impl ModelWorker {
    /// Measures how long iterations take, roughly, for what policies are told: a prompt of 64
    /// tokens, then decodes of one and of four sequences, the best of three each.
    pub fn calibrate(model: &Model) -> CostHint {
        const PROMPT: usize = 64;
        let mut cache = Cache::new(model.config().kv_layout(), 16);
        let mut space = Workspace::default();
        let mut timed = |sequences: &mut [Sequence], count: usize| {
            let mut best = f64::INFINITY;
            for _ in 0..3 {
                let ready = sequences
                    .iter_mut()
                    .all(|s| s.prepare(count, &mut cache).is_ok());
                let parts = sequences.iter().filter(|_| ready).map(|s| s.part(count));
                let parts: Vec<Part<'_>> = parts.collect();
                let begin = Instant::now();
                model.forward(&parts, &mut cache, &mut space);
                best = best.min(begin.elapsed().as_secs_f64() * 1e6);
            }
            best
        };
        let mut sequences: Vec<Sequence> =
            (0..4).map(|_| Sequence::new(&[0; PROMPT + 1])).collect();
        let prompt_us = timed(&mut sequences[..1], PROMPT);
        for sequence in &mut sequences {
            sequence.advance(PROMPT);
        }
        let one_us = timed(&mut sequences[..1], 1);
        let four_us = timed(&mut sequences, 1);
        let per_seq_us = ((four_us - one_us) / 3.0).max(0.0);
        let base_us = (one_us - per_seq_us).max(0.0);
        CostHint {
            iteration_base_us: base_us as f32,
            per_seq_us: per_seq_us as f32,
            per_kv_token_us: 0.0,
            per_prefill_token_us: ((prompt_us - base_us).max(0.0) / PROMPT as f64) as f32,
            swap_per_block_us: 0.0,
        }
    }

    /// A worker with nothing on it; the memory for its KV is set aside.
    pub fn new(model: Arc<Model>, options: ModelOptions) -> Self {
        let layout = model.config().kv_layout();
        Self {
            model,
            options,
            cache: Cache::new(layout, options.kv_blocks),
            space: Workspace::default(),
            jobs: HashMap::new(),
        }
    }
}

fn job(jobs: &mut HashMap<u64, Job>, id: u64) -> Result<&mut Job, WorkerError> {
    let unknown = || WorkerError(format!("the step names job {id}, which is not here"));
    jobs.get_mut(&id).ok_or_else(unknown)
}

fn told(id: u64, error: impl std::fmt::Display) -> WorkerError {
    WorkerError(format!("job {id}: {error}"))
}

impl Worker for ModelWorker {
    fn config(&self) -> WorkerConfig {
        let options = self.options;
        WorkerConfig {
            max_num_seqs: options.max_num_seqs,
            max_batched_tokens: options.max_batched_tokens,
            block_size_tokens: Cache::block_tokens(),
            gpu_blocks: options.kv_blocks,
            cpu_blocks: options.swap_blocks,
            watermark_blocks: 0,
            batching: Batching::Mixed,
            cost: options.cost,
        }
    }

    fn open(&mut self, job: u64, request: &Arc<GenerateRequest>) {
        let opened = Job {
            sequence: Sequence::new(&request.prompt_tokens),
            sampler: Sampler::new(request.sampling, &request.prompt_tokens),
            logprobs: request.logprobs,
        };
        self.jobs.insert(job, opened);
    }

    fn close(&mut self, job: u64) {
        if let Some(mut job) = self.jobs.remove(&job) {
            job.sequence.evict(&mut self.cache);
        }
    }

    fn begin(&mut self, step: &Step) -> Result<(), WorkerError> {
        for &id in &step.dropped {
            // A job may be dropped and gone in the same step.
            if let Some(job) = self.jobs.get_mut(&id) {
                job.sequence.evict(&mut self.cache);
            }
        }
        for moved in &step.swap_out {
            let job = job(&mut self.jobs, moved.job)?;
            job.sequence.swap_out(&mut self.cache);
        }
        for moved in &step.swap_in {
            let job = job(&mut self.jobs, moved.job)?;
            let back = job.sequence.swap_in(&mut self.cache);
            back.map_err(|error| told(moved.job, error))?;
        }
        Ok(())
    }

    fn iterate(
        &mut self,
        iteration: &Iteration<'_>,
        tokens: &mut Vec<Sampled>,
    ) -> Result<(), WorkerError> {
        let decodes = iteration.decode.iter().map(|&job| (job, 1));
        let chunks = iteration.prefill.iter();
        let chunks = chunks.map(|chunk| (chunk.job, chunk.tokens as usize));
        let counts: Vec<(u64, usize)> = decodes.chain(chunks).collect();
        for &(id, count) in &counts {
            let job = job(&mut self.jobs, id)?;
            let ready = job.sequence.prepare(count, &mut self.cache);
            ready.map_err(|error| told(id, error))?;
        }
        let parts = counts.iter().filter_map(|&(id, count)| {
            let job = self.jobs.get(&id)?;
            Some(job.sequence.part(count))
        });
        let parts: Vec<Part<'_>> = parts.collect();
        let size = self.model.config().vocabulary;
        let gives: Vec<bool> = parts.iter().map(|part| part.wants_logits).collect();
        let logits = self.model.forward(&parts, &mut self.cache, &mut self.space);
        let mut rows = logits.chunks_exact_mut(size);
        for (&(id, count), gives) in counts.iter().zip(gives) {
            let job = job(&mut self.jobs, id)?;
            job.sequence.advance(count);
            let Some(row) = gives.then(|| rows.next()).flatten() else {
                continue;
            };
            // The sampler may change them, and what is told is what the model thought.
            let thought = job.logprobs.map(|top| (row.to_vec(), top));
            let token = job.sampler.pick(row);
            job.sequence.push(token);
            tokens.push(Sampled {
                job: id,
                token,
                logprobs: thought.map(|(row, top)| log_probabilities(&row, token, top)),
            });
        }
        Ok(())
    }
}

impl std::fmt::Debug for ModelWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelWorker")
            .field("options", &self.options)
            .field("jobs", &self.jobs.len())
            .finish_non_exhaustive()
    }
}
