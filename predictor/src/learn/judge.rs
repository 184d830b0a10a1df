//! How well lengths are predicted: step by step, on prompts that nothing was fitted to.

use std::cmp::Ordering;

use serde::Serialize;

use super::Part;
use super::corpus::Corpus;
use super::recipe::lengths;
use super::sampling::{STEP_TOKENS, Sample};
use super::ways::Way;

/// Which responses are judged; `None` is all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Only {
    /// Those of one model, by its number in the corpus.
    pub model: Option<usize>,
    /// Those to prompts of one source, by its number in the corpus.
    pub source: Option<usize>,
}

impl Only {
    fn has(self, corpus: &Corpus, response: usize) -> bool {
        self.model
            .is_none_or(|model| corpus.model_of[response] == model)
            && self
                .source
                .is_none_or(|source| corpus.source_of[response] == source)
    }

    fn named(names: &[String], number: Option<usize>) -> String {
        number.map_or_else(|| "all".to_owned(), |number| names[number].clone())
    }
}

/// The figures of one way on some of the responses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The way.
    pub way: String,
    /// The model that answered, or `all`.
    pub model: String,
    /// Where the prompts are from, or `all`.
    pub source: String,
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

/// A length that a sample turned out to have, beside what was said of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    /// The sample's place.
    pub(super) sample: usize,
    /// Windows done.
    pub(super) step: usize,
    /// What was said.
    pub(super) said: f32,
    /// What it was.
    pub(super) truth: f32,
}

/// All of a way's answers beside the truth; where it said nothing, nothing is judged.
pub(super) fn outcomes(
    corpus: &Corpus,
    samples: &[Sample],
    way: &Way,
    only: Only,
    cap_tokens: u32,
) -> Vec<Outcome> {
    let mut all = Vec::with_capacity(samples.len());
    for (i, sample) in samples.iter().enumerate() {
        let said = way.remaining_tokens[i];
        if said.is_nan() || !only.has(corpus, sample.response) {
            continue;
        }
        let outcome = |truth| Outcome {
            sample: i,
            step: sample.step as usize,
            said,
            truth,
        };
        all.extend(lengths(corpus, sample, cap_tokens).into_iter().map(outcome));
    }
    all
}

/// Judges a way on some of the responses.
pub fn judge(corpus: &Corpus, samples: &[Sample], way: &Way, only: Only, cap_tokens: u32) -> Row {
    let outcomes = outcomes(corpus, samples, way, only, cap_tokens);
    let mut by_step: Vec<(f64, f64)> = Vec::new();
    let (mut sum, mut squares, mut truths) = (0.0, 0.0, 0.0);
    let (mut covered, mut asked) = (0u32, 0u32);
    for outcome in &outcomes {
        let error = f64::from(outcome.said - outcome.truth);
        by_step.resize(by_step.len().max(outcome.step + 1), (0.0, 0.0));
        by_step[outcome.step].0 += error.abs();
        by_step[outcome.step].1 += 1.0;
        sum += error.abs();
        squares += error * error;
        truths += f64::from(outcome.truth);
        let p90 = way
            .quantiles_tokens
            .get(outcome.sample)
            .map(|q| q[q.len() - 1]);
        if let Some(p90) = p90.filter(|p90| !p90.is_nan()) {
            asked += 1;
            covered += u32::from(outcome.truth <= p90);
        }
    }
    let count = outcomes.len().max(1) as f64;
    let centre = truths / count;
    let about = |outcome: &Outcome| (f64::from(outcome.truth) - centre).powi(2);
    let spread: f64 = outcomes.iter().map(about).sum();
    let step_mae = |&(sum, count): &(f64, f64)| (count > 0.0).then_some((sum / count) as f32);
    let [tau_one, tau_mean] = taus(&outcomes);
    Row {
        way: way.name.clone(),
        model: Only::named(&corpus.models, only.model),
        source: Only::named(&corpus.sources, only.source),
        samples: outcomes.len(),
        mae_by_step_tokens: by_step.iter().map(step_mae).collect(),
        mae_tokens: (sum / count) as f32,
        rmse_tokens: (squares / count).sqrt() as f32,
        r2: (1.0 - squares / spread) as f32,
        tau_one,
        tau_mean,
        p90_coverage: (asked > 0).then(|| covered as f32 / asked as f32),
    }
}

/// Kendall's tau-b at arrival, against the first response to each prompt and against their mean.
fn taus(outcomes: &[Outcome]) -> [f32; 2] {
    let (mut said, mut one, mut mean) = (Vec::new(), Vec::new(), Vec::new());
    let same = |a: &Outcome, b: &Outcome| a.sample == b.sample;
    for of in outcomes.chunk_by(same).filter(|of| of[0].step == 0) {
        said.push(of[0].said);
        one.push(of[0].truth);
        mean.push(of.iter().map(|outcome| outcome.truth).sum::<f32>() / of.len() as f32);
    }
    [tau(&said, &one), tau(&said, &mean)]
}

/// Kendall's tau-b; NaN where there is nothing to compare.
pub(super) fn tau(a: &[f32], b: &[f32]) -> f32 {
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
    use super::super::ways::{LEVELS, constant, countdown, mean_by};
    use super::*;
    use elis_workloads::responses::Response;

    fn corpus() -> Corpus {
        let response = |i: u32| Response {
            id: i.to_string(),
            source: if i.is_multiple_of(2) { "s" } else { "t" }.to_owned(),
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
        let truths = samples.iter().map(|sample| sample.remaining_tokens);
        Way {
            name: "truth".to_owned(),
            remaining_tokens: truths.clone().collect(),
            quantiles_tokens: truths.map(|truth| [truth; LEVELS.len()]).collect(),
        }
    }

    #[test]
    fn the_truth_has_no_error() {
        let corpus = corpus();
        let samples = samples(&corpus, Split::ByPrompt, 8, 2048);
        let row = judge(&corpus, &samples, &truth(&samples), Only::default(), 2048);
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
    fn one_length_for_all_is_counted_down() {
        let corpus = corpus();
        let samples = samples(&corpus, Split::ByPrompt, 8, 2048);
        let way = constant("c", &corpus, &samples, &samples);
        assert_eq!(way.remaining_tokens[0], 79.5);
        let later = samples.iter().position(|sample| sample.step == 1).unwrap();
        assert_eq!(way.remaining_tokens[later], 29.5);
    }

    #[test]
    fn only_what_was_asked_for_is_judged() {
        let corpus = corpus();
        let samples = samples(&corpus, Split::ByPrompt, 0, 2048);
        let of = |source| Only {
            model: Some(0),
            source: Some(source),
        };
        let judged = |source| judge(&corpus, &samples, &truth(&samples), of(source), 2048);
        assert_eq!((judged(0).samples, judged(1).samples), (20, 20));
        assert_eq!((&*judged(1).model, &*judged(1).source), ("m", "t"));
    }

    #[test]
    fn the_mean_explains_nothing() {
        let corpus = corpus();
        let samples = samples(&corpus, Split::ByPrompt, 0, 2048);
        let way = mean_by("mean", &corpus, &samples, &samples, |_, _| 0);
        let row = judge(&corpus, &samples, &way, Only::default(), 2048);
        assert!(row.r2.abs() < 1e-4, "{row:?}");
        assert!((row.mae_tokens - 10.0).abs() < 0.5, "{row:?}");
    }
}
