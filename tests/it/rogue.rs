//! Policies that misbehave, in whole simulations: every request still gets its tokens, no limit of
//! a worker is broken, and the outcome names the cause.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use elis_policy_runtime::{Ladder, LoadedPolicy, Metering};
use elis_predictor::LengthPredictor;
use elis_scheduler::Span;
use elis_scheduler::config::Boundary;
use elis_sim::outcome::{Ending, RunOutcome};
use elis_sim::{DecisionCost, Failure, Options, Profile, simulate};
use elis_workloads::{Overrides, Workload, WorkloadRef};

use crate::support::{policy_path, runtime};

const REQUESTS: u64 = 200;

/// The guest that does as its configuration says, under a budget that a test uses up quickly.
fn rogue() -> &'static LoadedPolicy {
    static POLICY: OnceLock<LoadedPolicy> = OnceLock::new();
    POLICY.get_or_init(|| {
        let runtime = runtime(Metering::Fuel {
            per_decision: 5_000_000,
        });
        let bytes = std::fs::read(policy_path("rogue/rogue")).unwrap();
        runtime.load(&bytes).unwrap()
    })
}

/// Requests that come faster than the worker below can serve them.
fn stream(requests: u64) -> Workload {
    let overrides = Overrides {
        take: Some(requests),
        rate_rps: Some(20.0),
        ..Overrides::default()
    };
    WorkloadRef::parse("steady")
        .unwrap()
        .load(&overrides)
        .unwrap()
}

/// A worker so small that slots, tokens and memory all run short.
fn options() -> Options {
    let mut profile = Profile::resolve("sim:llama2-13b-a100").unwrap();
    profile.max_num_seqs = 8;
    profile.max_batched_tokens = 512;
    profile.gpu_blocks = 400;
    profile.cpu_blocks = 100;
    Options::new(profile)
}

/// Runs one kind, and checks what must hold for every kind.
#[track_caller]
fn run_with(config: &str, options: &Options, predictor: &str) -> RunOutcome {
    run_on(&stream(REQUESTS), config, options, predictor)
}

#[track_caller]
fn run_on(workload: &Workload, config: &str, options: &Options, predictor: &str) -> RunOutcome {
    let requests = workload.arrivals.len() as u64;
    let mut slot = rogue().start_with(config, Ladder::default()).unwrap();
    let mut predictor: Box<dyn LengthPredictor> = elis_predictor::parse(predictor, 0).unwrap();
    let outcome = simulate(options, &workload.arrivals, &mut slot, predictor.as_mut()).unwrap();
    let summary = &outcome.summary;
    assert_eq!(summary.arrived, requests, "{config}");
    assert_eq!(
        summary.completed + summary.rejected,
        requests,
        "{config}: {summary:?}"
    );
    assert!(
        outcome.requests.iter().all(|r| r.ending != Ending::Lost),
        "{config}"
    );
    let slots = options.profile.max_num_seqs * u32::from(options.workers);
    let blocks = options.profile.gpu_blocks * u32::from(options.workers);
    for point in &outcome.timeline {
        assert!(
            point.running <= slots && point.gpu_blocks <= blocks,
            "{config}: {point:?}"
        );
    }
    let tokens: u64 = workload
        .arrivals
        .iter()
        .map(|a| u64::from(a.output_tokens))
        .sum();
    if summary.rejected == 0 {
        assert_eq!(
            summary.output_tokens, tokens,
            "{config}: tokens were lost or invented"
        );
    }
    outcome
}

#[track_caller]
fn run(kind: &str) -> RunOutcome {
    run_with(&format!("kind = \"{kind}\""), &options(), "oracle")
}

#[track_caller]
fn assert_named(what: &str, counters: &BTreeMap<String, u64>, names: &[&str]) {
    for name in names {
        let count = counters.get(*name).copied().unwrap_or(0);
        assert!(count > 0, "{what}: {name} is not among {counters:?}");
    }
}

