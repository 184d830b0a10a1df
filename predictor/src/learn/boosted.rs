//! Gradient-boosted trees over the words: Clairvoyant's predictor (arXiv 2606.07248: 19 lexical
//! features, XGBoost) with our features, and the same trees with the words of the response as well.
//!
//! They are what the heads have to beat, and ship nowhere.

use forust_ml::errors::ForustError;
use forust_ml::objective::ObjectiveType;
use forust_ml::{GradientBooster, Matrix};

use super::Part;
use super::corpus::Corpus;
use super::embed::Vectors;
use super::judge::of_part;
use super::recipe::lengths;
use super::sampling::{Sample, rows};
use super::ways::{Way, at_arrival, countdown};
use crate::head::{Input, Shape, Spec};

/// The most trees; validation prompts say when there are enough.
const TREES_MAX: usize = 400;
/// Trees without a better validation error after which it stops.
const PATIENCE: usize = 20;
/// What a tree may change of what was said.
const LEARNING_RATE: f32 = 0.1;
/// Questions from the top of a tree to a leaf.
const DEPTH: usize = 6;
/// Values of a feature that are told apart.
const FEATURE_BINS: u16 = 64;

/// Which words trees look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// Those of the prompt; what was said at arrival is counted down.
    OfPrompt,
    /// Those of the prompt and of the response so far, at every step.
    SoFar,
}

/// Why no trees could be grown.
#[derive(Debug, thiserror::Error)]
#[error("no trees came of it: {0}; give more responses")]
pub struct BoostError(#[from] ForustError);

/// Trees fitted to the training part of `all`, asked about `judged`.
///
/// # Errors
///
/// [`BoostError`].
pub fn boosted(
    name: &str,
    corpus: &Corpus,
    all: &[Sample],
    judged: &[Sample],
    words: Words,
) -> Result<Way, BoostError> {
    let mut inputs = vec![Input::PromptLexical, Input::ServedModel];
    if words == Words::SoFar {
        inputs.push(Input::ResponseLexical);
    }
    let part = |part: Part| {
        let mut samples = of_part(all, part);
        samples.retain(|sample| words == Words::SoFar || sample.step == 0);
        samples
    };
    let trees = Trees::grow(corpus, &part(Part::Train), &part(Part::Validation), inputs)?;
    if words == Words::SoFar {
        return Ok(Way::of_lengths(name, trees.ask(corpus, judged)));
    }
    let first = Way::of_lengths(name, trees.ask(corpus, &at_arrival(judged)));
    Ok(countdown(name, judged, &first))
}

struct Trees {
    shape: Shape,
    booster: GradientBooster,
}

impl Trees {
    /// Fits to the logarithm of the length: then twice too long is as wrong as twice too short,
    /// and squared error does not live for the few longest.
    fn grow(
        corpus: &Corpus,
        train: &[Sample],
        validation: &[Sample],
        inputs: Vec<Input>,
    ) -> Result<Self, ForustError> {
        let shape = Shape {
            spec: Spec {
                inputs,
                hidden: vec![],
                bins: 0,
                members: 1,
            },
            embedding: 0,
            models: corpus.models.len(),
            bins: None,
        };
        let width = shape.width();
        let of = |samples: &[Sample]| {
            let logs: Vec<f64> = samples.iter().map(|sample| log(corpus, sample)).collect();
            let weights = vec![1.0; samples.len()];
            (columns(corpus, samples, &shape), logs, weights)
        };
        let (columns, logs, weights) = of(train);
        let (seen_columns, seen_logs, seen_weights) = of(validation);
        let seen = Matrix::new(&seen_columns, validation.len(), width);
        let mut booster = GradientBooster::default()
            .set_objective_type(ObjectiveType::SquaredLoss)
            .set_iterations(TREES_MAX)
            .set_learning_rate(LEARNING_RATE)
            .set_max_depth(DEPTH)
            .set_nbins(FEATURE_BINS)
            .set_early_stopping_rounds(Some(PATIENCE))
            .set_parallel(false);
        let data = Matrix::new(&columns, train.len(), width);
        let seen = vec![(seen, &*seen_logs, &*seen_weights)];
        booster.fit(&data, &logs, &weights, Some(seen))?;
        Ok(Self { shape, booster })
    }

    fn ask(&self, corpus: &Corpus, samples: &[Sample]) -> Vec<f32> {
        let columns = columns(corpus, samples, &self.shape);
        let data = Matrix::new(&columns, samples.len(), self.shape.width());
        let logs = self.booster.predict(&data, false);
        logs.iter()
            .map(|log| (log.exp_m1() as f32).max(1.0))
            .collect()
    }
}

/// The mean logarithm of the lengths that a sample may turn out to have.
fn log(corpus: &Corpus, sample: &Sample) -> f64 {
    let lengths = lengths(corpus, sample, u32::MAX);
    let logs = lengths.iter().map(|&length| f64::from(length).ln_1p());
    logs.sum::<f64>() / lengths.len() as f64
}

/// The rows of samples, a column after the other.
fn columns(corpus: &Corpus, samples: &[Sample], shape: &Shape) -> Vec<f64> {
    let served = |response: usize| Some(corpus.model_of[response]);
    let rows = rows(corpus, &Vectors::default(), samples, shape, served);
    let width = shape.width();
    let column = |column: usize| {
        let values = rows.iter().skip(column).step_by(width);
        values.map(|&value| f64::from(value))
    };
    (0..width).flat_map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::super::corpus::{Split, lists};
    use super::super::judge::{Only, judge};
    use super::super::sampling::samples;
    use super::super::ways::constant;
    use super::*;

    #[test]
    fn trees_learn_what_the_words_say_and_are_the_same_each_time() {
        let corpus = lists(600, 1);
        let all = samples(&corpus, Split::ByPrompt, 4, 2048);
        let (train, test) = (of_part(&all, Part::Train), of_part(&all, Part::Test));
        let mae = |way: &Way| judge(&corpus, &test, way, Only::default(), 2048).mae_tokens;
        let constant = mae(&constant("constant", &corpus, &train, &test));
        for words in [Words::OfPrompt, Words::SoFar] {
            let grow = || boosted("trees", &corpus, &all, &test, words).unwrap();
            let way = grow();
            assert!(mae(&way) < 0.4 * constant, "{} {constant}", mae(&way));
            assert_eq!(way.remaining_tokens, grow().remaining_tokens);
        }
    }
}
