//! The same seed, the same run: twice in one process, and against values that are written down.

use expect_test::{Expect, expect};

use crate::support::ArrivalOrder;
use crate::twins::{MODES, loaded, options, policies, run, stream};
use elis_scheduler::Span;
use elis_sim::outcome::RunOutcome;
use elis_sim::{DecisionCost, Failure, Options};

/// FNV-1a, which no release of a library changes.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Everything that has an influence: failures, a guard, decisions that take time.
fn eventful() -> Options {
    let (boundary, batching) = MODES[0];
    Options {
        max_wait: Span::from_ms(8_000),
        decision_cost: DecisionCost::Fixed { ns: 300_000 },
        failures: vec![Failure {
            worker: 1,
            at_ns: 3_000_000_000,
            down_ns: 2_000_000_000,
        }],
        ..options(boundary, batching)
    }
}

fn wasm_run(name: &str, options: &Options) -> RunOutcome {
    run(options, &stream(120), &mut loaded(name).start("").unwrap())
}

#[test]
fn every_policy_runs_the_same_twice() {
    for name in policies() {
        let [one, other] = [0; 2].map(|_| format!("{:?}", wasm_run(&name, &eventful())));
        assert!(one == other, "{name}: two runs of one seed differ");
    }
}

#[test]
fn runs_are_what_they_were() {
    let mut lines = String::new();
    let mut note = |name: &str, outcome: &RunOutcome| {
        let s = &outcome.summary;
        let preempted: u64 = s.preemptions.values().sum();
        lines += &format!(
            "{name:13} {:016x} {} done, {} steps, {} preemptions, {} moved, {} us\n",
            hash(&format!("{outcome:?}")),
            s.completed,
            s.iterations,
            preempted,
            s.moved_jobs,
            s.makespan_ns / 1_000,
        );
    };
    note(
        "arrival-order",
        &run(&eventful(), &stream(120), &mut ArrivalOrder),
    );
    for name in ["fcfs", "isrtf", "sjf"] {
        note(name, &wasm_run(name, &eventful()));
    }
    golden().assert_eq(&lines);
}

/// Only write these anew (`UPDATE_EXPECT=1`) if you know why they changed.
fn golden() -> Expect {
    expect![[r#"
        arrival-order a0455c4f0046f481 120 done, 7258 steps, 118 preemptions, 22 moved, 147551063 us
        fcfs          71fc40e691c9e384 120 done, 7258 steps, 118 preemptions, 22 moved, 147551063 us
        isrtf         5003e1adac0858e5 120 done, 7103 steps, 507 preemptions, 23 moved, 148657206 us
        sjf           97e981ae2190bc81 120 done, 7219 steps, 138 preemptions, 21 moved, 152187090 us
    "#]]
}
