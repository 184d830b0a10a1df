//! Each policy twice, as native code and as Wasm: the same plans on any queue, and the same run
//! from the first decision to the last.

pub(crate) mod native;
pub(crate) mod queues;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use elis_policy_runtime::LoadedPolicy;
use elis_scheduler::config::Boundary;
use elis_scheduler::plan::Interest;
use elis_sim::outcome::{RunOutcome, Spread};
use elis_sim::profile::BatchingKind;
use elis_sim::{Decider, Options, Profile, simulate};
use elis_workloads::{Overrides, Workload, WorkloadRef};
use proptest::prelude::*;

use crate::support::{policy_path, root, runtime};
use native::native;
use queues::Queue;

/// The policies of this repository, by their folders.
pub(crate) fn policies() -> Vec<String> {
    let folders = std::fs::read_dir(root().join("policies")).unwrap();
    let folders = folders.map(|entry| entry.unwrap().path());
    let rust = folders.filter(|path| path.join("Cargo.toml").is_file());
    let name = |path: std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut names: Vec<String> = rust.map(name).collect();
    names.sort();
    assert!(names.iter().any(|name| name == "isrtf"), "{names:?}");
    names
}

/// A policy as it ships, compiled once for all tests.
pub(crate) fn loaded(name: &str) -> LoadedPolicy {
    static LOADED: OnceLock<BTreeMap<String, LoadedPolicy>> = OnceLock::new();
    let load = || {
        let runtime = runtime(elis_policy_runtime::Options::default().metering);
        let policy = |name: String| {
            let bytes = std::fs::read(policy_path(&name)).unwrap();
            (name, runtime.load(&bytes).unwrap())
        };
        policies().into_iter().map(policy).collect()
    };
    LOADED.get_or_init(load)[name].clone()
}

/// A worker so small that slots and memory run short, and what is asked of it.
pub(crate) fn options(boundary: Boundary, batching: BatchingKind) -> Options {
    let mut profile = Profile::resolve("sim:llama2-13b-a100").unwrap();
    profile.max_num_seqs = 8;
    profile.max_batched_tokens = 2_048;
    profile.gpu_blocks = 400;
    profile.cpu_blocks = 100;
    profile.batching = batching;
    Options {
        boundary,
        workers: 2,
        decision_log: true,
        seed: 3,
        ..Options::new(profile)
    }
}

/// Both boundaries with both ways to batch.
pub(crate) const MODES: [(Boundary, BatchingKind); 4] = [
    (Boundary::Slot, BatchingKind::Mixed),
    (Boundary::Slot, BatchingKind::PrefillFirst),
    (Boundary::Batch, BatchingKind::Mixed),
    (Boundary::Batch, BatchingKind::PrefillFirst),
];

pub(crate) fn stream(take: u64) -> Workload {
    let overrides = Overrides {
        take: Some(take),
        rate_rps: Some(20.0),
        ..Overrides::default()
    };
    let workload = WorkloadRef::parse("steady").unwrap();
    workload.load(&overrides).unwrap()
}

/// A run with all that does not depend on the clock of this machine or the form of the policy.
pub(crate) fn run(options: &Options, workload: &Workload, decider: &mut dyn Decider) -> RunOutcome {
    let mut predictor = elis_predictor::parse("noisy:34", 5).unwrap();
    let arrivals = &workload.arrivals;
    let mut outcome = simulate(options, arrivals, decider, &mut *predictor).unwrap();
    outcome.summary.decision_us = Spread::default();
    outcome.summary.cpu_s = 0.0;
    outcome.summary.fuel = Spread::default();
    outcome
}

#[test]
fn both_forms_have_the_same_interest() {
    for name in policies() {
        // Native ones have no names.
        let loaded = Interest {
            identity: 0,
            ..loaded(&name).interest()
        };
        assert_eq!(native(&name).interest(), loaded, "{name}");
    }
}

#[test]
fn both_forms_decide_whole_runs_alike() {
    let workload = stream(150);
    for name in policies() {
        for (boundary, batching) in MODES {
            let options = options(boundary, batching);
            let one = run(&options, &workload, &mut *native(&name));
            let mut slot = loaded(&name).start("").unwrap();
            let other = run(&options, &workload, &mut slot);
            assert!(one.decisions.len() > 5, "{name} was hardly asked");
            assert_eq!(one.decisions, other.decisions, "{name}, {boundary:?}");
            // As text, since a missing prediction is not equal to itself.
            assert_eq!(format!("{one:?}"), format!("{other:?}"), "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn both_forms_plan_alike_for_any_queue(queue in queues::queue(0..300)) {
        for name in policies() {
            let one = native(&name).decide(&queue.snapshot()).plan;
            let other = loaded(&name).start("").unwrap().decide(&queue.snapshot()).plan;
            prop_assert!(one.is_ok());
            prop_assert_eq!(one, other, "{}", name);
        }
    }
}

#[test]
fn an_empty_queue_and_a_queue_of_one_are_nothing_special() {
    for name in policies() {
        for queue in [Queue::of(&[]), Queue::of(&[(7, f32::NAN)])] {
            let one = native(&name).decide(&queue.snapshot()).plan.unwrap();
            let other = loaded(&name).start("").unwrap().decide(&queue.snapshot());
            assert_eq!(Ok(&one), other.plan.as_ref(), "{name}");
            assert_eq!(one.run, queue.jobs.id, "{name}");
        }
    }
}
