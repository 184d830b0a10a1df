//! LTR's boost, to the iteration.

use super::{FixedError, one_slot, serve};

#[test]
fn two_hundred_idle_iterations_bring_a_job_to_the_front_for_ten_runs() {
    // A long job, one of a bad rank that comes in iteration 5, and one of the best rank that comes
    // while that is boosted.
    let jobs = [(0, 1_000), (5, 30), (208, 3)];
    let mut ranks = FixedError(vec![1_000.0, 5_000.0, 1.0]);
    // Decided per step; a rank is given once, so nothing but the policy's own timer asks it again.
    let mut options = one_slot(1);
    options.repredict_tokens = 0;
    let served = serve("ltr", &options, &jobs, &mut ranks);
    // Boosted in 205, 415 and 625 for ten tokens each, whoever waits; then the best rank runs.
    assert_eq!(served, [(218, 2), (635, 1), (1_033, 0)]);
}

#[test]
fn a_window_is_served_to_its_end() {
    let jobs = [(0, 1_000), (5, 30)];
    let mut ranks = FixedError(vec![1_000.0, 5_000.0]);
    let mut options = one_slot(50);
    options.repredict_tokens = 0;
    // Boosted in 205, in a slot from the end of the fifth window on, there for all its 30 tokens.
    let served = serve("ltr", &options, &jobs, &mut ranks);
    assert_eq!(served, [(280, 1), (1_030, 0)]);
}
