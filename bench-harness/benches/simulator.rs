//! How fast the simulator is: output tokens a second, and that it stays flat as streams grow.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use elis_bench_harness::experiment::Contestant;
use elis_policy_runtime::{Options as RuntimeOptions, Runtime};
use elis_predictor::NoPrediction;
use elis_sim::{Options, Profile, simulate};
use elis_workloads::Arrival;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, LogNormal};

/// Poisson arrivals with the lengths of ShareGPT as the vLLM paper gives them: lognormal, prompts
/// of 161 tokens on average, outputs of 338.
fn stream(requests: u64, rate_rps: f64) -> Vec<Arrival> {
    let mut rng = ChaCha8Rng::seed_from_u64(20_260_000);
    let prompt = LogNormal::new(4.46, 1.1).expect("a valid sigma");
    let output = LogNormal::new(5.47, 0.9).expect("a valid sigma");
    let mut at_s = 0.0;
    let clipped = |law: &LogNormal<f64>, rng: &mut ChaCha8Rng, low| {
        (law.sample(rng) as u32).clamp(low, 1_024)
    };
    (0..requests)
        .map(|id| {
            at_s -= f64::ln(1.0 - rng.random::<f64>()) / rate_rps;
            let prompt_tokens = clipped(&prompt, &mut rng, 4);
            let output_tokens = clipped(&output, &mut rng, 1);
            Arrival::new(id, (at_s * 1e9) as u64, prompt_tokens, output_tokens)
        })
        .collect()
}

/// FCFS in Wasm, decided per step, on the worker of the yardstick: 16,384 blocks of 16,
/// 256 sequences, 8,192 tokens.
fn simulator(criterion: &mut Criterion) {
    let runtime = Runtime::new(RuntimeOptions::default()).expect("wasmtime runs here");
    let fcfs = Contestant::load(&runtime, "fcfs").expect("cargo xtask policies has been run");
    let profile = Profile::resolve("sim:aisimulate-polynomial").expect("it is built in");
    let options = Options {
        window_tokens: 1,
        repredict_tokens: 0,
        records: false,
        ..Options::new(profile)
    };
    let mut group = criterion.benchmark_group("simulate-output-tokens");
    group.sample_size(10);
    for (requests, rate_rps) in [
        (10_000, 5.0),
        (10_000, 15.0),
        (10_000, 40.0),
        (100_000, 15.0),
        (100_000, 40.0),
        (1_000_000, 15.0),
    ] {
        let arrivals = stream(requests, rate_rps);
        let tokens = arrivals
            .iter()
            .map(|arrival| u64::from(arrival.output_tokens))
            .sum();
        group.throughput(Throughput::Elements(tokens));
        let name = BenchmarkId::new(format!("{requests}-requests"), format!("{rate_rps}-rps"));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut slot = fcfs.policy.start("").expect("fcfs takes no configuration");
                let outcome = simulate(&options, &arrivals, &mut slot, &mut NoPrediction);
                black_box(outcome)
                    .expect("the stream is in order")
                    .summary
                    .completed
            });
        });
    }
    group.finish();
}

criterion_group!(benches, simulator);
criterion_main!(benches);
