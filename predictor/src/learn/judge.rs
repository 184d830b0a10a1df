//! How well lengths are predicted: beside simpler ways, step by step, on prompts that nothing was
//! fitted to.

use std::cmp::Ordering;

use serde::Serialize;

use super::corpus::{Corpus, Part};
use super::embed::Vectors;
use super::fit::{FitError, FitOptions};
use super::recipe::{self, Recipe, lengths};
use super::sampling::{STEP_TOKENS, Sample, rows};
use crate::head::{Head, Input, Spec, Summary};

/// What one way of predicting said of every sample, in tokens still to come.
#[derive(Debug, Clone)]
pub struct Way {
    /// What the table calls it.
    pub name: String,
    /// One for each sample.
    pub remaining_tokens: Vec<f32>,
    /// What nine in ten stay below, where the way says so.
    pub p90_tokens: Vec<f32>,
}

/// The figures of one way on one model's responses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The way.
    pub way: String,
    /// The model that answered, or `all`.
    pub model: String,
    /// Samples judged.
    pub samples: usize,
    /// Mean absolute error at each step, from 0, the arrival; NaN becomes null.
    pub mae_by_step_tokens: Vec<Option<f32>>,
    /// Over all steps.
    pub mae_tokens: f32,
    /// Over all steps.
    pub rmse_tokens: f32,
    /// `1 - sum of squares of errors / sum of squares about the mean`, over all steps.
    pub r2: f32,
    /// Kendall's tau-b at arrival against one response for each prompt, what a scheduler meets.
    pub tau_one: f32,
    /// The same against the mean of all responses to it.
    pub tau_mean: f32,
    /// Share of lengths below the p90 that was given; `None` where none was.
    pub p90_coverage: Option<f32>,
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
    let mut said: Vec<Option<Summary>> = vec![None; samples.len()];
    for (later, head) in heads.into_iter().enumerate() {
        let of: Vec<usize> = (0..samples.len())
            .filter(|&i| usize::from(samples[i].step > 0) == later)
            .collect();
        let chosen: Vec<Sample> = of.iter().map(|&i| samples[i]).collect();
        let mut made = rows(corpus, vectors, &chosen, head.shape(), &served);
        for (&i, summary) in of.iter().zip(head.predict(&mut made)) {
            said[i] = Some(summary);
        }
    }
    let of = |get: fn(&Summary) -> f32| -> Vec<f32> {
        let get = |summary: &Option<Summary>| summary.as_ref().map_or(f32::NAN, get);
        said.iter().map(get).collect()
    };
    Way {
        name: name.to_owned(),
        remaining_tokens: of(|summary| summary.median_tokens.max(1.0)),
        p90_tokens: of(|summary| summary.p90_tokens),
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
    Way {
        name: name.to_owned(),
        remaining_tokens: remaining.collect(),
        p90_tokens: Vec::new(),
    }
}

/// The mean of the training samples at each step that agree in a key.
pub fn mean_by(
    name: &str,
    corpus: &Corpus,
    train: &[Sample],
    samples: &[Sample],
    key: impl Fn(&Corpus, usize) -> usize,
) -> Way {
    let mut sums = std::collections::HashMap::<(usize, u32), (f64, f64)>::new();
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
    Way {
        name: name.to_owned(),
        remaining_tokens: said.collect(),
        p90_tokens: Vec::new(),
    }
}

