//! What an embedding costs: our kernels with floats and with bytes, and candle's own model.
//!
//! `cargo xtask models` must have run; then
//! `RAYON_NUM_THREADS=1 cargo bench -p elis-bench-harness --bench encoder`.
//! One thread each, rates in texts per second. Compare rows of one run only: the machine drifts
//! between runs. Candle is a little faster here than by itself, because the workspace turns on the
//! AVX-512 kernels of the crate that multiplies its matrices.

use std::path::Path;
use std::time::Duration;

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use elis_predictor::encoder::{Backend, Encoder, Options, Precision};

const LENGTHS: [usize; 4] = [32, 128, 256, 512];
const BATCHES: [usize; 3] = [1, 8, 32];
/// Larger batches take candle minutes; `cross-checks/onnx` has them.
const TOKENS_MAX: usize = 4_096;
/// Lengths of a mixed batch, in tokens, such as prompts of a chat service have.
const MIXED: [usize; 16] = [
    8, 200, 31, 64, 12, 256, 90, 17, 45, 120, 9, 76, 160, 24, 38, 101,
];

/// A text of so many tokens, between those that BERT puts around one.
fn text(tokens: usize, seed: usize) -> Vec<u32> {
    let inner = (0..tokens - 2).map(|i| 1_000 + ((i * 7_919 + seed * 104_729) % 28_000) as u32);
    [101].into_iter().chain(inner).chain([102]).collect()
}

/// The cases: a name and its texts.
fn cases() -> Vec<(String, Vec<Vec<u32>>)> {
    let even = LENGTHS.into_iter().flat_map(|length| {
        let batches = BATCHES
            .into_iter()
            .filter(move |batch| length * batch <= TOKENS_MAX);
        batches.map(move |batch| {
            let texts = (0..batch).map(|seed| text(length, seed)).collect();
            (format!("{length}x{batch}"), texts)
        })
    });
    let mixed = MIXED
        .iter()
        .zip(0..)
        .map(|(&length, seed)| text(length, seed));
    let mixed = ("mixedx16".to_owned(), mixed.collect());
    even.chain([mixed]).collect()
}

fn encoder(c: &mut Criterion) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let folder = root.map(|root| root.join("models/all-minilm-l6-v2"));
    let Some(folder) = folder.filter(|folder| folder.is_dir()) else {
        eprintln!("skipped: models/ is not there; `cargo xtask models` brings it");
        return;
    };
    let ways = [
        ("f32", Backend::Ragged, Precision::F32),
        ("q8", Backend::Ragged, Precision::Q8),
        ("candle", Backend::Candle, Precision::F32),
    ];
    let mut encoders = ways.map(|(name, backend, precision)| {
        let options = Options {
            backend,
            precision,
            ..Options::default()
        };
        let encoder = Encoder::load(&folder, &options).expect("the model loads");
        (name, encoder)
    });
    let mut group = c.benchmark_group("encoder");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(100));
    group.measurement_time(Duration::from_millis(500));
    for (case, texts) in cases() {
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        group.throughput(Throughput::Elements(texts.len() as u64));
        for (name, encoder) in &mut encoders {
            group.bench_function(BenchmarkId::new(*name, &case), |b| {
                b.iter(|| encoder.encode_tokens(&texts).expect("it encodes"));
            });
        }
    }
    group.finish();
}

/// Candle takes its number of threads from here, and asks once.
fn one_thread(c: &mut Criterion) {
    if std::env::var("RAYON_NUM_THREADS").as_deref() == Ok("1") {
        encoder(c);
    } else {
        eprintln!("set RAYON_NUM_THREADS=1: candle would take all cores, and the rest takes one");
    }
}

criterion_group!(benches, one_thread);
criterion_main!(benches);
