//! What one decision costs, natively and in the sandbox, and what the sandbox costs besides.
//!
//! `cargo xtask policies` must have run; then `cargo bench -p elis-bench-harness --bench decision`.
//! Compare rows of one run only: the machine drifts between runs.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use elis_policy_isrtf::Isrtf;
use elis_policy_runtime::{Metering, Options, PolicyInstance, Runtime, resolve};
use elis_policy_sdk::Policy as _;
use elis_scheduler::columns::{Column, ColumnRef, JobRow, JobTable, TenantTable};
use elis_scheduler::snapshot::{Header, Snapshot};

/// Lengths of the queue, in jobs.
const SIZES: [usize; 4] = [64, 256, 1_000, 10_000];
/// Slots: how many the policy picks.
const SLOTS: u32 = 64;
/// Live metering, under which the targets hold; with time enough that a busy machine does not end
/// the instance in the middle of a measurement.
const LIVE: Metering = Metering::Epoch { budget_ms: 60_000 };
const FUEL: Metering = Metering::Fuel {
    per_decision: 50_000_000,
};

/// A queue in arrival order whose predictions are spread like responses of a chat service.
fn queue(jobs: usize, seed: u64) -> JobTable {
    let mut table = JobTable::default();
    let mut state = seed;
    for i in 0..jobs as u64 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let running = i < u64::from(SLOTS);
        let generated = if running {
            (state >> 50) as u32 % 300
        } else {
            0
        };
        table.push(JobRow {
            id: i + 1,
            state: if running { 2 } else { 0 },
            arrival_us: i * 5_000,
            generated_tokens: generated,
            predicted_at_tokens: generated / 50 * 50,
            predicted_remaining_tokens: ((state >> 33) % 997) as f32,
            ..JobRow::default()
        });
    }
    table
}

fn header(jobs: usize) -> Header {
    Header {
        now_us: 60_000_000,
        running: SLOTS,
        waiting: jobs as u32 - SLOTS,
        max_num_seqs: SLOTS,
        plan_max: SLOTS,
        ..Header::default()
    }
}

/// Queues that are decided on in turn: a processor that sees one of them a hundred thousand times
/// knows each branch of a native rule by heart, and no scheduler meets the same queue twice. They
/// are as many as stay in the second cache of a core, where a queue is that was just brought up to
/// date.
fn queues(jobs: usize) -> Vec<JobTable> {
    let count = (16_000 / jobs).clamp(2, 16) as u64;
    (1..=count).map(|seed| queue(jobs, seed)).collect()
}

/// Gives each of some snapshots in turn.
fn in_turn<'a>(snapshots: &'a [Snapshot<'a>]) -> impl FnMut() -> &'a Snapshot<'a> {
    let mut next = 0;
    move || {
        next = (next + 1) % snapshots.len();
        black_box(&snapshots[next])
    }
}

/// The same rule without a sandbox, on the same columns: what a plug-in in the process would cost.
fn native(policy: &mut Isrtf, columns: &[Column], snapshot: &Snapshot<'_>) -> Vec<u64> {
    let columns: Vec<elis_policy_sdk::Column<'_>> = columns
        .iter()
        .map(|&column| match snapshot.column(column) {
            ColumnRef::U32s(values) => elis_policy_sdk::Column::U32s(values),
            ColumnRef::U64s(values) => elis_policy_sdk::Column::U64s(values),
            ColumnRef::F32s(values) => elis_policy_sdk::Column::F32s(values),
        })
        .collect();
    let header = elis_policy_sdk::Header {
        now_us: snapshot.header.now_us,
        running: snapshot.header.running,
        waiting: snapshot.header.waiting,
        max_num_seqs: snapshot.header.max_num_seqs,
        plan_max: snapshot.header.plan_max,
        ..Default::default()
    };
    policy
        .decide(&elis_policy_sdk::Snapshot::new(&header, &columns))
        .run
}

fn bytes(name: &str) -> Vec<u8> {
    let path = resolve::resolve(name).expect("run `cargo xtask policies` first");
    std::fs::read(path).expect("the policy can be read")
}

fn instance(metering: Metering, name: &str) -> PolicyInstance {
    let options = Options {
        metering,
        ..Options::default()
    };
    let runtime = Runtime::new(options).expect("an engine");
    let policy = runtime.load(&bytes(name)).expect("a policy");
    PolicyInstance::start(&policy, "").expect("an instance")
}

fn decide(c: &mut Criterion) {
    let columns: Vec<Column> = Isrtf::info()
        .columns
        .iter()
        .map(|name| Column::parse(name).expect("a known column"))
        .collect();
    let mut group = c.benchmark_group("decide");
    for jobs in SIZES {
        let (queues, tenants) = (queues(jobs), TenantTable::default());
        let snapshot = |table| Snapshot {
            header: header(jobs),
            jobs: table,
            tenants: &tenants,
            length_histogram: &[],
        };
        let snapshots: Vec<Snapshot<'_>> = queues.iter().map(snapshot).collect();
        let mut policy = Isrtf::default();
        group.bench_function(BenchmarkId::new("native", jobs), |b| {
            let mut next = in_turn(&snapshots);
            b.iter(|| native(&mut policy, &columns, next()));
        });
        for (name, metering) in [
            ("wasm", LIVE),
            ("wasm-fuel", FUEL),
            ("wasm-off", Metering::Off),
        ] {
            let mut instance = instance(metering, "isrtf");
            for snapshot in &snapshots {
                let plan = instance.decide(snapshot).plan.expect("a plan");
                assert_eq!(plan.run, native(&mut policy, &columns, snapshot));
            }
            group.bench_function(BenchmarkId::new(name, jobs), |b| {
                let mut next = in_turn(&snapshots);
                b.iter(|| instance.decide(next()));
            });
        }
        // The crossing and a look at each job, without choosing any.
        let mut instance = instance(LIVE, "isrtf");
        let mut empty = snapshots.clone();
        for snapshot in &mut empty {
            snapshot.header.plan_max = 0;
        }
        group.bench_function(BenchmarkId::new("choose-none", jobs), |b| {
            let mut next = in_turn(&empty);
            b.iter(|| instance.decide(next()));
        });
    }
    group.finish();
}

fn start(c: &mut Criterion) {
    let dir = std::env::temp_dir().join(format!("elis-bench-{}", std::process::id()));
    let options = Options {
        metering: LIVE,
        cache_dir: Some(dir.clone()),
        ..Options::default()
    };
    let runtime = Runtime::new(options).expect("an engine");
    let bytes = bytes("isrtf");
    let policy = runtime.load(&bytes).expect("a policy");
    let mut group = c.benchmark_group("start");
    group.bench_function("instantiate", |b| {
        b.iter(|| PolicyInstance::start(&policy, "").expect("an instance"));
    });
    group.bench_function("load-from-cache", |b| {
        b.iter(|| runtime.load(&bytes).expect("a policy"));
    });
    group.finish();
    drop(std::fs::remove_dir_all(dir));
}

criterion_group!(benches, decide, start);
criterion_main!(benches);
