//! What it costs to predict again: the newest window alone, against prompt and response anew; and
//! one scheduling window of 64 running jobs and 8 arrivals.
//!
//! `cargo xtask models` must have run; then `cargo bench -p elis-predictor --bench repredict`.
//! Times are of the processor and not of the clock, on one thread, so that what else runs on the
//! machine counts little. Heads are those of `--head ours`, of the same with `--later-head lexical`
//! and of `--head lexical`, with weights that nobody trained, since what they cost does not depend
//! on what they say.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cpu_time::ThreadTime;
use criterion::{BenchmarkId, Criterion, SamplingMode, criterion_group, criterion_main};
use elis_predictor::encoder::{Encoder, Options, Precision};
use elis_predictor::head::{Bins, Head, Layer, Shape, Spec};
use elis_predictor::learn::Recipe;
use elis_predictor::trained::{Ask, Card, Figures, Provenance, Trained};

const PROMPT_TOKENS: usize = 64;
const WINDOW_TOKENS: usize = 50;
const RUNNING: u64 = 64;
const ARRIVING: u64 = 8;
/// One token each in the vocabulary of BERT.
const WORDS: [&str; 16] = [
    "the", "list", "of", "water", "time", "house", "number", "write", "each", "code", "answer",
    "model", "long", "first", "people", "year",
];

/// So many words, others for every seed.
fn words(count: usize, seed: usize) -> String {
    let word = |i: usize| WORDS[(i * 7 + (seed >> (i % 24)) * 3 + seed) % WORDS.len()];
    (0..count).map(word).collect::<Vec<_>>().join(" ") + " "
}

fn head(shape: &Shape) -> Head {
    let layer = |(outputs, inputs): (usize, usize)| Layer {
        outputs,
        inputs,
        weights: (0..outputs * inputs)
            .map(|i| ((i * 31 % 17) as f32 - 8.0) * 0.005)
            .collect(),
        bias: vec![0.0; outputs],
    };
    let sizes = shape.layers().repeat(shape.spec.members);
    let layers = sizes.into_iter().map(layer).collect();
    let width = shape.width();
    Head::new(shape.clone(), vec![0.0; width], vec![1.0; width], layers).expect("a head")
}

/// A predictor as `train` makes them by that recipe.
fn predictor(encoder: &Path, recipe: &Recipe) -> Trained {
    let lengths: Vec<f32> = (1..=2_000u16).map(f32::from).collect();
    let shape = |spec: &Spec| Shape {
        spec: spec.clone(),
        embedding: 384,
        models: 3,
        bins: Bins::of(&lengths, spec.bins),
    };
    let card = Card {
        schema: "elis-predictor/1".to_owned(),
        encoder: encoder.display().to_string(),
        encoder_sha256: String::new(),
        models: ["a", "b", "c"].map(str::to_owned).to_vec(),
        arrival: shape(&recipe.arrival),
        later: shape(&recipe.later),
        provenance: Provenance::default(),
        figures: Figures::default(),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let heads = [head(&card.arrival), head(&card.later)];
    Trained::save(folder.path(), &card, &heads[0], &heads[1]).expect("it is written");
    Trained::load(folder.path(), None).expect("it loads")
}

fn ask<'a>(job: u64, prompt: &'a str, generated: &'a str, windows: usize) -> Ask<'a> {
    Ask {
        job,
        prompt,
        prompt_tokens: PROMPT_TOKENS as u32,
        generated,
        generated_tokens: (windows * WINDOW_TOKENS) as u32,
        max_new_tokens: 2_048,
        served_model: "",
    }
}

/// Texts that nobody has seen before: without that the cache would answer.
struct Fresh {
    seed: usize,
}

impl Fresh {
    fn text(&mut self, tokens: usize) -> String {
        self.seed += 1;
        words(tokens, self.seed)
    }
}

/// A running job again, `windows` windows into its response.
fn again(c: &mut Criterion, folder: &Path) {
    let mut trained = predictor(folder, &Recipe::ours(0));
    let options = |max_tokens| Options {
        precision: Precision::Q8,
        max_tokens,
        ..Options::default()
    };
    let load = |max_tokens| Encoder::load(folder, &options(max_tokens)).expect("it loads");
    let mut whole = [("anew-256", load(None)), ("anew-512", load(Some(512)))];
    let mut fresh = Fresh { seed: 0 };
    let mut group = c.benchmark_group("again");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_secs(2));
    for windows in [2usize, 4, 8] {
        group.bench_function(BenchmarkId::new("window", windows), |b| {
            b.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let prompt = fresh.text(PROMPT_TOKENS);
                    let mut generated = fresh.text((windows - 1) * WINDOW_TOKENS);
                    let before = [ask(1, &prompt, &generated, windows - 1)];
                    trained.ask(&before).expect("an answer");
                    generated += &fresh.text(WINDOW_TOKENS);
                    let now = [ask(1, &prompt, &generated, windows)];
                    let start = ThreadTime::now();
                    trained.ask(&now).expect("an answer");
                    spent += start.elapsed();
                }
                spent
            });
        });
        // What the paper does; its head is left out, which flatters it.
        for (name, encoder) in &mut whole {
            group.bench_function(BenchmarkId::new(*name, windows), |b| {
                b.iter_custom(|rounds| {
                    let mut spent = Duration::ZERO;
                    for _ in 0..rounds {
                        let text = fresh.text(PROMPT_TOKENS + windows * WINDOW_TOKENS);
                        let start = ThreadTime::now();
                        encoder.encode(&[&text]).expect("an embedding");
                        spent += start.elapsed();
                    }
                    spent
                });
            });
        }
    }
    group.finish();
}

