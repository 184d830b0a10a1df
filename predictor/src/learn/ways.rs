//! Ways of predicting, on all samples at once: two heads, and the simpler ways that they have to
//! beat.

use std::collections::HashMap;

use super::corpus::Corpus;
use super::embed::Vectors;
use super::fit::{FitError, FitOptions};
use super::recipe::{self, Recipe, lengths};
use super::sampling::{Sample, rows};
use crate::head::{Head, Input, Spec};

/// Levels of the quantiles that a way states; the last is what policies call the p90.
pub const LEVELS: [f32; 9] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

/// What one way of predicting said of every sample, in tokens still to come.
#[derive(Debug, Clone)]
pub struct Way {
    /// What the table calls it.
    pub name: String,
    /// One for each sample.
    pub remaining_tokens: Vec<f32>,
    /// The quantiles at [`LEVELS`], one set for each sample; empty where the way states none.
    pub quantiles_tokens: Vec<[f32; LEVELS.len()]>,
}

impl Way {
    /// A way that states lengths and no quantiles.
    pub fn of_lengths(name: &str, remaining_tokens: Vec<f32>) -> Self {
        Self {
            name: name.to_owned(),
            remaining_tokens,
            quantiles_tokens: Vec::new(),
        }
    }
}

/// What two heads say of samples.
pub fn heads_way(
    name: &str,
    corpus: &Corpus,
    vectors: &Vectors,
    samples: &[Sample],
    heads: [&mut Head; 2],
    served: impl Fn(usize) -> Option<usize>,
) -> Way {
    let mut remaining = vec![f32::NAN; samples.len()];
    let mut quantiles = vec![[f32::NAN; LEVELS.len()]; samples.len()];
    for (later, head) in heads.into_iter().enumerate() {
        let of: Vec<usize> = (0..samples.len())
            .filter(|&i| usize::from(samples[i].step > 0) == later)
            .collect();
        let chosen: Vec<Sample> = of.iter().map(|&i| samples[i]).collect();
        let mut made = rows(corpus, vectors, &chosen, head.shape(), &served);
        let outputs = head.outputs(&mut made);
        let shape = head.shape();
        for (&i, row) in of.iter().zip(outputs.chunks_exact(shape.outputs())) {
            remaining[i] = shape.summarise(row).median_tokens.max(1.0);
            if let Some(bins) = &shape.bins {
                quantiles[i] = LEVELS.map(|level| bins.quantile(row, level));
            }
        }
    }
    Way {
        name: name.to_owned(),
        remaining_tokens: remaining,
        quantiles_tokens: quantiles,
    }
}

/// What was said at arrival, counted down.
pub fn countdown(name: &str, samples: &[Sample], arrival: &Way) -> Way {
    let mut first = (usize::MAX, f32::NAN);
    let remaining = samples
        .iter()
        .zip(&arrival.remaining_tokens)
        .map(|(sample, &said)| {
            if sample.step == 0 {
                first = (sample.response, said);
            }
            (first.1 - sample.generated_tokens() as f32).max(1.0)
        });
    Way::of_lengths(name, remaining.collect())
}

/// One length for all responses, counted down: what `constant:N` does with the best N there is.
pub fn constant(name: &str, corpus: &Corpus, train: &[Sample], samples: &[Sample]) -> Way {
    let arrivals = train.iter().filter(|sample| sample.step == 0);
    let lengths: Vec<f32> = arrivals
        .flat_map(|sample| lengths(corpus, sample, u32::MAX))
        .collect();
    let sum: f64 = lengths.iter().map(|&length| f64::from(length)).sum();
    let mean = (sum / lengths.len() as f64) as f32;
    let first = Way::of_lengths(name, vec![mean; samples.len()]);
    countdown(name, samples, &first)
}

/// The mean of the training samples at each step that agree in a key.
pub fn mean_by(
    name: &str,
    corpus: &Corpus,
    train: &[Sample],
    samples: &[Sample],
    key: impl Fn(&Corpus, usize) -> usize,
) -> Way {
    let mut sums = HashMap::<(usize, u32), (f64, f64)>::new();
    for sample in train {
        for length in lengths(corpus, sample, u32::MAX) {
            let sum = sums
                .entry((key(corpus, sample.response), sample.step))
                .or_default();
            *sum = (sum.0 + f64::from(length), sum.1 + 1.0);
        }
    }
    let said = samples.iter().map(|sample| {
        let of = sums.get(&(key(corpus, sample.response), sample.step));
        of.map_or(f32::NAN, |(sum, count)| (sum / count) as f32)
    });
    Way::of_lengths(name, said.collect())
}

/// The prompt alone, whatever is generated since: a linear model of its words (Clairvoyant's idea,
/// arXiv 2606.07248), or a regression on its embedding (SSJF's, arXiv 2404.08509, with the encoder
/// as it is).
///
/// # Errors
///
/// [`FitError`].
pub fn prompt_only(
    name: &str,
    corpus: &Corpus,
    vectors: &Vectors,
    all: &[Sample],
    judged: &[Sample],
    linear: bool,
) -> Result<Way, FitError> {
    let spec = if linear {
        Spec {
            inputs: vec![Input::PromptLexical, Input::ServedModel],
            hidden: vec![],
            bins: 0,
            members: 1,
        }
    } else {
        Spec {
            inputs: vec![Input::PromptEmbedding, Input::ServedModel],
            hidden: vec![256, 128],
            bins: 0,
            members: 1,
        }
    };
    let fit = FitOptions {
        batch: 256,
        learning_rate: 1e-3,
        ..FitOptions::default()
    };
    let recipe = Recipe {
        arrival: spec.clone(),
        arrival_fit: fit.clone(),
        later: spec,
        later_fit: FitOptions { epochs: 1, ..fit },
    };
    let mut fitted = recipe::train(corpus, vectors, all, &recipe, u32::MAX, None, |_, _, _| ())?;
    let served = |response: usize| Some(corpus.model_of[response]);
    let arrival = at_arrival(judged);
    let heads = [&mut fitted.arrival.head, &mut fitted.later.head];
    let first = heads_way(name, corpus, vectors, &arrival, heads, served);
    Ok(countdown(name, judged, &first))
}

/// The same samples as they were before their first token.
pub(super) fn at_arrival(samples: &[Sample]) -> Vec<Sample> {
    let first = |sample: &Sample| Sample { step: 0, ..*sample };
    samples.iter().map(first).collect()
}
