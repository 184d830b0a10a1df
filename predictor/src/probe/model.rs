//! Reads hidden states, believes, and answers.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use lru::LruCache;
use sha2::{Digest as _, Sha256};

use super::belief::Belief;
use super::card::{ProbeCard, SCHEMA};
use crate::error::PredictError;
use crate::head::{Head, HeadError, Input};
use crate::latency::Latency;
use crate::predict::{
    HiddenState, HiddenWanted, LengthPredictor, Prediction, Request, Source, Text,
};
use crate::service::{BatchModel, ModelError, Question};

/// Jobs that are remembered; beyond that the one heard of longest ago begins anew.
const JOBS_MAX: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Why a probe could not be loaded, or not take a state in.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Its description is missing or is no probe's.
    #[error("{}: {detail}; a probe is a folder with a probe.json", path.display())]
    Card {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// Its weights are missing or damaged.
    #[error("{}: {source}", path.display())]
    Head {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: HeadError,
    },
    /// A hidden state has another width than the one it was trained on.
    #[error(
        "the hidden state of job {job} has {has} numbers and the probe reads {wanted}; it was \
         trained on another model"
    )]
    Dim {
        /// The job.
        job: u64,
        /// Numbers of the state.
        has: usize,
        /// Numbers that it reads.
        wanted: usize,
    },
    /// A hidden state holds what is no number.
    #[error("the hidden state of job {job} is not finite at {at}; the served model has overflowed")]
    NotFinite {
        /// The job.
        job: u64,
        /// Where.
        at: usize,
    },
}

/// What is believed of a job, and when that was.
#[derive(Debug, Clone)]
struct Kept {
    belief: Belief,
    generated_tokens: u32,
}

/// A trained probe with what it believes of running jobs.
#[derive(Debug)]
pub struct Probe {
    card: ProbeCard,
    digest: String,
    head: Head,
    width_tokens: f32,
    jobs: LruCache<u64, Kept>,
}

/// The files of a folder.
const CARD_FILE: &str = "probe.json";
const WEIGHTS_FILE: &str = "probe.safetensors";

impl Probe {
    /// Loads a folder.
    ///
    /// # Errors
    ///
    /// [`ProbeError::Card`] and [`ProbeError::Head`].
    pub fn load(folder: &Path) -> Result<Self, ProbeError> {
        let path = folder.join(CARD_FILE);
        let wrong = |detail: String| ProbeError::Card {
            path: path.clone(),
            detail,
        };
        let text = fs::read_to_string(&path).map_err(|e| wrong(e.to_string()))?;
        let card: ProbeCard = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        if card.schema != SCHEMA {
            let detail = format!("its schema is {}, not {SCHEMA}", card.schema);
            return Err(wrong(detail));
        }
        if card.shape.spec.inputs != [Input::HiddenState] {
            return Err(wrong(
                "its network reads more than hidden states".to_owned(),
            ));
        }
        let bins = card.shape.bins.as_ref();
        let width = bins.and_then(|bins| bins.width_tokens());
        let Some(width_tokens) = width.filter(|&width| width >= 1.0) else {
            return Err(wrong(
                "its bins are not of one width of a token or more".to_owned(),
            ));
        };
        let path = folder.join(WEIGHTS_FILE);
        let head = Head::load(&path, card.shape.clone());
        let head = head.map_err(|source| ProbeError::Head {
            path: path.clone(),
            source,
        })?;
        let weights = fs::read(&path).map_err(|source| ProbeError::Head {
            source: HeadError::Io {
                path: path.clone(),
                source,
            },
            path,
        })?;
        let digest = Sha256::new().chain_update(&text).chain_update(weights);
        let digest = digest.finalize();
        Ok(Self {
            digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            card,
            head,
            width_tokens,
            jobs: LruCache::new(JOBS_MAX),
        })
    }

    /// Writes network and description into a folder.
    ///
    /// # Errors
    ///
    /// [`ProbeError::Card`] and [`ProbeError::Head`] where files cannot be written.
    pub fn save(folder: &Path, card: &ProbeCard, head: &Head) -> Result<(), ProbeError> {
        let path = folder.join(WEIGHTS_FILE);
        head.save(&path)
            .map_err(|source| ProbeError::Head { path, source })?;
        let write = |file: &str, text: Result<String, String>| {
            let path = folder.join(file);
            let written = text.and_then(|text| fs::write(&path, text).map_err(|e| e.to_string()));
            written.map_err(|detail| ProbeError::Card { path, detail })
        };
        let json = serde_json::to_string_pretty(card).map_err(|e| e.to_string());
        write("MODEL_CARD.md", Ok(card.markdown()))?;
        write(CARD_FILE, json.map(|json| json + "\n"))
    }

    /// What it says of itself.
    pub fn card(&self) -> &ProbeCard {
        &self.card
    }

    /// Names weights and description together.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Which hidden states it reads.
    pub fn wanted(&self) -> HiddenWanted {
        HiddenWanted {
            layer: self.card.layer,
            dim: self.card.shape.embedding,
            every_tokens: self.card.every_tokens,
        }
    }

