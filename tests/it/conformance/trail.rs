//! TRAIL between its two ends: no preemption at all, and shortest remaining time first.

use elis_sim::outcome::RunOutcome;
use proptest::prelude::*;

use super::{finishes, one_slot, oracle, over_time, run, srpt};
use crate::twins::native::native;

fn preemptions(outcome: &RunOutcome) -> u64 {
    outcome.summary.preemptions.values().sum()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn without_a_part_to_preempt_in_nobody_is(jobs in over_time(), seed in any::<u64>()) {
        let mut noisy = elis_predictor::parse("noisy:34", seed).unwrap();
        let mut trail = native("trail");
        trail.configure("c = 0");
        let outcome = run(&mut *trail, &one_slot(1), &jobs, &mut *noisy);
        prop_assert_eq!(preemptions(&outcome), 0);
    }

    #[test]
    fn to_the_end_of_an_exact_prediction_it_is_srpt(jobs in over_time()) {
        let mut trail = native("trail");
        trail.configure("c = 1");
        let outcome = run(&mut *trail, &one_slot(1), &jobs, &mut oracle());
        prop_assert_eq!(finishes(&outcome), srpt(&jobs));
    }
}
