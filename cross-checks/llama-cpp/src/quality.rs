//! What models say of a text that is given to them, token by token.

use anyhow::Result;
use elis_llm::{likeliest, log_probabilities};

use crate::llama::{Context, Part};
use crate::ours::Ours;

/// Tokens that are read at once, from an empty memory.
pub const WINDOW: usize = 384;

/// A way to compute the same model.
pub enum Way<'a, 'l> {
    Ours(&'a mut Ours),
    Theirs(&'a Context<'l>),
}

/// For each token but the first of a window: the logarithm of its probability, and which one the
/// model would have said.
pub struct Opinion {
    pub logs: Vec<f32>,
    pub choices: Vec<u32>,
}

impl Opinion {
    /// Mean negative logarithm of the probabilities.
    pub fn nll(&self) -> f64 {
        -self.logs.iter().map(|&log| f64::from(log)).sum::<f64>() / self.logs.len() as f64
    }

    /// How often two would have said the same.
    pub fn agreement(&self, other: &Self) -> f64 {
        let pairs = self.choices.iter().zip(&other.choices);
        pairs.filter(|(a, b)| a == b).count() as f64 / self.choices.len() as f64
    }

    /// The mean of the distances between the logarithms.
    pub fn apart(&self, other: &Self) -> f64 {
        let pairs = self.logs.iter().zip(&other.logs);
        pairs.map(|(a, b)| f64::from((a - b).abs())).sum::<f64>() / self.logs.len() as f64
    }
}

/// Reads a text.
pub fn read(way: &mut Way<'_, '_>, text: &[u32]) -> Result<Opinion> {
    let mut opinion = Opinion {
        logs: Vec::new(),
        choices: Vec::new(),
    };
    for window in text.chunks(WINDOW) {
        let mut next = window[1..].iter();
        let each = |logits: &[f32]| {
            if let Some(&token) = next.next() {
                opinion.logs.push(log_probabilities(logits, token, 0).0);
                opinion.choices.push(likeliest(logits));
            }
        };
        let part = Part {
            tokens: window,
            context: 0,
            all_logits: true,
        };
        match way {
            Way::Ours(ours) => ours.forward(&[part], each),
            Way::Theirs(theirs) => theirs.forward(&[part], each)?,
        }
    }
    Ok(opinion)
}
