//! The two heads of a predictor, from samples to figures, for one choice of inputs and sizes.

use std::path::{Path, PathBuf};

use super::Part;
use super::corpus::Corpus;
use super::embed::Vectors;
use super::fit::{Epoch, Fit, FitError, FitOptions, Rows, fit};
use super::sampling::{Sample, Step, rows};
use crate::head::{Bins, Input, Shape, Spec};

/// What a predictor is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// The head for the prompt alone.
    pub arrival: Spec,
    /// How that is fitted.
    pub arrival_fit: FitOptions,
    /// The head for prompt and response so far.
    pub later: Spec,
    /// How that is fitted.
    pub later_fit: FitOptions,
}

impl Recipe {
    /// Ours: words and embeddings, a distribution over 40 bins.
    pub fn ours(seed: u64) -> Self {
        let spec = |inputs: &[Input], hidden: &[usize]| Spec {
            inputs: inputs.to_vec(),
            hidden: hidden.to_vec(),
            bins: 40,
        };
        Self {
            arrival: spec(
                &[
                    Input::PromptLexical,
                    Input::PromptEmbedding,
                    Input::ServedModel,
                ],
                &[256, 128],
            ),
            arrival_fit: FitOptions {
                epochs: 12,
                batch: 256,
                learning_rate: 1e-3,
                drop_inputs: 0.1,
                drop_hidden: 0.3,
                seed,
                ..FitOptions::default()
            },
            later: spec(
                &[
                    Input::PromptLexical,
                    Input::ResponseLexical,
                    Input::WindowEmbedding,
                    Input::TextEmbedding,
                    Input::ServedModel,
                ],
                &[512, 256, 128],
            ),
            later_fit: FitOptions {
                epochs: 10,
                drop_inputs: 0.1,
                drop_hidden: 0.3,
                learning_rate: 2e-3,
                seed,
                ..FitOptions::default()
            },
        }
    }

    /// Words only: no encoder.
    pub fn lexical(seed: u64) -> Self {
        let mut recipe = Self::ours(seed);
        recipe.arrival.inputs.retain(|input| !input.is_embedding());
        recipe.later.inputs.retain(|input| !input.is_embedding());
        recipe.later_fit.drop_inputs = 0.05;
        recipe.later_fit.drop_hidden = 0.2;
        recipe.later_fit.learning_rate = 3e-3;
        recipe
    }

    /// The paper's head (section 4.2): the embedding mean-pooled over prompt and answer, eight
    /// fully connected layers with 1024 units between them, learning rate 1e-4. Loss and optimiser
    /// are not in the paper: Huber's on the logarithm and AdamW are ours, and batches are larger.
    pub fn paper(seed: u64) -> Self {
        let spec = Spec {
            inputs: vec![Input::TextEmbedding],
            hidden: vec![1024; 7],
            bins: 0,
        };
        let fit = FitOptions {
            epochs: 6,
            batch: 256,
            learning_rate: 1e-4,
            weight_decay: 0.01,
            drop_inputs: 0.0,
            drop_hidden: 0.0,
            seed,
            ..FitOptions::default()
        };
        Self {
            arrival: spec.clone(),
            arrival_fit: fit.clone(),
            later: spec,
            later_fit: fit,
        }
    }

    /// A recipe by its name.
    pub fn named(name: &str, seed: u64) -> Option<Self> {
        match name {
            "ours" => Some(Self::ours(seed)),
            "lexical" => Some(Self::lexical(seed)),
            "paper" => Some(Self::paper(seed)),
            _ => None,
        }
    }

    /// The recipe whose heads have these specifications.
    pub fn of(arrival: &Spec, later: &Spec, seed: u64) -> Option<Self> {
        [Self::ours(seed), Self::lexical(seed), Self::paper(seed)]
            .into_iter()
            .find(|recipe| (&recipe.arrival, &recipe.later) == (arrival, later))
    }

    /// Whether any of its heads reads embeddings.
    pub fn needs_encoder(&self) -> bool {
        let mut inputs = self.arrival.inputs.iter().chain(&self.later.inputs);
        inputs.any(|input| input.is_embedding())
    }
}

/// The two heads, fitted.
#[derive(Debug)]
pub struct Heads {
    /// For arrival.
    pub arrival: Fit,
    /// For later.
    pub later: Fit,
    /// Rows that each was fitted to.
    pub rows: [u64; 2],
}

/// The lengths that a sample may turn out to have. At arrival those are all that the prompt was
/// answered with; later a response goes its own way.
pub fn lengths(corpus: &Corpus, sample: &Sample, cap_tokens: u32) -> Vec<f32> {
    if sample.step > 0 {
        return vec![sample.remaining_tokens];
    }
    let all = &corpus.responses[sample.response].samples_tokens;
    all.iter()
        .map(|&length| length.min(cap_tokens) as f32)
        .collect()
}

/// Where the fit of a head is kept while it goes on.
pub fn checkpoint_path(folder: &Path, step: Step) -> PathBuf {
    folder.join(match step {
        Step::Arrival => "arrival.checkpoint",
        Step::Later => "later.checkpoint",
    })
}

/// Fits both heads to the training part of the samples; `each` hears of every epoch. With a folder
/// for checkpoints, what was interrupted there goes on, and what was fitted is not fitted again.
///
/// # Errors
///
/// [`FitError`].
pub fn train(
    corpus: &Corpus,
    vectors: &Vectors,
    samples: &[Sample],
    recipe: &Recipe,
    cap_tokens: u32,
    checkpoints: Option<&Path>,
    mut each: impl FnMut(Step, &Epoch),
) -> Result<Heads, FitError> {
    let mut one = |step: Step, spec: &Spec, options: &FitOptions| {
        let of = |part: Part| -> Vec<Sample> {
            let mine = |sample: &&Sample| sample.at() == step && sample.part == part;
            samples.iter().filter(mine).copied().collect()
        };
        let (train, validation) = (of(Part::Train), of(Part::Validation));
        let known: Vec<f32> = train
            .iter()
            .flat_map(|s| lengths(corpus, s, cap_tokens))
            .collect();
        let shape = Shape {
            spec: spec.clone(),
            embedding: vectors.dim(),
            models: corpus.models.len(),
            bins: (spec.bins > 0)
                .then(|| Bins::of(&known, spec.bins))
                .flatten(),
        };
        if spec.bins > 0 && shape.bins.is_none() {
            return Err(FitError::TooLittle(
                "the lengths do not differ enough for bins",
            ));
        }
        let made = |samples: &[Sample]| Rows {
            inputs: rows(corpus, vectors, samples, &shape, |r| {
                Some(corpus.model_of[r])
            }),
            lengths_tokens: samples
                .iter()
                .map(|s| lengths(corpus, s, cap_tokens))
                .collect(),
        };
        let count = train.len() as u64;
        let (train, validation) = (made(&train), made(&validation));
        let path = checkpoints.map(|folder| checkpoint_path(folder, step));
        let each = |epoch: &Epoch| each(step, epoch);
        let fitted = fit(&shape, train, &validation, options, path.as_deref(), each)?;
        Ok((fitted, count))
    };
    let (arrival, arrival_rows) = one(Step::Arrival, &recipe.arrival, &recipe.arrival_fit)?;
    let (later, later_rows) = one(Step::Later, &recipe.later, &recipe.later_fit)?;
    Ok(Heads {
        arrival,
        later,
        rows: [arrival_rows, later_rows],
    })
}
