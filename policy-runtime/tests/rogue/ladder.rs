//! The fault ladder: fresh instance, strike, quarantine, return.

use elis_policy_runtime::{Ladder, PolicySlot};
use elis_scheduler::plan::PolicyExit;

use crate::forge::{FUEL, Forged, runtime, with_snapshot};

const LADDER: Ladder = Ladder {
    strikes: 2,
    window: 10,
    backoff: 3,
    backoff_max: 4,
};

/// Traps when the seed (here: always 0) plus the revision is odd, and counts its decisions.
const TRAPS_ON_ODD: &str = "
    (i64.store (i32.const 768) (i64.add (i64.load (i32.const 768)) (i64.const 1)))
    (if (i32.wrap_i64 (i64.and (i64.load offset=16 (local.get $args)) (i64.const 1)))
        (then (unreachable)))";

fn slot() -> PolicySlot {
    let forged = Forged {
        decide: TRAPS_ON_ODD,
        ..Forged::default()
    };
    let policy = runtime(FUEL).load(&forged.build()).unwrap();
    policy.start_with("", LADDER).unwrap()
}

/// Asks once: the counter that the policy answers, or how it ended.
fn ask(slot: &mut PolicySlot, revision: u64) -> Result<u64, PolicyExit> {
    with_snapshot(revision, |snapshot| slot.decide(snapshot))
        .plan
        .map(|plan| plan.run[0])
}

#[test]
fn a_fresh_instance_takes_over_after_a_failure() {
    let mut slot = slot();
    assert_eq!(ask(&mut slot, 0), Ok(8));
    assert_eq!(ask(&mut slot, 0), Ok(9));
    assert_eq!(ask(&mut slot, 1), Err(PolicyExit::Trap));
    // It starts from the beginning: nothing of the dead instance is left.
    assert_eq!(ask(&mut slot, 0), Ok(8));
    let counters = slot.counters();
    assert_eq!(
        (counters.asked, counters.answered, counters.restarts),
        (4, 3, 1)
    );
    assert_eq!(
        (counters.exits(PolicyExit::Trap), counters.failures()),
        (1, 1)
    );
    assert!(
        counters
            .last_detail(PolicyExit::Trap)
            .unwrap()
            .contains("unreachable")
    );
}

#[test]
fn strikes_lead_to_a_quarantine_that_doubles_up_to_a_limit() {
    let mut slot = slot();
    for quarantine in [3, 4, 4] {
        assert_eq!(ask(&mut slot, 1), Err(PolicyExit::Trap));
        assert_eq!(ask(&mut slot, 1), Err(PolicyExit::Trap));
        for _ in 0..quarantine {
            assert_eq!(ask(&mut slot, 0), Err(PolicyExit::Quarantined));
        }
    }
    assert_eq!(ask(&mut slot, 0), Ok(8));
    let counters = slot.counters();
    assert_eq!((counters.quarantines, counters.failures()), (3, 6));
    assert_eq!(counters.exits(PolicyExit::Quarantined), 11);
}

#[test]
fn failures_far_apart_are_forgiven() {
    let mut slot = slot();
    for round in 0..5 {
        assert_eq!(ask(&mut slot, 1), Err(PolicyExit::Trap), "round {round}");
        for _ in 0..10 {
            assert!(ask(&mut slot, 0).is_ok(), "round {round}");
        }
    }
    assert_eq!(slot.counters().quarantines, 0);
}

#[test]
fn a_clean_window_shortens_the_next_quarantine() {
    let mut slot = slot();
    let fall = |slot: &mut PolicySlot| {
        for _ in 0..2 {
            assert_eq!(ask(slot, 1), Err(PolicyExit::Trap));
        }
        let mut length = 0;
        while ask(slot, 0).is_err() {
            length += 1;
        }
        length
    };
    assert_eq!(fall(&mut slot), 3);
    assert_eq!(fall(&mut slot), 4);
    for _ in 0..11 {
        assert!(ask(&mut slot, 0).is_ok());
    }
    assert_eq!(fall(&mut slot), 3);
}
