//! `elis-predictor eval`.

mod charts;
mod page;
mod tables;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use elis_predictor::learn::{
    self, Calibration, Ceiling, Corpus, Only, Part, Recipe, Row, Sample, Split, Vectors, Way,
    Words, boosted, calibrate, ceilings, constant, countdown, heads_way, judge, mean_by, of_part,
    prompt_only, samples,
};
use elis_predictor::trained::{Card, Trained};
use serde::Serialize;

use super::corpus::{Computing, Data, vectors};

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
    /// Also train the same heads on these files with so many seeds, and say how far they differ.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seeds: u64,
    /// Windows of 50 tokens that are judged.
    #[arg(long, default_value_t = 8, value_name = "N")]
    steps: u32,
    /// A folder for the tables (report.md), the page (report.html) and the figures (report.json).
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    computing: Computing,
}

/// Everything that was found out.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    split: &'static str,
    /// Each way on each model's responses, then on all.
    rows: Vec<Row>,
    /// Each way on the prompts of each source, all models together.
    by_source: Vec<Row>,
    /// How well a length can be known at arrival, by model; empty where prompts were answered once.
    ceilings: Vec<Ceiling>,
    /// How far the trained way can be believed, on all.
    calibration: Calibration,
    /// Where a simpler way is better than the trained one.
    losses: Vec<String>,
    /// The same heads trained with several seeds, one after the other; a seed's rows are like
    /// those of the trained way.
    seeds: Vec<Vec<Row>>,
    leaky: Vec<Row>,
}