/// All that one scheduling window asks: the goal is 100 ms, a tenth of a core for a second.
fn window(c: &mut Criterion, folder: &Path) {
    let mut fresh = Fresh { seed: 1 << 20 };
    let mut group = c.benchmark_group("window");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_secs(4));
    let recipes = [
        ("ours", Recipe::ours(0)),
        ("mixed", Recipe::mixed(0)),
        ("lexical", Recipe::lexical(0)),
    ];
    for (name, recipe) in recipes {
        let mut trained = predictor(folder, &recipe);
        group.bench_function(BenchmarkId::new("64-running-8-arriving", name), |b| {
            b.iter_custom(|rounds| (0..rounds).map(|_| one(&mut trained, &mut fresh)).sum());
        });
    }
    group.finish();
}

/// One scheduling window: what was asked in the windows before is known.
fn one(trained: &mut Trained, fresh: &mut Fresh) -> Duration {
    let mut jobs: Vec<(String, String)> = Vec::new();
    for _ in 0..RUNNING {
        let prompt = fresh.text(PROMPT_TOKENS);
        jobs.push((prompt, fresh.text(3 * WINDOW_TOKENS)));
    }
    let before = (0..).zip(&jobs).map(|(job, (p, g))| ask(job, p, g, 3));
    trained.ask(&before.collect::<Vec<_>>()).expect("answers");
    for (_, generated) in &mut jobs {
        *generated += &fresh.text(WINDOW_TOKENS);
    }
    let arriving: Vec<String> = (0..ARRIVING).map(|_| fresh.text(PROMPT_TOKENS)).collect();
    let running = (0..).zip(&jobs).map(|(job, (p, g))| ask(job, p, g, 4));
    let arriving = (RUNNING..).zip(&arriving);
    let arriving = arriving.map(|(job, prompt)| ask(job, prompt, "", 0));
    let asks: Vec<Ask<'_>> = running.chain(arriving).collect();
    let start = ThreadTime::now();
    trained.ask(&asks).expect("answers");
    let spent = start.elapsed();
    (0..RUNNING + ARRIVING).for_each(|job| trained.forget(job));
    spent
}

fn all(c: &mut Criterion) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let folder: Option<PathBuf> = root.map(|root| root.join("models/all-minilm-l6-v2"));
    let Some(folder) = folder.filter(|folder| folder.is_dir()) else {
        eprintln!("skipped: models/ is not there; `cargo xtask models` brings it");
        return;
    };
    again(c, &folder);
    window(c, &folder);
}

criterion_group!(benches, all);
criterion_main!(benches);
