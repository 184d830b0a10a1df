//! A modelled worker in real time: no model, the pace of one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use elis_cost::{Load, Profile};
use elis_llm::{Vocabulary, VocabularyError};
use elis_scheduler::Step;
use elis_scheduler::config::WorkerConfig;

use super::{Iteration, Sampled, Worker, WorkerError};
use crate::engine::GenerateRequest;

/// What its responses say, over and over.
const TEXT: &str = "This is a modelled worker: it takes the time of a model and says nothing new. ";

/// A worker that sleeps as long as its profile says an iteration takes.
#[derive(Debug)]
pub struct PacedWorker {
    profile: Profile,
    /// How many times faster than real.
    speed: f64,
    text: Vec<u32>,
    jobs: HashMap<u64, Job>,
    /// When the last iteration should have ended: sleeping too long is made up for.
    due: Instant,
    moved_blocks: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Job {
    context_tokens: u64,
    generated: usize,
    logprobs: Option<usize>,
}

impl PacedWorker {
    /// A worker of a profile, `speed` times as fast.
    ///
    /// # Errors
    ///
    /// A [`VocabularyError`], which would be a mistake of ours.
    pub fn new(profile: Profile, speed: f64) -> Result<Self, VocabularyError> {
        Ok(Self {
            text: Vocabulary::bytes()?.encode(TEXT, false)?,
            profile,
            speed,
            jobs: HashMap::new(),
            due: Instant::now(),
            moved_blocks: 0,
        })
    }

    fn load(&self, iteration: &Iteration<'_>) -> Load {
        let contexts = iteration.decode.iter().filter_map(|job| self.jobs.get(job));
        let mut load = Load {
            decode_seqs: iteration.decode.len() as u32,
            decode_kv_tokens: contexts.map(|job| job.context_tokens).sum(),
            ..Load::default()
        };
        for chunk in iteration.prefill {
            load.add_chunk(chunk.tokens, chunk.context_tokens);
        }
        load
    }

    fn sleep(&mut self, ns: u64) {
        let span = Duration::from_secs_f64(ns as f64 / 1e9 / self.speed);
        let now = Instant::now();
        // After a pause there is nothing to make up for.
        let late = now.saturating_duration_since(self.due);
        let start = if late < Duration::from_millis(5) {
            self.due
        } else {
            now
        };
        self.due = start + span;
        std::thread::sleep(self.due.saturating_duration_since(now));
    }
}

impl Worker for PacedWorker {
    fn config(&self) -> WorkerConfig {
        self.profile.worker_config()
    }

    fn open(&mut self, job: u64, request: &Arc<GenerateRequest>) {
        let context_tokens = request.prompt_tokens.len() as u64;
        let opened = Job {
            context_tokens,
            generated: 0,
            logprobs: request.logprobs,
        };
        self.jobs.insert(job, opened);
    }

    fn close(&mut self, job: u64) {
        self.jobs.remove(&job);
    }

    fn begin(&mut self, step: &Step) -> Result<(), WorkerError> {
        let moves = step.swap_out.iter().chain(&step.swap_in);
        self.moved_blocks += moves.map(|moved| moved.blocks).sum::<u32>();
        Ok(())
    }

    fn iterate(
        &mut self,
        iteration: &Iteration<'_>,
        tokens: &mut Vec<Sampled>,
    ) -> Result<(), WorkerError> {
        let moved = std::mem::take(&mut self.moved_blocks);
        let moves_ns = f64::from(moved) * self.profile.swap_per_block_us * 1e3;
        let load = self.load(iteration);
        self.sleep(self.profile.cost.iteration_ns(&load) + moves_ns as u64);
        let complete = iteration.prefill.iter().filter(|chunk| chunk.last);
        let giving = iteration.decode.iter().copied();
        for id in giving.chain(complete.map(|chunk| chunk.job)) {
            let Some(job) = self.jobs.get_mut(&id) else {
                continue;
            };
            let token = self.text[job.generated % self.text.len()];
            tokens.push(Sampled {
                job: id,
                token,
                logprobs: job.logprobs.map(|top| certain(token, top)),
            });
            job.generated += 1;
            job.context_tokens += 1;
        }
        Ok(())
    }
}

/// The probabilities of somebody who knows what to say: any other byte is one in a billion.
fn certain(token: u32, top: usize) -> (f32, Vec<(u32, f32)>) {
    const OTHER: f32 = -20.7;
    let others = (0..256).filter(|&other| other != token);
    let ranked = std::iter::once((token, 0.0)).chain(others.map(|other| (other, OTHER)));
    (0.0, ranked.take(top).collect())
}