impl Eval {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut trained = Trained::load(&self.predictor, self.encoder.as_deref())?;
        let corpus = self.data.read()?;
        let card = trained.card().clone();
        let name = self.encoder.as_deref().unwrap_or(&card.encoder);
        let vectors = if name.is_empty() {
            Vectors::default()
        } else {
            let cache = self.predictor.join("embeddings.bin");
            // Without windows to encode, what `train` kept serves whatever --steps it had.
            let reads_windows = card.later.spec.reads_windows();
            let windows = if reads_windows { self.steps } else { 0 };
            vectors(&corpus, name, &self.computing, windows, &cache)?
        };
        let report = self.report(&mut trained, &corpus, &vectors)?;
        let text = tables::markdown(&report);
        std::io::stdout().write_all(text.as_bytes())?;
        if let Some(out) = &self.out {
            let origin = self.origin(&trained, &corpus)?;
            write(out, &report, &text, &page::render(&report, origin)?)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn report(
        &self,
        trained: &mut Trained,
        corpus: &Corpus,
        vectors: &Vectors,
    ) -> anyhow::Result<Report> {
        let card = trained.card().clone();
        let cap = card.provenance.cap_tokens;
        let all = samples(corpus, Split::ByPrompt, self.steps, cap);
        let test = of_part(&all, Part::Test);
        let known: Vec<Option<usize>> = corpus
            .models
            .iter()
            .map(|model| card.models.iter().position(|other| other == model))
            .collect();
        let served = |response: usize| known[corpus.model_of[response]];
        let own = heads_way("trained", corpus, vectors, &test, trained.heads(), served);
        let mut ways = vec![countdown("its first, counted down", &test, &own), own];
        ways.reverse();
        ways.extend(simpler(corpus, vectors, &all, &test)?);
        let again = |split, seed, name: &str| {
            let recipe = recipe(&card, seed)?.on(self.computing.device);
            again(corpus, vectors, &recipe, split, self.steps, cap, name)
        };
        let seeds = (0..self.seeds).map(|seed| again(Split::ByPrompt, seed, "trained"));
        let seeds = seeds.collect::<anyhow::Result<Vec<_>>>()?;
        let leaky = if self.leaky {
            let seed = card.provenance.seed;
            again(Split::ByRow, seed, "trained, leaky split")?
        } else {
            vec![]
        };
        let rows = by_model(corpus, &test, &ways, cap);
        Ok(Report {
            schema: "elis-predictor-eval/1",
            split: "by prompt",
            losses: tables::losses(&rows),
            rows,
            by_source: by_source(corpus, &test, &ways, cap),
            ceilings: ceilings(corpus, &test, cap),
            calibration: calibrate(corpus, &test, &ways[0], Only::default(), cap),
            seeds,
            leaky,
        })
    }

    /// Where the figures come from, as names and values.
    fn origin(&self, trained: &Trained, corpus: &Corpus) -> anyhow::Result<Vec<(String, String)>> {
        let card = trained.card();
        let mut lines = vec![
            ("predictor", trained.digest().to_owned()),
            ("trained with", card.provenance.method.clone()),
            ("trained on", card.models.join(", ")),
            ("judged on", corpus.models.join(", ")),
            (
                "tool",
                format!("elis-predictor {}", env!("CARGO_PKG_VERSION")),
            ),
        ];
        if !card.encoder.is_empty() {
            lines.push(("encoder", card.encoder.clone()));
        }
        let lines = lines
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        let files = self.data.digests()?.into_iter();
        let files = files.map(|(name, digest)| (name, format!("SHA-256 {digest}")));
        Ok(lines.chain(files).collect())
    }
}

fn write(out: &Path, report: &Report, text: &str, page: &str) -> anyhow::Result<()> {
    fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let json = serde_json::to_string_pretty(report)? + "\n";
    let files = [
        ("report.md", text),
        ("report.json", &json),
        ("report.html", page),
    ];
    for (name, text) in files {
        let path = out.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The ways that a trained predictor has to beat, fitted to the training part.
fn simpler(
    corpus: &Corpus,
    vectors: &Vectors,
    all: &[Sample],
    test: &[Sample],
) -> anyhow::Result<Vec<Way>> {
    let train = of_part(all, Part::Train);
    let by_source = |corpus: &Corpus, response: usize| {
        corpus.source_of[response] * corpus.models.len() + corpus.model_of[response]
    };
    let by_model = |corpus: &Corpus, response: usize| corpus.model_of[response];
    let words = "words of the prompt, linear";
    let mut ways = vec![
        constant("one length, counted down", corpus, &train, test),
        mean_by("mean of the step", corpus, &train, test, by_model),
        mean_by("mean of source and step", corpus, &train, test, by_source),
        prompt_only(words, corpus, vectors, all, test, true)?,
        boosted(
            "words of the prompt, trees",
            corpus,
            all,
            test,
            Words::OfPrompt,
        )?,
        boosted("words so far, trees", corpus, all, test, Words::SoFar)?,
    ];
    if vectors.dim() > 0 {
        let name = "embedding of the prompt (SSJF's kind)";
        ways.push(prompt_only(name, corpus, vectors, all, test, false)?);
    }
    Ok(ways)
}

/// Every way on every model, then on all together.
fn by_model(corpus: &Corpus, test: &[Sample], ways: &[Way], cap: u32) -> Vec<Row> {
    let models = (0..corpus.models.len()).map(Some).chain([None]);
    let only = models.map(|model| Only {
        model,
        source: None,
    });
    only.flat_map(|only| {
        ways.iter()
            .map(move |way| judge(corpus, test, way, only, cap))
    })
    .collect()
}

/// Every way on every source that the test part has.
fn by_source(corpus: &Corpus, test: &[Sample], ways: &[Way], cap: u32) -> Vec<Row> {
    let only = (0..corpus.sources.len()).map(|source| Only {
        model: None,
        source: Some(source),
    });
    only.flat_map(|only| {
        ways.iter()
            .map(move |way| judge(corpus, test, way, only, cap))
    })
    .filter(|row| row.samples > 0)
    .collect()
}

fn recipe(card: &Card, seed: u64) -> anyhow::Result<Recipe> {
    Recipe::of(&card.arrival.spec, &card.later.spec, seed).context(
        "its heads are of no recipe that this version knows; --leaky and --seeds cannot train them \
         again",
    )
}

/// The same heads, trained again and judged on the test part of a division.
fn again(
    corpus: &Corpus,
    vectors: &Vectors,
    recipe: &Recipe,
    split: Split,
    steps: u32,
    cap: u32,
    name: &str,
) -> anyhow::Result<Vec<Row>> {
    let all = samples(corpus, split, steps, cap);
    let recipe = &recipe.clone().with_epochs_for(&all);
    let mut fitted = learn::train(corpus, vectors, &all, recipe, cap, None, |_, _, _| ())?;
    let test = of_part(&all, Part::Test);
    let served = |response: usize| Some(corpus.model_of[response]);
    let heads = [&mut fitted.arrival.head, &mut fitted.later.head];
    let way = heads_way(name, corpus, vectors, &test, heads, served);
    Ok(by_model(corpus, &test, &[way], cap))
}
