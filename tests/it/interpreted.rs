//! Policies in Python and JavaScript, over the packed interface: they decide like their twins in
//! Rust, and a run of theirs is the same twice.

use elis_policy_runtime::{Kind, LoadedPolicy, Options};
use elis_scheduler::config::Boundary;
use elis_scheduler::plan::Interest;
use elis_sim::profile::BatchingKind;

use crate::support::{runtime, target};
use crate::twins::native::native;
use crate::twins::{options, run, stream};

/// A policy that `cargo xtask interpreted` built; none where the tools for that are not at hand.
fn interpreted(name: &str) -> Option<LoadedPolicy> {
    let path = target().join(format!("policies/interpreted/{name}.wasm"));
    let Ok(bytes) = std::fs::read(&path) else {
        eprintln!("SKIPPED: {name} is not built; `cargo xtask interpreted` does that");
        return None;
    };
    let runtime = runtime(Options::default().metering);
    Some(runtime.load(&bytes).unwrap())
}

/// Runs both and compares every decision, and everything that came of them.
fn decides_like(name: &str, twin: &str, requests: u64) {
    let Some(policy) = interpreted(name) else {
        return;
    };
    assert_eq!((policy.kind(), &*policy.info().name), (Kind::Packed, name));
    let workload = stream(requests);
    let options = options(Boundary::Slot, BatchingKind::Mixed);
    let one = run(&options, &workload, &mut *native(twin));
    let mut slot = policy.start("").unwrap();
    // They differ in their names, and native ones have none.
    let interest = Interest {
        identity: 0,
        ..slot.interest()
    };
    assert_eq!(interest, native(twin).interest(), "{name}");
    let other = run(&options, &workload, &mut slot);
    assert!(one.decisions.len() > 5, "{twin} was hardly asked");
    assert_eq!(slot.counters().failures(), 0, "{:?}", slot.counters());
    for (ours, theirs) in one.decisions.iter().zip(&other.decisions) {
        assert_eq!(ours, theirs, "{name} decides otherwise");
    }
    assert_eq!(
        format!("{:?}", one.requests),
        format!("{:?}", other.requests)
    );
    assert_eq!(one.summary, other.summary);
}

#[test]
fn python_decides_like_its_twin_in_rust() {
    decides_like("fcfs-python", "fcfs", 100);
}

#[test]
fn javascript_decides_like_its_twin_in_rust() {
    decides_like("isrtf-javascript", "isrtf", 100);
}

#[test]
fn an_interpreter_burns_the_same_fuel_twice() {
    for name in ["fcfs-python", "isrtf-javascript"] {
        let Some(policy) = interpreted(name) else {
            return;
        };
        let workload = stream(20);
        let options = options(Boundary::Slot, BatchingKind::Mixed);
        let fuel = || {
            let mut slot = policy.start("").unwrap();
            run(&options, &workload, &mut slot);
            assert_eq!(slot.counters().failures(), 0, "{name}");
            slot.counters().fuel_used
        };
        let first = fuel();
        assert!(first > 0);
        assert_eq!(first, fuel(), "{name}");
    }
}
