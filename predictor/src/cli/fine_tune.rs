//! `elis-predictor fine-tune`.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Args;
use elis_predictor::encoder::{self, Backend};
use elis_predictor::learn::{FineTune, FineTuned, Lengths, Part, Seen, fine_tune};
use elis_workloads::responses::{self, Answered};
use serde::{Deserialize, Serialize};

use super::corpus::{bar, digests, licences};

const EXAMPLES: &str = "Examples:
  elis-predictor fine-tune --encoder models/all-minilm-l6-v2 --data responses.jsonl \\
                           --out models/minilm-lengths
  elis-predictor fine-tune --data castillo_lengths.csv.gz --prompts castillo_prompts.jsonl.gz \\
                           --device cuda:0 --out models/minilm-lengths
  elis-predictor train --encoder models/minilm-lengths --data responses.jsonl \\
                       --out models/predictor

The folder that it makes is an encoder like the one it began with. Prompts are divided as `train`
and `eval` divide them, so what `eval` judges was not seen here either.";

/// What the folder says of how it came about.
const CARD: &str = "fine_tuned.json";

/// Options of `fine-tune`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Tune {
    /// The text encoder to begin with: a folder or a name on the hub.
    #[arg(
        long,
        default_value = "models/all-minilm-l6-v2",
        value_name = "PATH|NAME"
    )]
    encoder: String,
    /// Files of responses, or CASTILLO's table of lengths: texts of responses are not needed.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    data: Vec<PathBuf>,
    /// Files of prompts, for lengths that name their prompt only by its id.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    prompts: Vec<PathBuf>,
    /// Only responses of models whose name contains one of these.
    #[arg(long, num_args = 1.., value_name = "NAME")]
    served: Vec<String>,
    /// The folder to make.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The most epochs.
    #[arg(long, default_value_t = FineTune::default().epochs, value_name = "N")]
    epochs: usize,
    /// Prompts of a step.
    #[arg(long, default_value_t = FineTune::default().batch, value_name = "N")]
    batch: usize,
    /// Highest learning rate of the encoder.
    #[arg(long, default_value_t = FineTune::default().learning_rate, value_name = "RATE")]
    learning_rate: f64,
    /// Share of a prompt's tokens, and of the embedding, that a step does not see.
    #[arg(long, default_value_t = FineTune::default().drop_tokens, value_name = "SHARE",
          value_parser = share)]
    drop: f32,
    /// Longer responses count as this long.
    #[arg(long, default_value_t = FineTune::default().cap_tokens, value_name = "TOKENS")]
    cap: u32,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What computes: candle, or cuda:N in a build with CUDA. An epoch over 4,700 prompts takes
    /// some 20 s on a GPU and 50 minutes of a core.
    #[arg(long, default_value = "candle", value_name = "DEVICE")]
    device: Backend,
}

/// What `--drop` may be.
fn share(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(share) if (0.0..1.0).contains(&share) => Ok(share),
        _ => Err("write a number from 0 to below 1".to_owned()),
    }
}

/// How an encoder came about.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Card {
    schema: String,
    encoder: String,
    /// Files, with their SHA-256.
    pub(crate) data: Vec<(String, String)>,
    models: Vec<String>,
    /// Of the prompts.
    pub(crate) licences: Vec<String>,
    prompts: usize,
    split: String,
    method: String,
    seed: u64,
    validation_mae_tokens: f32,
}

impl Card {
    /// The card of the encoder in a folder, if it is one that was fine-tuned.
    pub(crate) fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = folder.join(CARD);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(|| path.display().to_string()),
        };
        let card = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
        Ok(Some(card))
    }

    /// It in words, for the card of a predictor.
    pub(crate) fn in_words(&self) -> String {
        let (models, prompts) = (self.models.len(), self.prompts);
        format!("the encoder was fitted to how long {models} models answered to {prompts} prompts")
    }
}

