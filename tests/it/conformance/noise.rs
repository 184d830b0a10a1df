//! How orders by length bear errors of the sizes that predictors are reported to have.

use elis_sim::Options;

use super::{finishes, one_slot, oracle, run};
use crate::twins::native::native;
use crate::twins::policies;

/// Mean absolute errors in tokens: none, ELIS's claim, TRAIL's two, ELIS's two others.
const MAE_TOKENS: [u32; 6] = [0, 20, 34, 46, 71, 176];

/// Lengths from 1 to 600 without an order, all there at once.
fn jobs() -> Vec<(u64, u32)> {
    (0..60u32).map(|i| (0, 1 + i * 7_919 % 600)).collect()
}

/// The sum of all completion times, in iterations.
fn total(policy: &str, options: &Options, predictor: &str, seed: u64) -> u64 {
    let mut predictor = elis_predictor::parse(predictor, seed).unwrap();
    let outcome = run(&mut *native(policy), options, &jobs(), &mut *predictor);
    finishes(&outcome).iter().map(|(at, _)| at).sum()
}

#[test]
fn no_error_is_the_truth_and_no_order_beats_the_optimum() {
    let options = one_slot(50);
    let mut lengths: Vec<u64> = jobs().iter().map(|job| job.1.into()).collect();
    lengths.sort_unstable();
    let done = lengths.iter().scan(0, |now, length| {
        *now += length;
        Some(*now)
    });
    let optimum: u64 = done.sum();
    for name in policies() {
        let knowing = finishes(&run(&mut *native(&name), &options, &jobs(), &mut oracle()));
        let knowing: u64 = knowing.iter().map(|(at, _)| at).sum();
        assert_eq!(total(&name, &options, "noisy:0", 1), knowing, "{name}");
        for mae in MAE_TOKENS {
            let total = total(&name, &options, &format!("noisy:{mae}"), 1);
            assert!(total >= optimum, "{name} at {mae}: {total} below {optimum}");
        }
    }
}

#[test]
fn a_worse_predictor_makes_a_worse_order() {
    let options = one_slot(50);
    for name in ["sjf", "ssjf", "ltr", "isrtf", "trail", "gittins"] {
        let all_seeds = |mae| {
            let total = |seed| total(name, &options, &format!("noisy:{mae}"), seed);
            (0..8).map(total).sum::<u64>()
        };
        let totals = MAE_TOKENS.map(all_seeds);
        assert!(totals.is_sorted(), "{name}: {totals:?}");
        assert!(totals[0] < totals[5], "{name}: {totals:?}");
    }
}
