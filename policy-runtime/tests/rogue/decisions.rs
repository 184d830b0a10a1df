//! Decisions that fail: each with its own cause, none of them fatal to the host.

use std::time::Duration;

use elis_policy_runtime::{Decision, Metering};
use elis_scheduler::plan::PolicyExit;

use crate::forge::{FUEL, Forged, embed, runtime, with_snapshot};

/// The first decision of a policy with that body.
fn decide(body: &'static str, metering: Metering) -> Decision {
    let forged = Forged {
        decide: body,
        ..Forged::default()
    };
    let policy = runtime(metering).load(&forged.build()).unwrap();
    let mut slot = policy.start("").unwrap();
    with_snapshot(0, |snapshot| slot.decide(snapshot))
}

#[track_caller]
fn fails(body: &'static str, exit: PolicyExit) -> Decision {
    let decision = decide(body, FUEL);
    assert_eq!(decision.plan, Err(exit), "{:?}", decision.detail);
    decision
}

#[test]
fn an_honest_one_gives_its_plan() {
    let decision = decide("", FUEL);
    assert_eq!(decision.plan.unwrap().run, [7]);
    assert!(
        (1..1_000).contains(&decision.fuel_used),
        "{}",
        decision.fuel_used
    );
}

#[test]
fn the_fuel_of_a_decision_is_always_the_same() {
    let fuel = decide("", FUEL).fuel_used;
    assert_eq!(decide("", FUEL).fuel_used, fuel);
}

#[test]
fn the_header_and_the_columns_arrive() {
    // Answers the sum of `revision` and the second value of the first column, which is job 2.
    let body = "(i64.store (i32.const 768) (i64.add
        (i64.load offset=16 (local.get $args))
        (i64.load offset=8 (i32.load offset=4 (i32.load offset=128 (local.get $args))))))";
    let forged = Forged {
        decide: body,
        ..Forged::default()
    };
    let mut slot = runtime(FUEL)
        .load(&forged.build())
        .unwrap()
        .start("")
        .unwrap();
    let decision = with_snapshot(40, |snapshot| slot.decide(snapshot));
    assert_eq!(decision.plan.unwrap().run, [42]);
}

#[test]
fn an_endless_loop_runs_out_of_fuel() {
    let decision = fails("(loop $l (br $l))", PolicyExit::OutOfFuel);
    assert_eq!(decision.fuel_used, 100_000);
}

#[test]
fn an_endless_loop_misses_its_deadline() {
    let decision = decide("(loop $l (br $l))", Metering::Epoch { budget_ms: 2 });
    assert_eq!(decision.plan, Err(PolicyExit::DeadlineMissed));
    assert!(
        decision.wall >= Duration::from_millis(2),
        "{:?}",
        decision.wall
    );
}

#[test]
fn a_trap_is_a_trap() {
    let decision = fails("(unreachable)", PolicyExit::Trap);
    assert!(decision.detail.unwrap().contains("unreachable"));
    fails(
        "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
        PolicyExit::Trap,
    );
    fails("(drop (i32.load (i32.const -8)))", PolicyExit::Trap);
}

#[test]
fn a_hungry_one_is_out_of_memory_and_not_just_trapped() {
    let body = "(if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then (unreachable)))";
    fails(body, PolicyExit::OutOfMemory);
}

#[test]
fn a_denied_growth_that_the_policy_survives_is_no_failure() {
    let decision = decide("(drop (memory.grow (i32.const 100)))", FUEL);
    assert!(decision.plan.is_ok());
}

#[test]
fn an_answer_outside_of_its_memory_cannot_be_read() {
    fails(
        "(i32.store (i32.const 516) (i32.const 100000000))",
        PolicyExit::InvalidAnswer,
    );
    fails(
        "(i32.store (i32.const 512) (i32.const -8))",
        PolicyExit::InvalidAnswer,
    );
    fails(
        "(i32.store (i32.const 512) (i32.const 769))",
        PolicyExit::InvalidAnswer,
    );
}

#[test]
fn an_answer_with_too_many_entries_is_refused() {
    let body = "(i32.store (i32.const 516) (i32.const 1001))";
    let decision = fails(body, PolicyExit::InvalidAnswer);
    assert!(decision.detail.unwrap().contains("1001 entries"));
}

#[test]
fn an_answer_is_not_copied_without_limit_either() {
    // Each list alone is short enough, and all of them are the same memory.
    let body = "(i32.store (i32.const 516) (i32.const 1000))
        (i32.store (i32.const 532) (i32.const 768)) (i32.store (i32.const 536) (i32.const 1000))
        (i32.store (i32.const 548) (i32.const 768)) (i32.store (i32.const 552) (i32.const 1000))
        (i32.store (i32.const 560) (i32.const 768)) (i32.store (i32.const 564) (i32.const 1000))";
    fails(body, PolicyExit::InvalidAnswer);
}

#[test]
fn a_mode_that_does_not_exist_is_an_invalid_answer() {
    fails(
        "(i32.store8 (i32.const 556) (i32.const 9))",
        PolicyExit::InvalidAnswer,
    );
}

#[test]
fn the_packed_interface_works_too() {
    let wat = r#"(module
      (memory (export "memory") 1)
      (global $next (mut i32) (i32.const 4096))
      (data (i32.const 256)
        "{\"name\":\"words\",\"columns\":[\"job-id\"],"
        "\"triggers\":[\"timer\"],\"preemptive\":true}")
      (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (local $at i32)
        (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
        (global.set $next (i32.add (local.get $at) (local.get 3)))
        (local.get $at))
      (func (export "elis:policy/packed@0.1.0#describe") (result i32)
        (i32.store (i32.const 0) (i32.const 256)) (i32.store (i32.const 4) (i32.const 76))
        (i32.const 0))
      (func (export "elis:policy/packed@0.1.0#configure") (param i32 i32) (result i32)
        (i32.const 128))
      (func (export "elis:policy/packed@0.1.0#decide") (param $at i32) (param $len i32)
        (result i32)
        ;; Skip the header and the length of the column: the ids follow.
        (i32.store (i32.const 0) (i32.add (local.get $at)
          (i32.mul (i32.const 8) (i32.add (i32.const 2) (i32.load (local.get $at))))))
        (i32.store (i32.const 4) (i32.const 2))
        (i32.const 0)))"#;
    let policy = runtime(FUEL).load(&embed(wat, "packed-policy")).unwrap();
    assert_eq!(
        (policy.info().name.as_str(), policy.trigger_names()),
        ("words", vec!["timer"])
    );
    let mut slot = policy.start("").unwrap();
    let decision = with_snapshot(0, |snapshot| slot.decide(snapshot));
    assert_eq!(decision.plan.unwrap().run, [1, 2]);
}
