//! Iterative samples: a prompt, the prompt with 50 tokens of its answer, with 100, and so on, each
//! with the tokens that were still to come (ELIS, section 3.2).

use super::Part;
use super::corpus::{Corpus, Split};
use super::embed::Vectors;
use crate::features::{PromptText, ResponseText};
use crate::head::{Evidence, Shape};

/// Tokens between two predictions of a response.
pub const STEP_TOKENS: u32 = 50;

/// Which predictions a head is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// The one at arrival, from the prompt alone.
    Arrival,
    /// All later ones.
    Later,
}

/// One prediction to learn from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// The response, by its number in the corpus.
    pub response: usize,
    /// Windows done.
    pub step: u32,
    /// Tokens still to come.
    pub remaining_tokens: f32,
    /// What it is for.
    pub part: Part,
}

impl Sample {
    /// Tokens generated so far.
    pub fn generated_tokens(&self) -> u32 {
        self.step * STEP_TOKENS
    }

    /// Which head predicts it.
    pub fn at(&self) -> Step {
        if self.step == 0 {
            Step::Arrival
        } else {
            Step::Later
        }
    }
}

/// All samples of a corpus up to a number of windows. Lengths beyond `cap_tokens` count as that
/// many: a runaway is a runaway.
pub fn samples(corpus: &Corpus, split: Split, steps_max: u32, cap_tokens: u32) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (number, response) in corpus.responses.iter().enumerate() {
        let total = response.output_tokens.min(cap_tokens);
        let steps = (total.saturating_sub(1) / STEP_TOKENS).min(steps_max);
        // Several responses of one model to one prompt are one arrival.
        let again = number.checked_sub(1).is_some_and(|before| {
            corpus.prompt_of[before] == corpus.prompt_of[number]
                && corpus.model_of[before] == corpus.model_of[number]
        });
        samples.extend((u32::from(again)..=steps).map(|step| Sample {
            response: number,
            step,
            remaining_tokens: (total - step * STEP_TOKENS) as f32,
            part: split.part(response, step),
        }));
    }
    samples
}

/// Rows of samples for a head; `with_model` says which of its models answered, by the number that
/// the head knows it by.
pub fn rows(
    corpus: &Corpus,
    vectors: &Vectors,
    samples: &[Sample],
    shape: &Shape,
    served: impl Fn(usize) -> Option<usize>,
) -> Vec<f32> {
    let mut rows = Vec::with_capacity(samples.len() * shape.width());
    let mut last: Option<(usize, PromptText)> = None;
    for sample in samples {
        let response = &corpus.responses[sample.response];
        let prompt = match last.take() {
            Some((number, prompt)) if number == sample.response => prompt,
            _ => PromptText::new(&response.prompt, response.prompt_tokens),
        };
        let generated = sample.generated_tokens();
        let text = (sample.step > 0)
            .then(|| ResponseText::new(response.after(generated), generated, &prompt));
        let windows = sample.step as usize;
        let sum = vectors.windows_sum(sample.response, windows);
        let evidence = Evidence {
            prompt: &prompt,
            response: text.as_ref(),
            prompt_embedding: vectors.prompt(corpus.prompt_of[sample.response]),
            windows_embedding: &sum,
            windows: vectors.windows(sample.response).min(windows),
            window_embedding: vectors.window(sample.response, windows),
            served_model: served(sample.response),
            hidden_state: &[],
        };
        shape.write_row(&evidence, &mut rows);
        last = Some((sample.response, prompt));
    }
    rows
}