/// A policy that fails every time is asked three times, then left alone for longer and longer.
#[track_caller]
fn ends_in_quarantine(kind: &str, cause: &str) {
    let outcome = run(kind);
    let fallbacks = &outcome.summary.fallbacks;
    assert_named(kind, fallbacks, &[cause, "quarantined"]);
    assert!(
        fallbacks["quarantined"] > fallbacks[cause],
        "{kind}: {fallbacks:?}"
    );
    assert_eq!(
        fallbacks.len(),
        2,
        "{kind} failed in other ways too: {fallbacks:?}"
    );
    let decisions = &outcome.summary.decisions;
    assert_eq!(
        decisions["failed"], decisions["asked"],
        "{kind}: {decisions:?}"
    );
}

#[test]
fn the_guest_can_behave() {
    let outcome = run("honest");
    let summary = &outcome.summary;
    assert!(summary.fallbacks.is_empty(), "{:?}", summary.fallbacks);
    assert!(summary.plan_faults.is_empty(), "{:?}", summary.plan_faults);
    assert_eq!(summary.decisions["applied"], summary.decisions["asked"]);
    assert!(
        outcome.timeline.iter().any(|p| p.waiting > 50),
        "the stream is no load"
    );
}

#[test]
fn an_endless_loop_ends_in_quarantine() {
    ends_in_quarantine("spin", "out-of-fuel");
}

#[test]
fn a_trap_ends_in_quarantine() {
    ends_in_quarantine("trap", "trap");
}

#[test]
fn hunger_for_memory_ends_in_quarantine() {
    ends_in_quarantine("hog", "out-of-memory");
}

#[test]
fn a_flood_of_an_answer_ends_in_quarantine() {
    ends_in_quarantine("flood", "invalid-answer");
}

#[test]
fn a_leak_costs_an_instance_now_and_then() {
    let outcome = run("leak");
    let summary = &outcome.summary;
    assert_named("leak", &summary.fallbacks, &["out-of-memory"]);
    assert!(summary.decisions["applied"] > summary.fallbacks["out-of-memory"]);
}

#[test]
fn a_failure_now_and_then_costs_one_decision_each() {
    let outcome = run_with("kind = \"trap\"\nevery = 600", &options(), "oracle");
    let summary = &outcome.summary;
    assert_named("every 600th", &summary.fallbacks, &["trap"]);
    assert!(
        !summary.fallbacks.contains_key("quarantined"),
        "{summary:?}"
    );
    assert_eq!(summary.decisions["failed"], summary.fallbacks["trap"]);
}

#[test]
fn lies_are_counted_and_the_true_part_runs() {
    let outcome = run("liar");
    let faults = &outcome.summary.plan_faults;
    let kinds = [
        "unknown-job",
        "duplicate-job",
        "length-mismatch",
        "too-many-entries",
    ];
    assert_named("liar", faults, &kinds);
    // The order in the lie is that of arrival, more or less; nothing had to stand in for it.
    assert!(outcome.summary.fallbacks.is_empty());
}

#[test]
fn wishes_beyond_the_worker_are_cut_to_it() {
    let outcome = run("greedy");
    assert_named("greedy", &outcome.summary.plan_faults, &["over-budget"]);
}

#[test]
fn a_sort_that_fears_no_nan_traps_where_nothing_is_predicted() {
    let config = "kind = \"nan\"";
    let with = run_with(config, &options(), "oracle");
    assert!(
        with.summary.fallbacks.is_empty(),
        "{:?}",
        with.summary.fallbacks
    );
    let without = run_with(config, &options(), "none");
    assert_named("nan", &without.summary.fallbacks, &["trap", "quarantined"]);
}

#[test]
fn a_plan_that_would_idle_the_worker_is_overruled() {
    let outcome = run("idle");
    assert_named("idle", &outcome.summary.plan_faults, &["idle-worker"]);
}

#[test]
fn a_deferral_to_the_end_of_time_loses_nobody() {
    let outcome = run("defer");
    assert_named("defer", &outcome.summary.plan_faults, &["over-budget"]);
}

#[test]
fn whoever_is_refused_is_told_so() {
    let outcome = run("refuse");
    assert_eq!(outcome.summary.rejected, REQUESTS);
}

