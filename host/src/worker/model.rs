//! A model in process: every job a sequence with its own KV blocks. Where it is computed is its
//! backend's word.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use elis_llm::{Backend, Cache, DeviceError, Part, Sampler, Sequence, log_probabilities};
use elis_scheduler::Step;
use elis_scheduler::config::{Batching, CostHint, WorkerConfig};

use super::{Iteration, Sampled, Worker, WorkerError};
use crate::engine::GenerateRequest;

/// How much a model takes on at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModelOptions {
    /// Sequences in one iteration.
    pub max_num_seqs: u32,
    /// Tokens in one iteration.
    pub max_batched_tokens: u32,
    /// What policies are told of its speed.
    pub cost: CostHint,
}

/// A model with the jobs that are on it.
pub struct ModelWorker<B> {
    backend: B,
    options: ModelOptions,
    blocks: u32,
    swap_blocks: u32,
    jobs: HashMap<u64, Job>,
}

struct Job {
    sequence: Sequence,
    sampler: Sampler,
    logprobs: Option<usize>,
}

/// Measures how long iterations take, roughly, for what policies are told: a prompt of 64 tokens,
/// then decodes of one and of four sequences, the best of three each.
///
/// # Errors
///
/// What the device says.
pub fn calibrate(backend: &mut impl Backend) -> Result<CostHint, DeviceError> {
    const PROMPT: usize = 64;
    let mut timed = |sequences: &mut [Sequence], count: usize| -> Result<f64, DeviceError> {
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let cache = backend.cache();
            let ready = sequences
                .iter_mut()
                .all(|s| s.prepare(count, cache).is_ok());
            let parts = sequences.iter().filter(|_| ready).map(|s| s.part(count));
            let parts: Vec<Part<'_>> = parts.collect();
            let begin = Instant::now();
            backend.forward(&parts)?;
            best = best.min(begin.elapsed().as_secs_f64() * 1e6);
        }
        Ok(best)
    };
    let mut sequences: Vec<Sequence> = (0..4).map(|_| Sequence::new(&[0; PROMPT + 1])).collect();
    let prompt_us = timed(&mut sequences[..1], PROMPT)?;
    for sequence in &mut sequences {
        sequence.advance(PROMPT);
    }
    let one_us = timed(&mut sequences[..1], 1)?;
    let four_us = timed(&mut sequences, 1)?;
    for sequence in &mut sequences {
        sequence.evict(backend.cache());
    }
    let per_seq_us = ((four_us - one_us) / 3.0).max(0.0);
    let base_us = (one_us - per_seq_us).max(0.0);
    Ok(CostHint {
        iteration_base_us: base_us as f32,
        per_seq_us: per_seq_us as f32,
        per_kv_token_us: 0.0,
        per_prefill_token_us: ((prompt_us - base_us).max(0.0) / PROMPT as f64) as f32,
        swap_per_block_us: 0.0,
    })
}

impl<B: Backend> ModelWorker<B> {
    /// A worker with nothing on it.
    pub fn new(mut backend: B, options: ModelOptions) -> Self {
        let cache = backend.cache();
        let (blocks, swap_blocks) = (cache.blocks(), cache.swap_blocks());
        Self {
            backend,
            options,
            blocks,
            swap_blocks,
            jobs: HashMap::new(),
        }
    }

