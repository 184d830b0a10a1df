//! Asks the heads of a trained predictor, and encodes no text twice.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use elis_ragged::Precision;

use super::card::{Card, SCHEMA};
use super::memory::{Job, Memory, digest};
use crate::encoder::{self, Encoder, EncoderError};
use crate::features::{PromptText, ResponseText};
use crate::head::{Evidence, Head, HeadError, Summary};
use crate::predict::{Prediction, Source};

/// Why a trained predictor could not be loaded or asked.
#[derive(Debug, thiserror::Error)]
pub enum TrainedError {
    /// Its description is missing or cannot be read.
    #[error(
        "{}: {detail}; a trained predictor is a folder that `elis-predictor train` made",
        path.display()
    )]
    Card {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// Its encoder is not here or not the one that it was trained with.
    #[error("the encoder {name}: {source}")]
    Encoder {
        /// What the card calls it.
        name: String,
        /// What is wrong.
        source: EncoderError,
    },
    /// The encoder gives vectors of another length than the heads take.
    #[error(
        "the encoder {name} gives {has} numbers and the heads take {wanted}; it is not the one \
             that they were trained with"
    )]
    Dim {
        /// What the card calls it.
        name: String,
        /// Numbers of an embedding.
        has: usize,
        /// Numbers that the heads take.
        wanted: usize,
    },
    /// The encoder has other weights than the one that the heads were trained with.
    #[error(
        "the encoder {name} has other weights than the one that the heads were trained with: \
         train them anew, or give the right one with --encoder"
    )]
    Weights {
        /// What the card calls it.
        name: String,
    },
    /// A head is missing or damaged.
    #[error("{}: {source}", path.display())]
    Head {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        source: HeadError,
    },
}

/// One question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask<'a> {
    /// Whose it is: what was encoded for a job is not encoded again.
    pub job: u64,
    /// The prompt.
    pub prompt: &'a str,
    /// Its length as the served model counts.
    pub prompt_tokens: u32,
    /// The response so far.
    pub generated: &'a str,
    /// Its length.
    pub generated_tokens: u32,
    /// The most that it may become.
    pub max_new_tokens: u32,
    /// The model that answers; where it is empty or unknown, the one that [`Trained::serve`] named.
    pub served_model: &'a str,
}

/// A trained predictor.
#[derive(Debug)]
pub struct Trained {
    card: Card,
    digest: String,
    encoder: Option<Encoder>,
    arrival: Head,
    later: Head,
    served_model: Option<usize>,
    pub(super) memory: Memory,
}

/// The files of a folder.
const CARD_FILE: &str = "predictor.json";
const ARRIVAL_FILE: &str = "arrival.safetensors";
const LATER_FILE: &str = "later.safetensors";

impl Trained {
    /// Loads a folder with its encoder, or with another one in its place.
    ///
    /// # Errors
    ///
    /// Every [`TrainedError`].
    pub fn load(folder: &Path, encoder: Option<&str>) -> Result<Self, TrainedError> {
        let path = folder.join(CARD_FILE);
        let card_error = |detail: String| TrainedError::Card {
            path: path.clone(),
            detail,
        };
        let text = fs::read_to_string(&path).map_err(|e| card_error(e.to_string()))?;
        let card: Card = serde_json::from_str(&text).map_err(|e| card_error(e.to_string()))?;
        if card.schema != SCHEMA {
            return Err(card_error(format!(
                "its schema is {}, not {SCHEMA}",
                card.schema
            )));
        }
        let head = |file: &str, shape: &crate::head::Shape| {
            let path = folder.join(file);
            Head::load(&path, shape.clone()).map_err(|source| TrainedError::Head { path, source })
        };
        let arrival = head(ARRIVAL_FILE, &card.arrival)?;
        let later = head(LATER_FILE, &card.later)?;
        let heads = [&arrival, &later].map(Head::shape).into_iter();
        let reading = heads.filter(|shape| shape.spec.reads_embeddings());
        let dims: Vec<usize> = reading.map(|shape| shape.embedding).collect();
        // Another one that was asked for is taken as it is: the same in half precision, say.
        let (name, sha256) = match encoder {
            Some(name) => (name, ""),
            None => (&*card.encoder, &*card.encoder_sha256),
        };
        let encoder = if dims.is_empty() {
            None
        } else {
            Some(load_encoder(name, sha256, &dims)?)
        };
        let mut parts = text;
        for file in [ARRIVAL_FILE, LATER_FILE] {
            let path = folder.join(file);
            let weights = fs::read(&path).map_err(|source| TrainedError::Head {
                source: HeadError::Io {
                    path: path.clone(),
                    source,
                },
                path,
            })?;
            parts += &hex(&sha(&weights));
        }
        let digest = hex(&digest(&parts));
        Ok(Self {
            card,
            digest,
            encoder,
            arrival,
            later,
            served_model: None,
            memory: Memory::default(),
        })
    }

