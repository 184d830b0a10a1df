//! `elis-predictor train-probe`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use elis_predictor::learn::{Part, ProbeRecipe, States, fit_probe};
use elis_predictor::probe::{Probe, ProbeCard};

use super::corpus::digests;

const EXAMPLES: &str = "A probe reads the served model's own hidden states (TRAIL, arXiv \
2410.01035). A worker writes them down;
this fits a small network to them:

  elis-predictor train-probe --states states.safetensors --out models/probe

A run that was interrupted goes on after its last epoch if it is given the same options again.";

/// Options of `train-probe`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TrainProbe {
    /// Files of hidden states, all of one layer of one model.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    states: Vec<PathBuf>,
    /// The folder to make.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The most epochs.
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Tokens between two states where it will be used.
    #[arg(long, default_value_t = 8, value_name = "TOKENS")]
    every: u32,
    /// Licences of the prompts, for the card.
    #[arg(long, num_args = 1.., value_name = "NAME")]
    licence: Vec<String>,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl TrainProbe {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let states = States::read(&self.states)?;
        fs::create_dir_all(&self.out).with_context(|| self.out.display().to_string())?;
        let mut recipe = ProbeRecipe::trail(self.seed);
        recipe.fit.epochs = self.epochs.unwrap_or(recipe.fit.epochs);
        let (train, validation) = (states.rows(Part::Train), states.rows(Part::Validation));
        let rows = train.lengths_tokens.len() as u64;
        let checkpoint = self.out.join("probe.checkpoint");
        let path = Some(checkpoint.as_path());
        let fitted = fit_probe(states.dim, &train, &validation, &recipe, path, |epoch| {
            eprintln!(
                "epoch {}, loss {:.4}, validation MAE {:.1} tokens",
                epoch.epoch, epoch.loss, epoch.validation_mae_tokens
            );
        })?;
        let resumed = fitted.resumed_after.map_or_else(String::new, |epoch| {
            format!("; interrupted, and went on after epoch {epoch}")
        });
        let card = ProbeCard {
            every_tokens: self.every,
            data: digests(&self.states)?,
            licences: self.licence.clone(),
            split: "60 : 20 : 20 by the SHA-256 of the prompt; weights are fitted to the 60, the \
                    20 say when to stop, the last 20 are for nobody yet"
                .to_owned(),
            rows,
            method: format!(
                "{} units, {} bins over {} tokens, cross entropy; AdamW, early stop{resumed}",
                recipe.hidden, recipe.bins, recipe.last_tokens
            ),
            seed: self.seed,
            validation_mae_tokens: Some(fitted.best.validation_mae_tokens),
            ..ProbeCard::of(&states.model, states.layer, fitted.head.shape().clone())
        };
        Probe::save(&self.out, &card, &fitted.head)?;
        fs::remove_file(&checkpoint).with_context(|| checkpoint.display().to_string())?;
        eprintln!(
            "{}: validation MAE {:.1} tokens, before smoothing",
            self.out.display(),
            fitted.best.validation_mae_tokens
        );
        Ok(ExitCode::SUCCESS)
    }
}
