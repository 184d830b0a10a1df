//! `elis-predictor eval`.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use elis_predictor::learn::{
    self, Corpus, Part, Recipe, Row, Sample, Split, Vectors, Way, countdown, heads_way, judge,
    mean_by, of_part, prompt_only, samples, step_name,
};
use elis_predictor::trained::Trained;
use serde::Serialize;

use super::corpus::{Data, vectors};

const EXAMPLES: &str = "Examples:
  elis-predictor eval --predictor models/predictor --data responses.jsonl
  elis-predictor eval --predictor models/predictor --data responses.jsonl --leaky --out report

Only prompts of the test part are judged, and the simpler ways are fitted to the training part,
both by the division that `train` uses. Give `eval` the files that the predictor was trained on, or
others.";

/// Options of `eval`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Eval {
    /// The folder that `train` made.
    #[arg(long, value_name = "DIR")]
    predictor: PathBuf,
    #[command(flatten)]
    data: Data,
    /// Another encoder in place of the one that it names.
    #[arg(long, value_name = "PATH|NAME")]
    encoder: Option<String>,
    /// Also train and judge the same heads with rows divided at random, as the paper did.
    #[arg(long)]
    leaky: bool,
    /// Windows of 50 tokens that are judged.
    #[arg(long, default_value_t = 8, value_name = "N")]
    steps: u32,
    /// A folder for the page (report.md) and the figures (report.json).
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Threads of the encoder.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    split: &'static str,
    rows: Vec<Row>,
    leaky: Vec<Row>,
}

impl Eval {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut trained = Trained::load(&self.predictor, self.encoder.as_deref())?;
        let corpus = self.data.read()?;
        let card = trained.card().clone();
        let cap = card.provenance.cap_tokens;
        let name = self.encoder.as_deref().unwrap_or(&card.encoder);
        let vectors = if name.is_empty() {
            Vectors::default()
        } else {
            let cache = self.predictor.join("embeddings.bin");
            vectors(&corpus, name, self.threads, self.steps, &cache)?
        };
        let all = samples(&corpus, Split::ByPrompt, self.steps, cap);
        let test = of_part(&all, Part::Test);
        let known: Vec<Option<usize>> = corpus
            .models
            .iter()
            .map(|model| card.models.iter().position(|other| other == model))
            .collect();
        let served = |response: usize| known[corpus.model_of[response]];
        let heads = trained.heads();
        let own = heads_way("trained", &corpus, &vectors, &test, heads, served);
        let mut ways = vec![countdown("its first, counted down", &test, &own), own];
        ways.reverse();
        ways.extend(simpler(&corpus, &vectors, &all, &test)?);
        let rows = judged(&corpus, &test, &ways, cap);
        let leaky = if self.leaky {
            let recipe = Recipe::of(&card.arrival.spec, &card.later.spec, card.provenance.seed);
            let recipe = recipe.context(
                "its heads are of no recipe that this version knows; --leaky cannot train them again",
            )?;
            leaky(&corpus, &vectors, &recipe, self.steps, cap)?
        } else {
            vec![]
        };
        let text = page(&rows, &leaky);
        std::io::stdout().write_all(text.as_bytes())?;
        if let Some(out) = &self.out {
            let report = Report {
                schema: "elis-predictor-eval/1",
                split: "by prompt",
                rows,
                leaky,
            };
            fs::create_dir_all(out).with_context(|| out.display().to_string())?;
            fs::write(out.join("report.md"), &text)?;
            fs::write(
                out.join("report.json"),
                serde_json::to_string_pretty(&report)? + "\n",
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The ways that a trained predictor has to beat, fitted to the training part.
fn simpler(
    corpus: &Corpus,
    vectors: &Vectors,
    all: &[Sample],
    test: &[Sample],
) -> anyhow::Result<Vec<Way>> {
    let train = of_part(all, Part::Train);
    let mut ways = vec![
        mean_by("mean of the step", corpus, &train, test, |corpus, r| {
            corpus.model_of[r]
        }),
        mean_by(
            "mean of source and step",
            corpus,
            &train,
            test,
            |corpus, r| corpus.source_of[r] * corpus.models.len() + corpus.model_of[r],
        ),
        prompt_only(
            "words of the prompt, linear",
            corpus,
            vectors,
            all,
            test,
            true,
        )?,
    ];
    if vectors.dim() > 0 {
        let name = "embedding of the prompt (SSJF's kind)";
        ways.push(prompt_only(name, corpus, vectors, all, test, false)?);
    }
    Ok(ways)
}

/// Every way on every model, then on all together.
fn judged(corpus: &Corpus, test: &[Sample], ways: &[Way], cap: u32) -> Vec<Row> {
    let models = (0..corpus.models.len()).map(Some).chain([None]);
    models
        .flat_map(|model| {
            ways.iter()
                .map(move |way| judge(corpus, test, way, model, cap))
        })
        .collect()
}

/// The same heads, trained and judged on rows that were divided at random.
fn leaky(
    corpus: &Corpus,
    vectors: &Vectors,
    recipe: &Recipe,
    steps: u32,
    cap: u32,
) -> anyhow::Result<Vec<Row>> {
    let all = samples(corpus, Split::ByRow, steps, cap);
    let mut fitted = learn::train(corpus, vectors, &all, recipe, cap, |_, _| ())?;
    let test = of_part(&all, Part::Test);
    let served = |response: usize| Some(corpus.model_of[response]);
    let heads = [&mut fitted.arrival.head, &mut fitted.later.head];
    let way = heads_way(
        "trained, leaky split",
        corpus,
        vectors,
        &test,
        heads,
        served,
    );
    Ok(judged(corpus, &test, &[way], cap))
}

/// The tables in Markdown.
fn page(rows: &[Row], leaky: &[Row]) -> String {
    let steps = rows
        .iter()
        .map(|row| row.mae_by_step_tokens.len())
        .max()
        .unwrap_or(0);
    let mut text = String::from(
        "Errors in tokens still to come, on prompts of the test part (split by prompt); columns \
         are tokens generated so far, 0 the arrival. Lower is better, except R2, tau and p90 \
         (goal 0.9).\n",
    );
    let mut model = "";
    for row in rows.iter().chain(leaky) {
        if row.model != model || row.way.contains("leaky") {
            model = &row.model;
            let columns: Vec<String> = (0..steps).map(step_name).collect();
            let rule = "--:|".repeat(steps + 6);
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "\n{model}\n\n| way | {} | MAE | RMSE | R2 | tau (one) | tau (mean) | p90 |\n\
                 |---|{rule}",
                columns.join(" | ")
            );
        }
        let mae = |step: usize| {
            let value = row.mae_by_step_tokens.get(step).copied().flatten();
            value.map_or_else(|| "-".to_owned(), |mae| format!("{mae:.1}"))
        };
        let cells: Vec<String> = (0..steps).map(mae).collect();
        let p90 = row
            .p90_coverage
            .map_or_else(|| "-".to_owned(), |p90| format!("{p90:.3}"));
        let _ = writeln!(
            text,
            "| {} | {} | {:.1} | {:.1} | {:.3} | {:.3} | {:.3} | {p90} |",
            row.way,
            cells.join(" | "),
            row.mae_tokens,
            row.rmse_tokens,
            row.r2,
            row.tau_one,
            row.tau_mean
        );
    }
    text
}
