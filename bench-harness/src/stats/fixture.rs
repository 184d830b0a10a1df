//! Made-up outcomes for tests: a queue with one server, heavy-tailed lengths, three orders.

use elis_sim::outcome::{Ending, RequestOutcome, RunOutcome, Spread, TimelinePoint};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A completed request that nobody disturbed, finished 1 ms a token after its arrival.
pub(crate) fn request(id: u64, arrival_ns: u64, output_tokens: u32) -> RequestOutcome {
    let isolated_ns = u64::from(output_tokens) * 1_000_000;
    RequestOutcome {
        id,
        arrival_ns,
        first_run_ns: arrival_ns,
        first_token_ns: arrival_ns + 1_000_000,
        finish_ns: arrival_ns + isolated_ns,
        prompt_tokens: 10,
        output_tokens,
        tenant: (id % 3) as u32,
        priority: 0,
        worker: 0,
        preemptions: 0,
        overtaken_by: 0,
        predicted_tokens: f32::NAN,
        isolated_ns,
        ending: Ending::Completed,
    }
}

/// A run of finished requests with the given completion times in milliseconds.
pub(crate) fn run(policy: &str, seed: u64, jct_ms: &[u64]) -> RunOutcome {
    let requests = jct_ms.iter().enumerate().map(|(i, ms)| {
        let mut r = request(i as u64, i as u64 * 1_000_000, 5);
        r.finish_ns = r.arrival_ns + ms * 1_000_000;
        r
    });
    let mut run = RunOutcome {
        policy: policy.into(),
        seed,
        ..RunOutcome::default()
    };
    run.requests = requests.collect();
    run.summary.arrived = jct_ms.len() as u64;
    run.summary.completed = run.summary.arrived;
    run.summary.makespan_ns = 1_000_000_000;
    run
}

/// How the made-up server picks the next request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    /// By arrival.
    Fcfs,
    /// By a length that is wrong by a factor, given here as its log's half range.
    Shortest(f64),
    /// By the true length, the longest first.
    Longest,
}

/// Runs `count` requests through one server at `load` of its capacity.
pub(crate) fn queue(name: &str, order: Order, seed: u64, count: u64, load: f64) -> RunOutcome {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut noise = ChaCha8Rng::seed_from_u64(seed ^ 0xe115);
    let mut now_ns = 0.0;
    let mut waiting: Vec<RequestOutcome> = Vec::new();
    for id in 0..count {
        now_ns += -(1.0 - rng.random::<f64>()).ln() * 190e6 / load;
        // A Pareto tail of index 1.4, cut at 2,000 tokens.
        let tokens = (60.0 * (1.0 - rng.random::<f64>()).powf(-1.0 / 1.4)).min(2_000.0);
        let mut r = request(id, now_ns as u64, tokens as u32);
        r.tenant = rng.random_range(0..6);
        if let Order::Shortest(spread) = order {
            let factor = (noise.random_range(-1.0..=1.0) * spread).exp();
            r.predicted_tokens = (f64::from(r.output_tokens) * factor) as f32;
        }
        waiting.push(r);
    }
    let mut run = run(name, seed, &[]);
    serve(&mut run, waiting, order);
    count_up(&mut run);
    run
}

fn serve(run: &mut RunOutcome, mut waiting: Vec<RequestOutcome>, order: Order) {
    let mut free_at = 0;
    while !waiting.is_empty() {
        let horizon = free_at.max(waiting.iter().map(|r| r.arrival_ns).min().unwrap());
        let arrived = |r: &&(usize, &RequestOutcome)| r.1.arrival_ns <= horizon;
        let key = |r: &RequestOutcome| match order {
            Order::Fcfs => r.arrival_ns as f64,
            Order::Shortest(_) => f64::from(r.predicted_tokens),
            Order::Longest => -f64::from(r.output_tokens),
        };
        let listed: Vec<_> = waiting.iter().enumerate().collect();
        let ready: Vec<_> = listed.iter().filter(arrived).collect();
        let next = ready
            .iter()
            .min_by(|a, b| key(a.1).total_cmp(&key(b.1)))
            .unwrap()
            .0;
        let queued = ready.len() as u32 - 1;
        run.timeline.push(TimelinePoint {
            at_ns: horizon,
            waiting: queued,
            running: 1,
            gpu_blocks: queued * 3,
        });
        let mut r = waiting.remove(next);
        r.first_run_ns = horizon;
        r.first_token_ns = horizon + 20_000_000;
        r.finish_ns = horizon + r.isolated_ns + 20_000_000;
        r.isolated_ns += 20_000_000;
        free_at = r.finish_ns;
        run.requests.push(r);
    }
    for i in 0..run.requests.len() {
        let me = run.requests[i].arrival_ns;
        let before = run.requests[..i]
            .iter()
            .filter(|r| r.arrival_ns > me)
            .count();
        run.requests[i].overtaken_by = before as u32;
    }
    run.requests.sort_by_key(|r| r.id);
    run.summary.makespan_ns = free_at;
}

fn count_up(run: &mut RunOutcome) {
    let n = run.requests.len() as u64;
    run.digest = "native".into();
    let summary = &mut run.summary;
    summary.arrived = n;
    summary.completed = n;
    summary.output_tokens = run
        .requests
        .iter()
        .map(|r| u64::from(r.output_tokens))
        .sum();
    summary.busy_ns = run.requests.iter().map(|r| r.isolated_ns).sum();
    summary.iterations = n;
    summary.events = 3 * n;
    summary.decisions.insert("applied".into(), n);
    summary.preemptions.insert("pause".into(), n / 50);
    summary.decision_us = Spread {
        count: n,
        mean: 3.5,
        p50: 3.0,
        p99: 9.0,
        max: 40.0,
    };
    summary.cpu_s = 0.25;
}
