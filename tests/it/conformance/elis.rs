//! Theorems about orders by length: with the truth, without windows, with equal predictions.

use elis_predictor::{Constant, Latency};
use elis_sim::Options;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{
    FixedError, at_once, in_order_of, one_slot, oracle, over_time, serve, srpt, with_a_first,
};

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whoever_counts_what_is_left_and_knows_the_truth_is_srpt(jobs in over_time()) {
        for policy in ["isrtf", "gittins"] {
            let served = serve(policy, &one_slot(1), &jobs, &mut oracle());
            prop_assert_eq!(served, srpt(&jobs), "{}", policy);
        }
    }

    #[test]
    fn isrtf_that_knows_the_truth_clears_a_queue_by_length(jobs in at_once(), window in 1u32..60) {
        let jobs = with_a_first(jobs);
        let served = serve("isrtf", &one_slot(window), &jobs, &mut oracle());
        let first = |job: usize| job != 0;
        prop_assert_eq!(served, in_order_of(&jobs, |job| (first(job), jobs[job].1)));
    }

    #[test]
    fn without_windows_every_prediction_is_kept_and_the_shortest_comes_first(
        jobs in at_once(),
        guesses in vec(1u16..50, 26),
    ) {
        let jobs = with_a_first(jobs);
        let mut options = one_slot(u32::MAX);
        options.repredict_tokens = 0;
        let mut guesses: Vec<f32> = guesses.into_iter().map(f32::from).collect();
        guesses.resize(jobs.len(), 1.0);
        let serve = |policy| serve(policy, &options, &jobs, &mut FixedError(guesses.clone()));
        let key = |job: usize| (job != 0, guesses[job] as u32);
        // None starves: 2,000 iterations of a millisecond are less than the 100 s of SSJF, and ten
        // times a duration begins at a second.
        for policy in ["isrtf", "sjf", "ssjf", "trail", "gittins"] {
            prop_assert_eq!(serve(policy), in_order_of(&jobs, key), "{}", policy);
        }
    }

    #[test]
    fn equal_predictions_are_first_come_first_served(jobs in over_time()) {
        let options = Options {
            repredict_tokens: 0,
            ..one_slot(u32::MAX)
        };
        let serve = |policy| {
            let mut constant = Constant::new("constant:40", 40, Latency::default());
            serve(policy, &options, &jobs, &mut constant)
        };
        let fcfs = serve("fcfs");
        prop_assert!(fcfs.windows(2).all(|pair| pair[0].1 < pair[1].1), "{:?}", fcfs);
        for policy in ["sjf", "isrtf", "ssjf", "ltr", "trail", "gittins"] {
            prop_assert_eq!(serve(policy), fcfs.clone(), "{}", policy);
        }
    }
}