#[test]
fn throwing_everybody_out_does_not_stop_progress() {
    let outcome = run("thrash");
    assert!(
        outcome.summary.recomputed_tokens > 0,
        "{:?}",
        outcome.summary
    );
}

/// Prompts take several iterations here, and with windows of one token nobody's slot is safe while
/// a prompt is read: left to itself, this policy never lets one come to its end.
#[test]
fn a_policy_under_which_no_prompt_is_ever_read_is_overruled() {
    let mut options = Options {
        window_tokens: 1,
        ..options()
    };
    options.profile.max_batched_tokens = 16;
    let outcome = run_with("kind = \"thrash\"", &options, "oracle");
    assert_named("thrash", &outcome.summary.plan_faults, &["no-progress"]);
    let honest = run_with("kind = \"honest\"", &options, "oracle");
    assert_eq!(honest.summary.plan_faults.get("no-progress"), None);
}

#[test]
fn endless_doubt_about_predictions_ends() {
    let outcome = run("doubt");
    let honest = run("honest");
    assert!(outcome.summary.predictions > honest.summary.predictions);
}

#[test]
fn a_policy_that_wants_to_be_asked_all_the_time_is_asked_at_boundaries() {
    let (nag, honest) = (run("nag"), run("honest"));
    let ratio = nag.summary.decisions["asked"] / honest.summary.decisions["asked"];
    assert!(
        ratio < 100,
        "asked {ratio} times as often as an honest policy"
    );
}

#[test]
fn a_late_answer_is_a_missed_deadline() {
    let late = Options {
        decision_cost: DecisionCost::Fixed { ns: 3_000_000 },
        decision_deadline: Span::from_ms(2),
        ..options()
    };
    let outcome = run_with("kind = \"honest\"", &late, "oracle");
    let summary = &outcome.summary;
    assert_named("late", &summary.fallbacks, &["deadline-missed"]);
    assert_named("late", &summary.decisions, &["late"]);
    assert!(
        !summary.decisions.contains_key("applied"),
        "{:?}",
        summary.decisions
    );
}

#[test]
fn every_kind_survives_every_setting() {
    let kinds = [
        "trap", "liar", "greedy", "idle", "hoard", "defer", "thrash", "doubt",
    ];
    let lost = Failure {
        worker: 1,
        at_ns: 2_000_000_000,
        down_ns: 5_000_000_000,
    };
    let settings = [
        Options {
            boundary: Boundary::Batch,
            ..options()
        },
        Options {
            window_tokens: 1,
            repredict_tokens: 1,
            ..options()
        },
        Options {
            workers: 2,
            failures: vec![lost],
            max_wait: Span::from_ms(500),
            wait_for_predictions: true,
            ..options()
        },
    ];
    for kind in kinds {
        for options in &settings {
            // Now behaving and now not is what confuses a host most.
            run_with(
                &format!("kind = \"{kind}\"\nevery = 2"),
                options,
                "noisy:50@5ms",
            );
        }
    }
}

#[test]
fn the_guard_ends_an_order_that_turns_over_at_each_step() {
    // Without windows nobody is safe from one step to the next: each order throws out those whose
    // prompts the other began to read. Only the longest wait puts an end to that.
    let guarded = Options {
        window_tokens: 1,
        repredict_tokens: 1,
        max_wait: Span::from_ms(2_000),
        ..options()
    };
    let config = "kind = \"backwards\"\nevery = 2";
    let outcome = run_on(&stream(20), config, &guarded, "oracle");
    assert!(outcome.summary.starvation_boosts > 0);
}

#[test]
fn the_same_rogue_does_the_same_damage_twice() {
    let config = "kind = \"thrash\"\nevery = 3";
    let [a, b] = [0, 1].map(|_| run_with(config, &options(), "noisy:50"));
    assert_eq!(a.requests, b.requests);
    assert_eq!(a.summary.plan_faults, b.summary.plan_faults);
    assert_eq!(a.summary.fuel, b.summary.fuel);
}