impl Tune {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let (lengths, licences) = self.read()?;
        let folder = encoder::resolve(&self.encoder)?;
        self.begin(&folder)?;
        eprintln!(
            "{} prompts to learn from, {} to stop by, answered by {} models",
            lengths.prompts(Part::Train),
            lengths.prompts(Part::Validation),
            lengths.models.len()
        );
        let bar = bar("fine-tuning");
        let weights = self.out.join("model.safetensors");
        let fitted = fine_tune(
            &folder,
            &lengths,
            &self.options(),
            &weights,
            |seen| match seen {
                Seen::Steps(done, all) => {
                    bar.set_length(all as u64);
                    bar.set_position(done as u64);
                }
                Seen::Epoch(epoch) => bar.suspend(|| {
                    eprintln!(
                        "epoch {}, loss {:.4}, validation MAE {:.1} tokens",
                        epoch.epoch, epoch.loss, epoch.validation_mae_tokens
                    );
                }),
            },
        )?;
        bar.finish_and_clear();
        let card = serde_json::to_string_pretty(&self.card(lengths, licences, &fitted)?)?;
        let path = self.out.join(CARD);
        fs::write(&path, card + "\n").with_context(|| path.display().to_string())?;
        eprintln!(
            "{}: validation MAE {:.1} tokens by its passing head; now\n  \
             elis-predictor train --encoder {} --data … --out …",
            self.out.display(),
            fitted.best.validation_mae_tokens,
            self.out.display()
        );
        Ok(ExitCode::SUCCESS)
    }

    /// Makes the folder with all that it needs but weights: what cannot be written should be known
    /// before hours of work, not after.
    fn begin(&self, from: &Path) -> anyhow::Result<()> {
        let out = || self.out.display().to_string();
        fs::create_dir_all(&self.out).with_context(out)?;
        let whole = |path: &Path| {
            path.canonicalize()
                .with_context(|| path.display().to_string())
        };
        ensure!(
            !whole(&self.out)?.starts_with(whole(from)?),
            "{} is the encoder to begin with, or in it; give another --out",
            out()
        );
        copy_settings(from, &self.out).with_context(out)
    }

    fn options(&self) -> FineTune {
        FineTune {
            epochs: self.epochs,
            batch: self.batch,
            learning_rate: self.learning_rate,
            drop_tokens: self.drop,
            drop_embedding: self.drop,
            cap_tokens: self.cap,
            seed: self.seed,
            backend: self.device,
            ..FineTune::default()
        }
    }

    /// The lengths, and the licences of their prompts.
    fn read(&self) -> anyhow::Result<(Lengths, Vec<String>)> {
        let mut all: Vec<Answered> = Vec::new();
        for path in &self.data {
            all.extend(responses::answered(path, &self.prompts)?);
        }
        let wanted = |name: &str| self.served.iter().any(|part| name.contains(part));
        all.retain(|answer| self.served.is_empty() || wanted(&answer.model));
        ensure!(
            !all.is_empty(),
            "no response is left after --served; drop it to see what there is"
        );
        let licences = licences(all.iter().map(|answer| answer.licence.clone()));
        Ok((Lengths::new(all), licences))
    }

    fn card(
        &self,
        lengths: Lengths,
        licences: Vec<String>,
        fitted: &FineTuned,
    ) -> anyhow::Result<Card> {
        Ok(Card {
            schema: "elis-fine-tuned/1".to_owned(),
            encoder: self.encoder.clone(),
            data: digests(&self.data)?,
            prompts: lengths.prompts(Part::Train),
            models: lengths.models,
            licences,
            split: "60 : 20 : 20 by the SHA-256 of the prompt; weights are fitted to the 60, the \
                    20 say when to stop, the last 20 are not looked at"
                .to_owned(),
            method: format!(
                "all layers but the tables of words and positions; cross entropy over bins of \
                 each model's lengths; AdamW at {:e}, batches of {}, the weights after epoch {} of \
                 {}",
                self.learning_rate,
                self.batch,
                fitted.best.epoch,
                fitted.epochs.len()
            ),
            seed: self.seed,
            validation_mae_tokens: fitted.best.validation_mae_tokens,
        })
    }
}

/// Everything that says how an encoder is to be used: its small JSON files, one folder deep.
fn copy_settings(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let Some(name) = path.file_name() else {
            continue;
        };
        if path.is_dir() {
            copy_settings(&path, &to.join(name))?;
        } else if path.extension().is_some_and(|kind| kind == "json") {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}