    /// Writes heads and description into a folder.
    ///
    /// # Errors
    ///
    /// [`TrainedError::Card`] and [`TrainedError::Head`] where files cannot be written.
    pub fn save(
        folder: &Path,
        card: &Card,
        arrival: &Head,
        later: &Head,
    ) -> Result<(), TrainedError> {
        for (file, head) in [(ARRIVAL_FILE, arrival), (LATER_FILE, later)] {
            let path = folder.join(file);
            head.save(&path)
                .map_err(|source| TrainedError::Head { path, source })?;
        }
        let write = |file: &str, text: String| {
            let path = folder.join(file);
            fs::write(&path, text).map_err(|e| TrainedError::Card {
                path,
                detail: e.to_string(),
            })
        };
        let json = serde_json::to_string_pretty(card).map_err(|e| TrainedError::Card {
            path: folder.join(CARD_FILE),
            detail: e.to_string(),
        })?;
        write("MODEL_CARD.md", card.markdown())?;
        write(CARD_FILE, json + "\n")
    }

    /// The head for arrival and the head for later.
    pub fn heads(&mut self) -> [&mut Head; 2] {
        [&mut self.arrival, &mut self.later]
    }

    /// What it says of itself.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Names weights and description together.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Says which model answers, by the name that it was trained under or one much like it, and
    /// hears whether it is known; an unknown one is none.
    pub fn serve(&mut self, model: &str) -> bool {
        self.served_model = self.card.model(model);
        self.served_model.is_some()
    }

    /// Forgets a job that has ended.
    pub fn forget(&mut self, job: u64) {
        self.memory.jobs.pop(&job);
    }

