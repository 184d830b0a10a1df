//! `elis-predictor predict`.

use std::io::{self, BufRead as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::Args;
use elis_predictor::trained::{Ask, Trained};
use serde::{Deserialize, Serialize};

const EXAMPLES: &str =
    "Each line of standard input is a JSON object with `prompt`, and optionally \
`generated` with
`generated_tokens`, `prompt_tokens`, `max_tokens` and `model`. Each line of the answer has
`remaining_tokens`, `sigma_tokens` and `p90_tokens`.

Example:
  echo '{\"prompt\": \"List three colours.\"}' |
    elis-predictor predict --predictor models/predictor";

/// Options of `predict`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Predict {
    /// The folder that `train` made.
    #[arg(long, value_name = "DIR")]
    predictor: PathBuf,
    /// Another encoder in place of the one that it names.
    #[arg(long, value_name = "PATH|NAME")]
    encoder: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Line {
    prompt: String,
    #[serde(default)]
    generated: String,
    generated_tokens: Option<u32>,
    prompt_tokens: Option<u32>,
    max_tokens: Option<u32>,
    model: Option<String>,
}

#[derive(Debug, Serialize)]
struct Answer {
    remaining_tokens: f32,
    sigma_tokens: f32,
    p90_tokens: f32,
}

/// Characters of a token, where nobody has counted.
const CHARS_PER_TOKEN: usize = 4;

/// A text's length in tokens, guessed where it is not given.
fn tokens(given: Option<u32>, text: &str) -> u32 {
    let guess = text.chars().count().div_ceil(CHARS_PER_TOKEN);
    given.unwrap_or_else(|| u32::try_from(guess).unwrap_or(u32::MAX))
}

impl Predict {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut trained = Trained::load(&self.predictor, self.encoder.as_deref())?;
        let mut out = io::stdout().lock();
        let mut wrong = false;
        let mut input = io::stdin().lock();
        let mut bytes = Vec::new();
        for number in 1u64.. {
            bytes.clear();
            if input
                .read_until(b'\n', &mut bytes)
                .context("standard input")?
                == 0
            {
                break;
            }
            let line = std::str::from_utf8(&bytes)
                .map_err(|e| anyhow!("column {}: not UTF-8", e.valid_up_to() + 1))
                .and_then(|text| {
                    serde_json::from_str::<Line>(text)
                        .map_err(|e| anyhow!("column {}: {e}", e.column()))
                });
            // One bad line says what is wrong with it, and the others are answered.
            match line {
                Ok(line) => answer(&mut trained, number, &line, &mut out)?,
                Err(error) => {
                    eprintln!("elis-predictor: line {number}, {error}");
                    wrong = true;
                }
            }
        }
        Ok(if wrong {
            ExitCode::from(3)
        } else {
            ExitCode::SUCCESS
        })
    }
}

fn answer(
    trained: &mut Trained,
    job: u64,
    line: &Line,
    out: &mut impl io::Write,
) -> anyhow::Result<()> {
    let generated_tokens = tokens(line.generated_tokens, &line.generated);
    let ask = Ask {
        job,
        prompt: &line.prompt,
        prompt_tokens: tokens(line.prompt_tokens, &line.prompt),
        generated: &line.generated,
        generated_tokens,
        max_new_tokens: line.max_tokens.unwrap_or(u32::MAX),
        served_model: line.model.as_deref().unwrap_or_default(),
    };
    for prediction in trained.ask(&[ask])? {
        let answer = Answer {
            remaining_tokens: prediction.remaining_tokens,
            sigma_tokens: prediction.sigma_tokens,
            p90_tokens: prediction.p90_tokens,
        };
        serde_json::to_writer(&mut *out, &answer)?;
        writeln!(out)?;
    }
    Ok(())
}
