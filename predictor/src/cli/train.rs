//! `elis-predictor train`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use elis_predictor::encoder;
use elis_predictor::learn::{self, Corpus, Heads, Recipe, Split, Vectors, samples};
use elis_predictor::trained::{Card, Figures, Provenance, Trained};

use super::corpus::{Computing, Data, bar, licences, vectors};
use super::fine_tune;

/// Longest examples that help shows.
const EXAMPLES: &str = "Examples:
  elis-predictor train --encoder models/all-minilm-l6-v2 --data responses.jsonl \\
                       --out models/predictor
  elis-predictor train --head lexical --data responses.jsonl --out models/words-only
  elis-predictor train --head ours --later-head ours --data responses.jsonl --out models/embedded

The folder gets the heads, their description (predictor.json) and a model card. What was encoded
is kept there too, so that a second run does not encode again. A run that was interrupted goes on
after its last epoch if it is given the same options again.";

/// Options of `train`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Train {
    /// The text encoder: a folder or a name on the hub.
    #[arg(
        long,
        default_value = "models/all-minilm-l6-v2",
        value_name = "PATH|NAME"
    )]
    encoder: String,
    #[command(flatten)]
    data: Data,
    /// The folder to make.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What heads look at and how large they are: ours (words and embeddings), lexical (words
    /// alone, no encoder), paper.
    #[arg(long, default_value = "ours", value_name = "NAME")]
    head: String,
    /// Another such head for the time after arrival [default: lexical for ours, so that the encoder
    /// runs once a prompt and never for what is generated; otherwise that of --head].
    #[arg(long, value_name = "NAME")]
    later_head: Option<String>,
    /// Networks of each head, whose answers are averaged; ours and lexical have 4, paper 1.
    #[arg(long, value_name = "N", value_parser = members)]
    members: Option<usize>,
    /// The most epochs of each network; the recipe's by default, more where there is little data.
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Windows of 50 tokens that are learned from; later ones are like the last.
    #[arg(long, default_value_t = 12, value_name = "N")]
    steps: u32,
    /// Longer responses count as this long.
    #[arg(long, default_value_t = 2048, value_name = "TOKENS")]
    cap: u32,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    computing: Computing,
}

/// What `--members` may be.
fn members(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(members @ 1..=64) => Ok(members),
        _ => Err("write a number from 1 to 64".to_owned()),
    }
}