    /// Moves KV out and in as a step wants it. Where both memories are full, one sequence's blocks
    /// leave before another's find room and the other way round, so moves take turns.
    fn swap(&mut self, step: &Step) -> Result<(), WorkerError> {
        let mut before = usize::MAX;
        loop {
            let mut left = 0;
            for moved in &step.swap_out {
                let job = job(&mut self.jobs, moved.job)?;
                let out = job.sequence.swap_out(self.backend.cache());
                left += out.map_err(|error| told(moved.job, error))?;
            }
            for moved in &step.swap_in {
                let job = job(&mut self.jobs, moved.job)?;
                let back = job.sequence.swap_in(self.backend.cache());
                left += back.map_err(|error| told(moved.job, error))?;
            }
            if left == 0 {
                return Ok(());
            }
            if left >= before {
                return Err(WorkerError("there is no room to swap KV".to_owned()));
            }
            before = left;
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

impl<B: Backend> Worker for ModelWorker<B> {
    fn config(&self) -> WorkerConfig {
        let options = self.options;
        WorkerConfig {
            max_num_seqs: options.max_num_seqs,
            max_batched_tokens: options.max_batched_tokens,
            block_size_tokens: Cache::block_tokens(),
            gpu_blocks: self.blocks,
            cpu_blocks: self.swap_blocks,
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
            job.sequence.evict(self.backend.cache());
        }
    }

    fn begin(&mut self, step: &Step) -> Result<(), WorkerError> {
        for &id in &step.dropped {
            // A job may be dropped and gone in the same step.
            if let Some(job) = self.jobs.get_mut(&id) {
                job.sequence.evict(self.backend.cache());
            }
        }
        self.swap(step)
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
            let ready = job.sequence.prepare(count, self.backend.cache());
            ready.map_err(|error| told(id, error))?;
        }
        let parts = counts.iter().filter_map(|&(id, count)| {
            let job = self.jobs.get(&id)?;
            Some(job.sequence.part(count))
        });
        let parts: Vec<Part<'_>> = parts.collect();
        let size = self.backend.config().vocabulary;
        let gives: Vec<bool> = parts.iter().map(|part| part.wants_logits).collect();
        let logits = self.backend.forward(&parts);
        let logits = logits.map_err(|error| WorkerError(error.to_string()))?;
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

impl<B> std::fmt::Debug for ModelWorker<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelWorker")
            .field("options", &self.options)
            .field("jobs", &self.jobs.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use elis_llm::{Config, HostPool, Pairing, Sampling};
    use elis_scheduler::{BlockMove, PrefillChunk};

    use super::*;

    /// A backend that thinks of the same token always.
    struct Mute {
        config: Config,
        cache: Cache,
        logits: Vec<f32>,
    }

    impl Backend for Mute {
        type Pool = HostPool;

        fn config(&self) -> &Config {
            &self.config
        }

        fn cache(&mut self) -> &mut Cache {
            &mut self.cache
        }

        fn forward(&mut self, parts: &[Part<'_>]) -> Result<&mut [f32], DeviceError> {
            if parts.len() > 2 {
                return Err(DeviceError("out of memory".to_owned()));
            }
            let count = parts.iter().filter(|part| part.wants_logits).count();
            self.logits = [0.0, 1.0].repeat(count);
            Ok(&mut self.logits)
        }
    }

    /// A worker with so many blocks and jobs of 64 tokens, two blocks each.
    fn worker(blocks: u32, swap_blocks: u32, jobs: u64) -> ModelWorker<Mute> {
        let config = Config {
            architecture: "llama".to_owned(),
            layers: 1,
            width: 2,
            heads: 1,
            kv_heads: 1,
            dim: 2,
            inner: 2,
            vocabulary: 2,
            context_tokens: 256,
            epsilon: 1e-5,
            rope_base: 10_000.0,
            rope_divisors: Vec::new(),
            pairing: Pairing::Halves,
        };
        let backend = Mute {
            cache: Cache::with_swap(config.kv_layout(), blocks, swap_blocks),
            config,
            logits: Vec::new(),
        };
        let options = ModelOptions {
            max_num_seqs: 4,
            max_batched_tokens: 256,
            cost: CostHint::default(),
        };
        let mut worker = ModelWorker::new(backend, options);
        for job in 0..jobs {
            let request = GenerateRequest::plain("", &[0; 64], Sampling::default());
            worker.open(job, &Arc::new(request));
        }
        worker
    }

    fn read(worker: &mut ModelWorker<Mute>, jobs: &[u64]) -> Result<Vec<u32>, WorkerError> {
        let chunk = |&job: &u64| PrefillChunk {
            job,
            tokens: 64,
            context_tokens: 0,
            last: true,
        };
        let prefill: Vec<PrefillChunk> = jobs.iter().map(chunk).collect();
        let iteration = Iteration {
            decode: &[],
            prefill: &prefill,
        };
        let mut tokens = Vec::new();
        worker.iterate(&iteration, &mut tokens)?;
        Ok(tokens.into_iter().map(|sampled| sampled.token).collect())
    }

    fn swaps(out: &[u64], back: &[u64]) -> Step {
        let moves = |jobs: &[u64]| -> Vec<BlockMove> {
            let moved = jobs.iter().map(|&job| BlockMove { job, blocks: 2 });
            moved.collect()
        };
        Step {
            swap_out: moves(out),
            swap_in: moves(back),
            ..Step::default()
        }
    }

    #[test]
    fn two_full_memories_exchange_jobs_within_a_step() {
        let mut worker = worker(4, 4, 4);
        assert_eq!(read(&mut worker, &[0, 1]), Ok(vec![1, 1]));
        worker.begin(&swaps(&[0, 1], &[])).unwrap();
        assert_eq!(read(&mut worker, &[2, 3]), Ok(vec![1, 1]));
        worker.begin(&swaps(&[2, 3], &[1, 0])).unwrap();
        let free = worker.backend.cache().free_blocks();
        assert_eq!(free, 0, "both are back, none is half here");
        worker.begin(&swaps(&[0], &[3])).unwrap();
        let error = worker.begin(&swaps(&[], &[0, 2])).unwrap_err();
        assert!(error.to_string().contains("no room"), "{error}");
    }

    #[test]
    fn what_the_device_says_is_told() {
        let mut worker = worker(6, 0, 3);
        let error = read(&mut worker, &[0, 1, 2]).unwrap_err();
        assert_eq!(error, WorkerError("out of memory".to_owned()));
    }
}
