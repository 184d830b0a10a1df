//! What `true_slowdown` promises, whatever is predicted.

use proptest::prelude::*;

use super::{Coming, Job, SECOND_US, Tether, decide, exact, header, job, serve};
use elis_policy_sdk::{Policy, state};

fn bounded(at_most: u32) -> Tether {
    let mut policy = exact();
    let config = format!("max_slowdown = 0\ntrue_slowdown = {at_most}");
    policy.configure(&config).unwrap();
    policy
}

#[test]
fn who_has_been_here_too_long_for_what_it_was_given_goes_first() {
    let jobs = [job(1, 900.0), job(2, 1.0)];
    // A token takes a second alone, so that half of the bound is 50 seconds.
    let run = |second| {
        let now = header(second * SECOND_US);
        decide(&mut bounded(100), &now, &jobs, &[]).run
    };
    assert_eq!(run(51), [2, 1]);
    assert_eq!(run(52), [1, 2]);
    // It has had one token, and is due again after as many seconds for the next.
    let served = |second| {
        let waits = Job {
            state: state::PAUSED,
            generated: 1,
            ..jobs[0]
        };
        let now = header(second * SECOND_US);
        decide(&mut bounded(100), &now, &[waits, job(90, 1.0)], &[]).run
    };
    assert_eq!(served(101), [90, 1]);
    assert_eq!(served(102), [1, 90]);
}

#[test]
fn of_several_the_first_that_was_due_is_first_and_a_missing_prediction_is_no_excuse() {
    let jobs = [job(2, f32::NAN), job(1, 900.0), job(3, 1.0)];
    let now = header(300 * SECOND_US);
    assert_eq!(decide(&mut bounded(100), &now, &jobs, &[]).run, [1, 2, 3]);
}

/// The bound of [`nobody_is_slower_than_the_bound`], and the jobs that it allows at once.
const BOUND: u64 = 24;
const ROOM: usize = BOUND as usize / 4;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// With one slot and at most a quarter of the bound as jobs at once, each has ended after half
    /// of the bound times its true time and one decision more, whatever was predicted: a job is due
    /// for a token at most once in half of the bound, so that at any moment no more of those that
    /// are due can be left than there are jobs.
    #[test]
    fn nobody_is_slower_than_the_bound(
        drawn in prop::collection::vec((0u64..12, 1u16..20, 0u8..90), 1..60),
    ) {
        let mut at = 0;
        let jobs: Vec<Coming> = drawn
            .iter()
            .map(|&(gap, length, predicted)| {
                at += gap;
                Coming { at, length, predicted: f32::from(predicted) }
            })
            .collect();
        let config = format!("true_slowdown = {BOUND}");
        let times = serve(&config, &jobs, ROOM, false);
        for (job, (came, ended)) in jobs.iter().zip(times) {
            prop_assert!(ended - came <= BOUND / 2 * (u64::from(job.length) + 1), "{:?}", job);
        }
    }
}
