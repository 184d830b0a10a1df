//! Training a probe of hidden states: the network of TRAIL (arXiv 2410.01035).

use std::path::Path;

use super::fit::{Epoch, Fit, FitError, FitOptions, Rows, fit};
use crate::head::{Bins, Input, Shape, Spec};

/// What a probe is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeRecipe {
    /// Width of the hidden layer.
    pub hidden: usize,
    /// Bins, all of one width.
    pub bins: usize,
    /// Where the last bin ends; longer lengths count for it.
    pub last_tokens: f32,
    /// How it is fitted.
    pub fit: FitOptions,
}

impl ProbeRecipe {
    /// TRAIL's: 512 units, ten bins over 512 tokens, cross entropy with each length in its own bin
    /// alone. Learning rate, batch and early stop are ours.
    pub fn trail(seed: u64) -> Self {
        Self {
            hidden: 512,
            bins: 10,
            last_tokens: 512.0,
            fit: FitOptions {
                epochs: 20,
                batch: 256,
                learning_rate: 1e-3,
                weight_decay: 0.01,
                drop_inputs: 0.0,
                drop_hidden: 0.0,
                spread_bins: 0.0,
                seed,
                ..FitOptions::default()
            },
        }
    }
}

/// Fits a probe to hidden states of width `dim`, with the lengths that were still to come. Divide
/// them by prompt before: states of one response are much alike. Checkpoints are those of [`fit`].
///
/// # Errors
///
/// [`FitError`].
pub fn fit_probe(
    dim: usize,
    train: Rows,
    validation: &Rows,
    recipe: &ProbeRecipe,
    checkpoint: Option<&Path>,
    each: impl FnMut(&Epoch),
) -> Result<Fit, FitError> {
    let states = |rows: &Rows| rows.lengths_tokens.len() * dim == rows.inputs.len();
    if dim == 0 || !states(&train) || !states(validation) {
        return Err(FitError::TooLittle("not every length has a hidden state"));
    }
    let bins = Bins::equal(recipe.bins, recipe.last_tokens);
    let bins = bins.ok_or(FitError::TooLittle("a probe needs two bins or more"))?;
    let shape = Shape {
        spec: Spec {
            inputs: vec![Input::HiddenState],
            hidden: vec![recipe.hidden],
            bins: bins.len(),
        },
        embedding: dim,
        models: 0,
        bins: Some(bins),
    };
    fit(&shape, train, validation, &recipe.fit, checkpoint, each)
}