/// The prompt alone, whatever is generated since: a linear model of its words (Clairvoyant's idea,
/// arXiv 2606.07248), or a regression on its embedding (SSJF's, arXiv 2404.08509, with the encoder
/// as it is).
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
        }
    } else {
        Spec {
            inputs: vec![Input::PromptEmbedding, Input::ServedModel],
            hidden: vec![256, 128],
            bins: 0,
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
    let mut fitted = recipe::train(corpus, vectors, all, &recipe, u32::MAX, |_, _| ())?;
    let served = |response: usize| Some(corpus.model_of[response]);
    let arrival: Vec<Sample> = judged
        .iter()
        .map(|sample| Sample { step: 0, ..*sample })
        .collect();
    let heads = [&mut fitted.arrival.head, &mut fitted.later.head];
    let first = heads_way(name, corpus, vectors, &arrival, heads, served);
    Ok(countdown(name, judged, &first))
}

/// Judges a way on the samples of one model, or of all.
pub fn judge(
    corpus: &Corpus,
    samples: &[Sample],
    way: &Way,
    model: Option<usize>,
    cap_tokens: u32,
) -> Row {
    let mut by_step: Vec<(f64, f64)> = Vec::new();
    let (mut errors, mut truths) = (Vec::new(), Vec::new());
    let (mut said_first, mut one, mut mean) = (Vec::new(), Vec::new(), Vec::new());
    let (mut covered, mut asked) = (0u32, 0u32);
    for (i, sample) in samples.iter().enumerate() {
        let said = way.remaining_tokens[i];
        if said.is_nan() || model.is_some_and(|model| corpus.model_of[sample.response] != model) {
            continue;
        }
        let step = sample.step as usize;
        by_step.resize(by_step.len().max(step + 1), (0.0, 0.0));
        let lengths = lengths(corpus, sample, cap_tokens);
        for &length in &lengths {
            let error = f64::from(said - length);
            by_step[step].0 += error.abs();
            by_step[step].1 += 1.0;
            errors.push(error);
            truths.push(f64::from(length));
            if let Some(&p90) = way.p90_tokens.get(i).filter(|p90| !p90.is_nan()) {
                asked += 1;
                covered += u32::from(length <= p90);
            }
        }
        if step == 0 {
            said_first.push(said);
            one.push(lengths[0]);
            mean.push(lengths.iter().sum::<f32>() / lengths.len() as f32);
        }
    }
    let count = errors.len().max(1) as f64;
    let squares: f64 = errors.iter().map(|error| error * error).sum();
    let centre = truths.iter().sum::<f64>() / count;
    let spread: f64 = truths.iter().map(|truth| (truth - centre).powi(2)).sum();
    let step_mae = |&(sum, count): &(f64, f64)| (count > 0.0).then_some((sum / count) as f32);
    Row {
        way: way.name.clone(),
        model: model.map_or_else(|| "all".to_owned(), |model| corpus.models[model].clone()),
        samples: errors.len(),
        mae_by_step_tokens: by_step.iter().map(step_mae).collect(),
        mae_tokens: (errors.iter().map(|error| error.abs()).sum::<f64>() / count) as f32,
        rmse_tokens: (squares / count).sqrt() as f32,
        r2: (1.0 - squares / spread) as f32,
        tau_one: tau(&said_first, &one),
        tau_mean: tau(&said_first, &mean),
        p90_coverage: (asked > 0).then(|| covered as f32 / asked as f32),
    }
}

/// Kendall's tau-b; NaN where there is nothing to compare.
fn tau(a: &[f32], b: &[f32]) -> f32 {
    let order = |a: &f32, b: &f32| a.partial_cmp(b).unwrap_or(Ordering::Equal);
    kendalls::tau_b_with_comparator(a, b, order).map_or(f32::NAN, |(tau, _)| tau as f32)
}

/// The samples of one part.
pub fn of_part(samples: &[Sample], part: Part) -> Vec<Sample> {
    let mine = |sample: &&Sample| sample.part == part;
    samples.iter().filter(mine).copied().collect()
}

/// The step in words: tokens generated.
pub fn step_name(step: usize) -> String {
    (step * STEP_TOKENS as usize).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::corpus::Split;
    use super::super::sampling::samples;
    use super::*;
    use elis_workloads::responses::Response;

    fn corpus() -> Corpus {
        let response = |i: u32| Response {
            id: i.to_string(),
            source: "s".to_owned(),
            licence: String::new(),
            model: "m".to_owned(),
            prompt: format!("prompt {i}").into(),
            text: "word ".repeat(60 + i as usize).into(),
            prompt_tokens: 3,
            output_tokens: 60 + i,
            samples_tokens: vec![60 + i],
        };
        Corpus::new((0..40).map(response).collect())
    }

    fn truth(samples: &[Sample]) -> Way {
        Way {
            name: "truth".to_owned(),
            remaining_tokens: samples
                .iter()
                .map(|sample| sample.remaining_tokens)
                .collect(),
            p90_tokens: samples
                .iter()
                .map(|sample| sample.remaining_tokens)
                .collect(),
        }
    }

    #[test]
    fn the_truth_has_no_error() {
        let corpus = corpus();
        let samples = samples(&corpus, Split::ByPrompt, 8, 2048);
        let row = judge(&corpus, &samples, &truth(&samples), None, 2048);
        assert_eq!((row.mae_tokens, row.rmse_tokens, row.r2), (0.0, 0.0, 1.0));
        assert_eq!((row.tau_one, row.tau_mean), (1.0, 1.0));
        assert_eq!(row.p90_coverage, Some(1.0));
        assert_eq!(row.mae_by_step_tokens, [Some(0.0), Some(0.0)]);
    }

    #[test]
    fn what_was_said_at_arrival_counts_down() {
        let corpus = corpus();
        let samples = samples(&corpus, Split::ByPrompt, 8, 2048);
        let way = countdown("c", &samples, &truth(&samples));
        assert_eq!(way.remaining_tokens, truth(&samples).remaining_tokens);
    }

    #[test]
    fn the_mean_explains_nothing() {
        let corpus = corpus();
        let samples = samples(&corpus, Split::ByPrompt, 0, 2048);
        let way = mean_by("mean", &corpus, &samples, &samples, |_, _| 0);
        let row = judge(&corpus, &samples, &way, None, 2048);
        assert!(row.r2.abs() < 1e-4, "{row:?}");
        assert!((row.mae_tokens - 10.0).abs() < 0.5, "{row:?}");
    }
}
