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
    train: &Rows,
    validation: &Rows,
    recipe: &ProbeRecipe,
    checkpoint: Option<&Path>,
    each: impl FnMut(&Epoch),
) -> Result<Fit, FitError> {
    let states = |rows: &Rows| rows.lengths_tokens.len() * dim == rows.inputs.len();
    if dim == 0 || !states(train) || !states(validation) {
        return Err(FitError::TooLittle("not every length has a hidden state"));
    }
    let bins = Bins::equal(recipe.bins, recipe.last_tokens);
    let bins = bins.ok_or(FitError::TooLittle("a probe needs two bins or more"))?;
    let shape = Shape {
        spec: Spec {
            inputs: vec![Input::HiddenState],
            hidden: vec![recipe.hidden],
            bins: bins.len(),
            members: 1,
        },
        embedding: dim,
        models: 0,
        bins: Some(bins),
    };
    fit(&shape, train, validation, &recipe.fit, checkpoint, each)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::predict::{HiddenState, Request};
    use crate::probe::{Probe, ProbeCard};

    fn state(job: u64, generated_tokens: u32, values: &[f32]) -> HiddenState<'_> {
        HiddenState {
            job,
            generated_tokens,
            values,
        }
    }

    fn tokens(probe: &Probe, job: u64, generated_tokens: u32) -> f32 {
        let request = Request {
            job,
            prompt_tokens: 5,
            generated_tokens,
            max_new_tokens: 1000,
            true_total_tokens: None,
            text: None,
        };
        probe.say(&request).unwrap().remaining_tokens
    }

    /// Hidden states of 24 numbers: the remaining length turns an angle in two of them, and all of
    /// them are noisy.
    fn made_up(remaining_tokens: f32, rng: &mut ChaCha8Rng) -> Vec<f32> {
        let angle = remaining_tokens / 512.0 * std::f32::consts::PI;
        let mut state: Vec<f32> = (0..24).map(|_| rng.random_range(-0.3..0.3)).collect();
        state[3] += libm::cosf(angle);
        state[17] += libm::sinf(angle);
        state
    }

    #[test]
    fn what_the_states_know_is_learned_and_smoothing_helps() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut rows = |count: usize| {
            let lengths: Vec<f32> = (0..count).map(|_| rng.random_range(1.0..512.0)).collect();
            let states = lengths.iter().flat_map(|&length| made_up(length, &mut rng));
            Rows {
                inputs: states.collect(),
                lengths_tokens: lengths.iter().map(|&length| vec![length]).collect(),
            }
        };
        let (train, validation) = (rows(4000), rows(500));
        let recipe = ProbeRecipe {
            hidden: 64,
            ..ProbeRecipe::trail(3)
        };
        let fit = || fit_probe(24, &train, &validation, &recipe, None, |_| ()).unwrap();
        let fitted = fit();
        assert_eq!(
            fit().epochs,
            fitted.epochs,
            "the same seed gives the same probe"
        );
        // The best constant, 256, misses by 128 on average.
        let alone = fitted.best.validation_mae_tokens;
        assert!(alone < 45.0, "{alone}");

        let dir = tempfile::tempdir().unwrap();
        let card = ProbeCard::of("m", 11, fitted.head.shape().clone());
        Probe::save(dir.path(), &card, &fitted.head).unwrap();
        let mut probe = Probe::load(dir.path()).unwrap();
        let (mut smoothed, mut single, mut count) = (0.0, 0.0, 0.0f32);
        for job in 0..40u64 {
            let total = 100 + 10 * job as u32;
            for generated in (0..total).step_by(8) {
                let left = (total - generated) as f32;
                let values = made_up(left, &mut rng);
                // Under a number that nobody else has, the same state stands alone.
                let alone = 1000 + job * 1000 + u64::from(generated);
                let states = [
                    state(job, generated, &values),
                    state(alone, generated, &values),
                ];
                probe.observe(&states).unwrap();
                let error = |job| (tokens(&probe, job, generated) - left).abs();
                smoothed += error(job);
                single += error(alone);
                count += 1.0;
            }
        }
        let [smoothed, single] = [smoothed, single].map(|sum| sum / count);
        assert!(smoothed < 0.8 * single, "{smoothed} {single}");
    }

    #[test]
    fn lengths_without_states_are_refused() {
        let rows = Rows {
            inputs: vec![0.0; 5],
            lengths_tokens: vec![vec![1.0]; 3],
        };
        let recipe = ProbeRecipe::trail(0);
        let said = fit_probe(2, &rows, &rows, &recipe, None, |_| ()).unwrap_err();
        assert!(said.to_string().contains("has a hidden state"), "{said}");
    }
}