    /// Takes in hidden states, all of them through the network together. A state at the same
    /// number of tokens as the one before is the same state, and counts once; one at fewer tokens
    /// is that of a job that began anew.
    ///
    /// # Errors
    ///
    /// [`ProbeError::Dim`] and [`ProbeError::NotFinite`]; nothing is taken in then.
    pub fn observe(&mut self, states: &[HiddenState<'_>]) -> Result<(), ProbeError> {
        let wanted = self.card.shape.embedding;
        let mut rows = Vec::with_capacity(states.len() * wanted);
        for state in states {
            let (job, has) = (state.job, state.values.len());
            if has != wanted {
                return Err(ProbeError::Dim { job, has, wanted });
            }
            if let Some(at) = state.values.iter().position(|value| !value.is_finite()) {
                return Err(ProbeError::NotFinite { job, at });
            }
            rows.extend_from_slice(state.values);
        }
        let outputs = self.head.outputs(&mut rows);
        let said = outputs.chunks_exact(self.card.shape.outputs());
        for (state, said) in states.iter().zip(said) {
            let now = state.generated_tokens;
            match self.jobs.get_mut(&state.job) {
                Some(kept) if kept.generated_tokens == now => {}
                Some(kept) if kept.generated_tokens < now => {
                    let tokens = now - kept.generated_tokens;
                    kept.belief.count_down(tokens, self.width_tokens);
                    kept.belief.update(said);
                    kept.generated_tokens = now;
                }
                _ => {
                    let kept = Kept {
                        belief: Belief::new(said),
                        generated_tokens: now,
                    };
                    self.jobs.put(state.job, kept);
                }
            }
        }
        Ok(())
    }

    /// What is believed of a job that has come to so many tokens: the expected length at its last
    /// hidden state, less one for each token since, and never more than it may still produce.
    /// `None` where no state of it has come.
    pub fn say(&self, request: &Request<'_>) -> Option<Prediction> {
        let kept = self.jobs.peek(&request.job)?;
        let since = request
            .generated_tokens
            .checked_sub(kept.generated_tokens)? as f32;
        let bins = self.card.shape.bins.as_ref()?;
        let [mean, sigma_tokens, p90] = kept.belief.summary(bins);
        let left = request
            .max_new_tokens
            .saturating_sub(request.generated_tokens);
        let bounded = |tokens: f32| (tokens - since).clamp(1.0, left.max(1) as f32);
        Some(Prediction {
            remaining_tokens: bounded(mean),
            sigma_tokens,
            p90_tokens: bounded(p90),
            source: Source::Trained,
        })
    }

    /// Forgets a job that has ended.
    pub fn forget(&mut self, job: u64) {
        self.jobs.pop(&job);
    }
}

/// A probe where a driver asks, with the predictor that answers before a job's first hidden state.
pub struct Probing {
    name: String,
    latency: Latency,
    probe: Probe,
    first: Box<dyn LengthPredictor>,
}

impl Probing {
    /// A probe behind the name that a user wrote; a batch costs `latency` of virtual time beside
    /// what `first` costs.
    pub fn new(
        name: &str,
        probe: Probe,
        first: Box<dyn LengthPredictor>,
        latency: Latency,
    ) -> Self {
        Self {
            name: name.to_owned(),
            latency,
            probe,
            first,
        }
    }
}

impl LengthPredictor for Probing {
    fn name(&self) -> &str {
        &self.name
    }

    fn predict(
        &mut self,
        batch: &[Request<'_>],
        out: &mut Vec<Prediction>,
    ) -> Result<(), PredictError> {
        let said: Vec<Option<Prediction>> = batch
            .iter()
            .map(|request| self.probe.say(request))
            .collect();
        let unknown = batch.iter().zip(&said).filter(|(_, said)| said.is_none());
        let unknown: Vec<Request<'_>> = unknown.map(|(request, _)| *request).collect();
        let mut first = Vec::new();
        if !unknown.is_empty() {
            self.first.predict(&unknown, &mut first)?;
        }
        let mut first = first.into_iter();
        let answer = |said: Option<Prediction>| said.or_else(|| first.next());
        out.clear();
        out.extend(
            said.into_iter()
                .map(answer)
                .map(|answer| answer.unwrap_or(Prediction::UNKNOWN)),
        );
        Ok(())
    }

    fn hidden_wanted(&self) -> Option<HiddenWanted> {
        Some(self.probe.wanted())
    }

    fn observe(&mut self, states: &[HiddenState<'_>]) -> Result<(), PredictError> {
        let observed = self.probe.observe(states);
        observed.map_err(|e| PredictError::Trained {
            predictor: self.name.clone(),
            problem: e.to_string(),
        })
    }

    fn forget(&mut self, job: u64) {
        self.probe.forget(job);
        self.first.forget(job);
    }

    fn latency_ns(&self, batch_len: usize) -> u64 {
        self.latency.for_batch_ns(batch_len) + self.first.latency_ns(batch_len)
    }
}

impl BatchModel for Probing {
    fn digest(&self) -> &str {
        self.probe.digest()
    }

    fn predict(&mut self, batch: &[Question]) -> Result<Vec<Prediction>, ModelError> {
        let requests: Vec<Request<'_>> = batch.iter().map(request).collect();
        let mut out = Vec::with_capacity(batch.len());
        LengthPredictor::predict(self, &requests, &mut out)?;
        Ok(out)
    }

    fn observe(&mut self, states: &[HiddenState<'_>]) -> Result<(), ModelError> {
        Ok(self.probe.observe(states)?)
    }

    fn is_cacheable(&self) -> bool {
        false
    }

    fn forget(&mut self, job: u64) {
        LengthPredictor::forget(self, job);
    }
}

fn request(question: &Question) -> Request<'_> {
    Request {
        job: question.job,
        prompt_tokens: question.prompt_tokens,
        generated_tokens: question.generated_tokens,
        max_new_tokens: question.max_new_tokens,
        true_total_tokens: None,
        text: Some(Text {
            prompt: &question.prompt,
            generated: &question.generated,
            served_model: "",
        }),
    }
}
