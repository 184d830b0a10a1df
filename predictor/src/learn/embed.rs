//! Embeddings of a corpus: each prompt once, and each window of each response by itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::corpus::Corpus;
use super::sampling::STEP_TOKENS;
use crate::encoder::{Encoder, EncoderError};

/// Texts that are encoded together.
const BATCH: usize = 256;

/// The embeddings of a corpus.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vectors {
    dim: usize,
    prompts: Vec<f32>,
    windows: Vec<f32>,
    /// Where the windows of each response begin, and where the last ones end.
    starts: Vec<usize>,
}

/// Why a corpus could not be embedded.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// The encoder failed.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// The embeddings could not be kept.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Vectors {
    /// Numbers of an embedding; 0 where nothing was encoded.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The embedding of a prompt; empty where prompts were not encoded.
    pub fn prompt(&self, prompt: usize) -> &[f32] {
        self.prompts
            .get(prompt * self.dim..(prompt + 1) * self.dim)
            .unwrap_or(&[])
    }

    /// How many windows of a response were encoded.
    pub fn windows(&self, response: usize) -> usize {
        let bounds = self.starts.get(response..response + 2);
        bounds.map_or(0, |bounds| bounds[1] - bounds[0])
    }

    /// The embedding of the window with which a response has come to `step`, from 1; empty where
    /// there is none.
    pub fn window(&self, response: usize, step: usize) -> &[f32] {
        if step == 0 || step > self.windows(response) {
            return &[];
        }
        let at = self.starts[response] + step - 1;
        &self.windows[at * self.dim..(at + 1) * self.dim]
    }

    /// The sum of the embeddings of the first `count` windows; empty where there are none.
    pub fn windows_sum(&self, response: usize, count: usize) -> Vec<f32> {
        let mut sum = self.window(response, 1.min(count)).to_vec();
        for step in 2..=count.min(self.windows(response)) {
            for (sum, value) in sum.iter_mut().zip(self.window(response, step)) {
                *sum += value;
            }
        }
        sum
    }
}

/// The texts of the windows of a response, at most `steps_max` of them and only whole ones.
fn windows(corpus: &Corpus, response: usize, steps_max: u32) -> impl Iterator<Item = &str> {
    let response = &corpus.responses[response];
    let steps = (response.output_tokens.saturating_sub(1) / STEP_TOKENS).min(steps_max);
    (1..=steps).map(move |step| {
        let before = response.after((step - 1) * STEP_TOKENS).len();
        &response.after(step * STEP_TOKENS)[before..]
    })
}

/// Encodes the prompts of a corpus, and `steps_max` windows of each response. What was encoded
/// before is read from `cache` if that is of the same texts and of an encoder with the same
/// weights, which `encoder_sha256` names; `progress` gets the texts done and the texts in all.
///
/// # Errors
///
/// [`EmbedError`].
pub fn embed(
    corpus: &Corpus,
    encoder: &mut Encoder,
    encoder_sha256: &str,
    steps_max: u32,
    cache: Option<&Path>,
    mut progress: impl FnMut(usize, usize),
) -> Result<Vectors, EmbedError> {
    let mut texts: Vec<&str> = corpus.prompts.iter().map(|prompt| &**prompt).collect();
    let mut starts = vec![0];
    for response in 0..corpus.responses.len() {
        texts.extend(windows(corpus, response, steps_max));
        starts.push(texts.len() - corpus.prompts.len());
    }
    let digest = digest(&texts, encoder_sha256);
    let dim = encoder.dim();
    let values = match cache.and_then(|path| read(path, &digest, texts.len() * dim)) {
        Some(values) => values,
        None => {
            let values = encode(&texts, encoder, &mut progress)?;
            if let Some(path) = cache {
                write(path, &digest, &values)?;
            }
            values
        }
    };
    let (prompts, windows) = values.split_at(corpus.prompts.len() * dim);
    Ok(Vectors {
        dim,
        prompts: prompts.to_vec(),
        windows: windows.to_vec(),
        starts,
    })
}

/// Encodes texts in the order of their lengths, so that a batch has texts of one length.
fn encode(
    texts: &[&str],
    encoder: &mut Encoder,
    progress: &mut impl FnMut(usize, usize),
) -> Result<Vec<f32>, EmbedError> {
    let dim = encoder.dim();
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&text| texts[text].len());
    let mut values = vec![0.0; texts.len() * dim];
    for (batch, numbers) in order.chunks(BATCH).enumerate() {
        let chosen: Vec<&str> = numbers.iter().map(|&text| texts[text]).collect();
        let embeddings = encoder.encode(&chosen)?;
        for (&text, row) in numbers.iter().zip(embeddings.iter()) {
            values[text * dim..(text + 1) * dim].copy_from_slice(row);
        }
        progress(batch * BATCH + numbers.len(), texts.len());
    }
    Ok(values)
}

fn digest(texts: &[&str], encoder_sha256: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(encoder_sha256.as_bytes());
    for text in texts {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    hash.finalize().into()
}

/// The values of a cache file, if it is of these texts and whole.
fn read(path: &Path, digest: &[u8; 32], count: usize) -> Option<Vec<f32>> {
    let bytes = fs::read(path).ok()?;
    let values = bytes.strip_prefix(digest)?;
    let (chunks, rest) = values.as_chunks();
    (rest.is_empty() && chunks.len() == count).then(|| {
        chunks
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect()
    })
}

fn write(path: &Path, digest: &[u8; 32], values: &[f32]) -> Result<(), EmbedError> {
    let io = |source| EmbedError::Io {
        path: path.to_owned(),
        source,
    };
    let mut bytes = digest.to_vec();
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    let partial = path.with_extension("partial");
    fs::write(&partial, bytes).map_err(io)?;
    fs::rename(&partial, path).map_err(io)
}
