//! What is remembered of running jobs, so that a prompt is encoded once and each window once.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use sha2::{Digest, Sha256};

/// Jobs that are remembered; beyond that the one asked about longest ago is encoded anew.
const JOBS_MAX: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");
/// Texts whose embeddings are kept, whoever's they are.
const TEXTS_MAX: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// The embeddings of one job.
#[derive(Debug, Clone, Default)]
pub(super) struct Job {
    pub(super) prompt_digest: [u8; 32],
    pub(super) prompt: Arc<[f32]>,
    pub(super) sum: Vec<f32>,
    pub(super) windows: usize,
    pub(super) last: Arc<[f32]>,
    /// The bytes of the response that those windows cover, and their digest.
    pub(super) bytes: usize,
    pub(super) digest: [u8; 32],
}

/// Embeddings by job and by text.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) jobs: LruCache<u64, Job>,
    pub(super) texts: LruCache<[u8; 32], Arc<[f32]>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            jobs: LruCache::new(JOBS_MAX),
            texts: LruCache::new(TEXTS_MAX),
        }
    }
}

pub(super) fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

impl Memory {
    /// Takes out what is remembered of a job, if it is of this prompt and this response went on
    /// from there.
    pub(super) fn take(&mut self, job: u64, prompt: &str, generated: &str) -> Job {
        let known = self.jobs.pop(&job).unwrap_or_default();
        let prompt_digest = digest(prompt);
        if known.prompt_digest != prompt_digest {
            return Job {
                prompt_digest,
                ..Job::default()
            };
        }
        let covered = generated.get(..known.bytes);
        if covered.is_some_and(|text| digest(text) == known.digest) {
            return known;
        }
        Job {
            prompt_digest,
            prompt: known.prompt,
            ..Job::default()
        }
    }
}

impl Job {
    /// Adds the embedding of the window that ends with this text.
    pub(super) fn add_window(&mut self, embedding: Arc<[f32]>, generated: &str) {
        if self.sum.is_empty() {
            self.sum = embedding.to_vec();
        } else {
            let values = self.sum.iter_mut().zip(embedding.iter());
            values.for_each(|(sum, value)| *sum += value);
        }
        self.windows += 1;
        self.last = embedding;
        self.bytes = generated.len();
        self.digest = digest(generated);
    }
}
