//! The simulator against other simulators and their published figures.

use elis_predictor::NoPrediction;
use elis_sim::outcome::RunOutcome;
use elis_sim::{Options, Profile, simulate};
use elis_workloads::{Overrides, Workload, WorkloadRef};

use crate::support::{ArrivalOrder, data};

fn load(kind: &str, path: &str, overrides: &Overrides) -> Workload {
    let name = format!("{kind}:{}", data(path).display());
    WorkloadRef::parse(&name).unwrap().load(overrides).unwrap()
}

fn run(options: &Options, workload: &Workload) -> RunOutcome {
    simulate(
        options,
        &workload.arrivals,
        &mut ArrivalOrder,
        &mut NoPrediction,
    )
    .unwrap()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

fn percentile(mut values: Vec<f64>, q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() as f64 * q).ceil() as usize).clamp(1, values.len()) - 1]
}

#[track_caller]
fn assert_within(what: &str, ours: f64, theirs: f64, share: f64) {
    let off = (ours - theirs).abs() / theirs;
    assert!(
        off <= share,
        "{what}: {ours:.5} against {theirs:.5}, off by {:.3} %",
        off * 100.0
    );
}

#[test]
fn arrival_order_reproduces_aisimulate() {
    let overrides = Overrides {
        rate_rps: Some(15.0),
        ..Overrides::default()
    };
    let workload = load("lengths", "traces/sharegpt_like_10000.csv", &overrides);
    let profile = Profile::resolve("sim:aisimulate-polynomial").unwrap();
    let options = Options {
        window_tokens: 1,
        repredict_tokens: 0,
        ..Options::new(profile)
    };
    let outcome = run(&options, &workload);
    let ms = |ns: u64| ns as f64 / 1e6;
    let requests = &outcome.requests;
    let ttft = mean(requests.iter().map(|r| ms(r.first_token_ns - r.arrival_ns)));
    let e2e = mean(requests.iter().map(|r| ms(r.finish_ns - r.arrival_ns)));
    let many = requests.iter().filter(|r| r.output_tokens > 1);
    let tpot =
        mean(many.map(|r| ms(r.finish_ns - r.first_token_ns) / f64::from(r.output_tokens - 1)));
    let e2es = requests
        .iter()
        .map(|r| ms(r.finish_ns - r.arrival_ns))
        .collect();
    // The figures of aisimulate-core 0.13.0, in all digits that it prints.
    assert_within("TTFT", ttft, 43.61896, 1e-6);
    assert_within("TPOT", tpot, 17.46804, 1e-6);
    assert_within("E2E", e2e, 5932.97645, 1e-6);
    assert_within("p99 E2E", percentile(e2es, 0.99), 19728.93245, 1e-6);
}

fn vidur(bundle: &str, options: &Options) {
    let workload = load(
        "vidur",
        &format!("vidur-replay/{bundle}/workload.csv"),
        &Overrides::default(),
    );
    let outcome = run(options, &workload);
    let text = std::fs::read_to_string(data(&format!("vidur-replay/{bundle}/request_metrics.csv")));
    let text = text.unwrap();
    let mut lines = text.lines();
    let header: Vec<_> = lines.next().unwrap().split(',').collect();
    let column = header
        .iter()
        .position(|name| *name == "request_e2e_time")
        .unwrap();
    let theirs: Vec<f64> = lines
        .map(|line| line.split(',').nth(column).unwrap().parse().unwrap())
        .collect();
    let ours: Vec<f64> = outcome
        .requests
        .iter()
        .map(|r| (r.finish_ns - r.arrival_ns) as f64 / 1e9)
        .collect();
    assert_eq!(ours.len(), theirs.len());
    let (a, b) = (mean(ours.iter().copied()), mean(theirs.iter().copied()));
    let (c, d) = (percentile(ours, 0.99), percentile(theirs, 0.99));
    assert_within("mean JCT", a, b, 0.02);
    assert_within("p99 JCT", c, d, 0.02);
}

fn vidur_options() -> Options {
    let mut profile = Profile::resolve("sim:vidur-llama2-7b-a100").unwrap();
    profile.max_num_seqs = 64;
    Options {
        window_tokens: 1,
        repredict_tokens: 0,
        ..Options::new(profile)
    }
}

#[test]
fn prefill_first_reproduces_vidurs_vllm() {
    let mut options = vidur_options();
    options.profile.batching = elis_sim::profile::BatchingKind::PrefillFirst;
    options.profile.max_batched_tokens = 4_096;
    vidur("A_azureconv3000_x1.5_cap64_vllm", &options);
}

#[test]
fn chunked_prefill_reproduces_vidurs_sarathi() {
    let mut options = vidur_options();
    options.profile.max_batched_tokens = 512;
    vidur("A_azureconv3000_x1.5_cap64_sarathi512", &options);
}