    /// Answers questions in their order.
    ///
    /// # Errors
    ///
    /// [`TrainedError::Encoder`].
    pub fn ask(&mut self, asks: &[Ask<'_>]) -> Result<Vec<Prediction>, TrainedError> {
        let jobs = self.encode(asks)?;
        let mut summaries: Vec<Option<Summary>> = vec![None; asks.len()];
        for later in [false, true] {
            let head = if later {
                &mut self.later
            } else {
                &mut self.arrival
            };
            let chosen: Vec<usize> = (0..asks.len())
                .filter(|&i| (asks[i].generated_tokens > 0) == later)
                .collect();
            let mut rows = Vec::new();
            for &i in &chosen {
                let named = self.card.model(asks[i].served_model);
                let served_model = named.or(self.served_model);
                write_row(head, &asks[i], &jobs[i], served_model, &mut rows);
            }
            for (&i, summary) in chosen.iter().zip(head.predict(&mut rows)) {
                summaries[i] = Some(summary);
            }
        }
        for (ask, job) in asks.iter().zip(jobs) {
            // Words are looked at anew each time: without embeddings nothing need be kept.
            if !job.prompt.is_empty() {
                self.memory.jobs.put(ask.job, job);
            }
        }
        let answer = |(summary, ask): (Option<Summary>, &Ask<'_>)| {
            summary.map_or(Prediction::UNKNOWN, |summary| prediction(&summary, ask))
        };
        Ok(summaries.into_iter().zip(asks).map(answer).collect())
    }

    /// Encodes what is new of that which the heads look at, all of it together. A question whose
    /// head looks at no embedding gets an empty job.
    fn encode(&mut self, asks: &[Ask<'_>]) -> Result<Vec<Job>, TrainedError> {
        let mut jobs = vec![Job::default(); asks.len()];
        let Some(encoder) = &mut self.encoder else {
            return Ok(jobs);
        };
        let [arrival, later] = [&self.arrival, &self.later].map(|head| &head.shape().spec);
        let spec = |ask: &Ask<'_>| {
            if ask.generated_tokens > 0 {
                later
            } else {
                arrival
            }
        };
        let mut windows = vec![""; asks.len()];
        let mut texts = Vec::new();
        for ((ask, job), window) in asks.iter().zip(&mut jobs).zip(&mut windows) {
            if !spec(ask).reads_embeddings() {
                continue;
            }
            *job = self.memory.take(ask.job, ask.prompt, ask.generated);
            if job.prompt.is_empty() {
                texts.push(ask.prompt);
            }
            if spec(ask).reads_windows() && ask.generated.len() > job.bytes {
                *window = &ask.generated[job.bytes..];
                texts.push(*window);
            }
        }
        let known = embed(encoder, &self.card.encoder, &mut self.memory, &texts)?;
        let of = |text: &str| known.get(&digest(text)).cloned().unwrap_or_default();
        for ((ask, job), window) in asks.iter().zip(&mut jobs).zip(windows) {
            if job.prompt.is_empty() && spec(ask).reads_embeddings() {
                job.prompt = of(ask.prompt);
            }
            if !window.is_empty() {
                job.add_window(of(window), ask.generated);
            }
        }
        Ok(jobs)
    }
}

/// Embeddings of texts by their digests: those that are kept, and the others encoded together.
fn embed(
    encoder: &mut Encoder,
    name: &str,
    memory: &mut Memory,
    texts: &[&str],
) -> Result<HashMap<[u8; 32], Arc<[f32]>>, TrainedError> {
    let mut known: HashMap<[u8; 32], Arc<[f32]>> = HashMap::new();
    let mut fresh: Vec<([u8; 32], &str)> = Vec::new();
    for &text in texts {
        let digest = digest(text);
        let kept = memory.texts.get(&digest).cloned();
        if kept.is_none() && !known.contains_key(&digest) {
            fresh.push((digest, text));
        }
        known
            .entry(digest)
            .or_insert_with(|| kept.unwrap_or_default());
    }
    if fresh.is_empty() {
        return Ok(known);
    }
    let chosen: Vec<&str> = fresh.iter().map(|(_, text)| *text).collect();
    let embeddings = encoder
        .encode(&chosen)
        .map_err(|source| TrainedError::Encoder {
            name: name.to_owned(),
            source,
        })?;
    for ((digest, _), row) in fresh.iter().zip(embeddings.iter()) {
        let row: Arc<[f32]> = row.into();
        memory.texts.put(*digest, Arc::clone(&row));
        known.insert(*digest, row);
    }
    Ok(known)
}

fn write_row(
    head: &Head,
    ask: &Ask<'_>,
    job: &Job,
    served_model: Option<usize>,
    rows: &mut Vec<f32>,
) {
    let prompt = PromptText::new(ask.prompt, ask.prompt_tokens);
    let response = (ask.generated_tokens > 0)
        .then(|| ResponseText::new(ask.generated, ask.generated_tokens, &prompt));
    let evidence = Evidence {
        prompt: &prompt,
        response: response.as_ref(),
        prompt_embedding: &job.prompt,
        windows_embedding: &job.sum,
        windows: job.windows,
        window_embedding: &job.last,
        served_model,
        hidden_state: &[],
    };
    head.shape().write_row(&evidence, rows);
}

/// A summary as a prediction: the median, and never more than the request may still produce.
fn prediction(summary: &Summary, ask: &Ask<'_>) -> Prediction {
    let left = ask
        .max_new_tokens
        .saturating_sub(ask.generated_tokens)
        .max(1) as f32;
    let bounded = |tokens: f32| {
        if tokens.is_nan() {
            tokens
        } else {
            tokens.clamp(1.0, left)
        }
    };
    Prediction {
        remaining_tokens: bounded(summary.median_tokens),
        sigma_tokens: summary.sigma_tokens,
        p90_tokens: bounded(summary.p90_tokens),
        source: Source::Trained,
    }
}

/// Loads an encoder whose embeddings are as long as heads want them; with a digest, only if its
/// weights have it.
fn load_encoder(name: &str, sha256: &str, wanted: &[usize]) -> Result<Encoder, TrainedError> {
    let options = encoder::Options {
        precision: Precision::Q8,
        ..encoder::Options::default()
    };
    let failed = |source| TrainedError::Encoder {
        name: name.to_owned(),
        source,
    };
    let folder = encoder::resolve(name).map_err(failed)?;
    let encoder = Encoder::load(&folder, &options).map_err(failed)?;
    let name = name.to_owned();
    let has = encoder.dim();
    if let Some(&wanted) = wanted.iter().find(|&&wanted| wanted != has) {
        return Err(TrainedError::Dim { name, has, wanted });
    }
    if !sha256.is_empty() && encoder::weights_sha256(&folder).map_err(failed)? != sha256 {
        return Err(TrainedError::Weights { name });
    }
    Ok(encoder)
}

fn sha(bytes: &[u8]) -> [u8; 32] {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(bytes).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
