//! State that goes from one policy to the next, and what stops it.

use elis_policy_runtime::{PolicySlot, StartError};
use elis_scheduler::plan::PolicyExit;

use crate::forge::{FUEL, Forged, runtime, with_snapshot};

/// Counts its decisions and answers with the count.
const COUNTS: &str =
    "(i64.store (i32.const 768) (i64.add (i64.load (i32.const 768)) (i64.const 1)))";
const GIVES_COUNT: &str =
    "(i32.store (i32.const 1024) (i32.const 768)) (i32.store (i32.const 1028) (i32.const 8))";
const TAKES_COUNT: &str = "(i64.store (i32.const 768) (i64.load (local.get $state)))";

fn slot(export_state: &'static str, import_state: &'static str) -> PolicySlot {
    let forged = Forged {
        decide: COUNTS,
        export_state,
        import_state,
        ..Forged::default()
    };
    let policy = runtime(FUEL).load(&forged.build()).unwrap();
    policy.start("").unwrap()
}

fn ask(slot: &mut PolicySlot) -> u64 {
    with_snapshot(0, |snapshot| slot.decide(snapshot))
        .plan
        .unwrap()
        .run[0]
}

#[test]
fn a_successor_goes_on_where_its_predecessor_was() {
    let mut old = slot(GIVES_COUNT, "");
    assert_eq!((ask(&mut old), ask(&mut old)), (8, 9));
    let state = old.export_state().unwrap();
    assert_eq!(state, 9u64.to_le_bytes());
    let mut new = slot("", TAKES_COUNT);
    new.import_state(&state).unwrap();
    assert_eq!(ask(&mut new), 10);
    assert_eq!(ask(&mut old), 10, "giving takes nothing away");
}

#[test]
fn a_state_that_cannot_be_read_is_an_error_and_the_next_decision_a_fresh_instance_s() {
    let mut old = slot(
        "(i32.store (i32.const 1024) (i32.const 768)) (i32.store (i32.const 1028) (i32.const -1))",
        "",
    );
    assert_eq!(ask(&mut old), 8);
    let error = old.export_state().unwrap_err();
    let unreadable = matches!(
        &error,
        StartError::Exit {
            exit: PolicyExit::InvalidAnswer,
            ..
        }
    );
    assert!(unreadable, "{error}");
    assert!(old.export_state().unwrap().is_empty());
    assert_eq!(ask(&mut old), 8);
}

#[test]
fn a_policy_may_refuse_a_state_or_choke_on_it() {
    let mut refuses = slot("", "(i32.store8 (i32.const 1040) (i32.const 1))");
    assert!(matches!(
        refuses.import_state(b"12345678"),
        Err(StartError::State(_))
    ));
    let mut loops = slot("", "(loop $l (br $l))");
    let error = loops.import_state(b"12345678").unwrap_err();
    assert!(error.to_string().contains("out-of-fuel"), "{error}");
}