impl Train {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let recipe = self.recipe()?;
        let corpus = self.data.read()?;
        fs::create_dir_all(&self.out).with_context(|| self.out.display().to_string())?;
        let vectors = if recipe.needs_encoder() {
            let cache = self.out.join("embeddings.bin");
            let windows = recipe.windows_encoded(self.steps);
            vectors(&corpus, &self.encoder, &self.computing, windows, &cache)?
        } else {
            Vectors::default()
        };
        let samples = samples(&corpus, Split::ByPrompt, self.steps, self.cap);
        let recipe = match self.epochs {
            Some(_) => recipe,
            None => recipe.with_epochs_for(&samples),
        };
        let bar = bar("training");
        bar.set_length(recipe.epochs() as u64);
        let heads = learn::train(
            &corpus,
            &vectors,
            &samples,
            &recipe,
            self.cap,
            Some(&self.out),
            |step, member, epoch| {
                bar.suspend(|| {
                    eprintln!(
                        "{step:?}, member {}: epoch {}, loss {:.4}, validation MAE {:.1} tokens",
                        member + 1,
                        epoch.epoch,
                        epoch.loss,
                        epoch.validation_mae_tokens
                    );
                });
                bar.inc(1);
            },
        )?;
        bar.finish_and_clear();
        let card = self.card(&corpus, &recipe, &heads)?;
        Trained::save(&self.out, &card, &heads.arrival.head, &heads.later.head)?;
        learn::clear_checkpoints(&self.out, &recipe)
            .with_context(|| self.out.display().to_string())?;
        eprintln!(
            "{}: validation MAE {:.1} tokens at arrival, {:.1} later; judge it with\n  \
             elis-predictor eval --predictor {} --data …",
            self.out.display(),
            card.figures.arrival_mae_tokens,
            card.figures.later_mae_tokens,
            self.out.display()
        );
        Ok(ExitCode::SUCCESS)
    }

    fn recipe(&self) -> anyhow::Result<Recipe> {
        let named = |name: &str| {
            let recipe = Recipe::named(name, self.seed);
            recipe.with_context(|| {
                format!("no head is called '{name}'; write ours, lexical or paper")
            })
        };
        let mut recipe = named(&self.head)?.with_later_of(named(self.later_head())?);
        if let Some(members) = self.members {
            recipe.arrival.members = members;
            recipe.later.members = members;
        }
        if let Some(epochs) = self.epochs {
            recipe.arrival_fit.epochs = epochs;
            recipe.later_fit.epochs = epochs;
        }
        Ok(recipe.on(self.computing.device))
    }

    /// Embeddings of what is generated did not help, and are most of what a prediction costs.
    fn later_head(&self) -> &str {
        match (&self.later_head, self.head.as_str()) {
            (Some(named), _) => named,
            (None, "ours") => "lexical",
            (None, other) => other,
        }
    }

    fn card(&self, corpus: &Corpus, recipe: &Recipe, heads: &Heads) -> anyhow::Result<Card> {
        let (mut encoder, mut encoder_sha256, mut fitted) = Default::default();
        if recipe.needs_encoder() {
            let folder = encoder::resolve(&self.encoder)?;
            encoder_sha256 = encoder::weights_sha256(&folder)?;
            fitted = fine_tune::Card::read(&folder)?;
            encoder = self.encoder.clone();
        }
        Ok(Card {
            schema: "elis-predictor/1".to_owned(),
            encoder,
            encoder_sha256,
            models: corpus.models.clone(),
            arrival: heads.arrival.head.shape().clone(),
            later: heads.later.head.shape().clone(),
            provenance: self.provenance(corpus, recipe, heads, fitted)?,
            figures: Figures {
                arrival_mae_tokens: heads.arrival.validation_mae_tokens,
                later_mae_tokens: heads.later.validation_mae_tokens,
            },
        })
    }

    /// What the heads learned from, and what their encoder was `fitted` to, if it was.
    fn provenance(
        &self,
        corpus: &Corpus,
        recipe: &Recipe,
        heads: &Heads,
        fitted: Option<fine_tune::Card>,
    ) -> anyhow::Result<Provenance> {
        let mut sources: BTreeMap<String, u64> = BTreeMap::new();
        for response in &corpus.responses {
            *sources.entry(response.source.clone()).or_default() += 1;
        }
        let all = corpus.responses.iter().map(|r| r.licence.clone());
        let mut provenance = Provenance {
            data: self.data.digests()?,
            sources: sources.into_iter().collect(),
            licences: licences(all),
            split: "60 : 20 : 20 by the SHA-256 of the prompt; weights are fitted to the 60, the \
                    20 say when to stop, the last 20 are for `eval`"
                .to_owned(),
            rows: [heads.arrival.rows, heads.later.rows],
            method: format!(
                "head `{}` at arrival, the mean of {} networks, and `{}` later, the mean of {}: \
                 cross entropy over bins of remaining tokens, or Huber's loss on their logarithm \
                 where there are none; AdamW, early stop",
                self.head,
                recipe.arrival.members,
                self.later_head(),
                recipe.later.members
            ),
            seed: self.seed,
            cap_tokens: self.cap,
            resumed_after: [heads.arrival.resumed_after, heads.later.resumed_after],
        };
        if let Some(fitted) = fitted {
            provenance.method += &format!("; {}", fitted.in_words());
            let all = provenance.licences.into_iter().chain(fitted.licences);
            provenance.licences = licences(all);
            provenance.data.extend(fitted.data);
        }
        Ok(provenance)
    }
}
