//! A boost for jobs that starve, counted in iterations, with its clock in the job's own two words.
//!
//! A job that has not run for so many iterations comes to the front until it has run for so many.
//! This is the rule of vllm-ltr, which looks at every iteration; here nobody need: the clock is
//! read off two counters of the host, so that it shows the same however often a policy is asked.

/// When a job starves, and for how long it is in front then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boost {
    /// Iterations without a run after which a job starves.
    pub idle_iterations: u64,
    /// Runs for which it stays in front, in tokens: a run is an iteration that gives it one. With 0
    /// nobody is ever boosted.
    pub runs: u32,
}

/// What the clock of a job shows, from the columns of the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// `job-last-run-iteration`.
    pub last_run_iteration: u64,
    /// `job-generated-tokens`.
    pub generated_tokens: u32,
    /// `job-state-a` and `job-state-b`: the iteration at which it was first seen, plus one; and
    /// the tokens at which its boost is over.
    pub words: [u64; 2],
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// It is to be in front.
    pub boosted: bool,
    /// What its words must be from now on.
    pub words: [u64; 2],
    /// Iterations after which it may stand elsewhere by itself: at the soonest, since a boost lasts
    /// while there is no slot to use it.
    pub stands_for: u64,
}

impl Boost {
    /// Where a job stands at that iteration of its worker.
    pub fn turn(self, iteration: u64, clock: Clock) -> Turn {
        if self.runs == 0 {
            return Turn {
                boosted: false,
                words: clock.words,
                stands_for: u64::MAX,
            };
        }
        let [seen, until] = clock.words;
        // Counters that are ahead of this worker's are another's, where the job was before.
        let here = |at: &u64| *at <= iteration;
        let seen = seen.checked_sub(1).filter(here).unwrap_or(iteration);
        let last_run = Some(clock.last_run_iteration).filter(here).unwrap_or(0);
        let idle = iteration - seen.max(last_run);
        let generated = u64::from(clock.generated_tokens);
        let runs = u64::from(self.runs);
        // An end that lies further off than a whole boost was not written by this rule.
        let under_way = (generated + 1..=generated + runs).contains(&until);
        let until = if idle >= self.idle_iterations {
            generated + runs
        } else if under_way {
            until
        } else {
            0
        };
        let boosted = until > generated;
        let stands_for = if boosted {
            until - generated
        } else {
            self.idle_iterations.saturating_sub(idle).max(1)
        };
        Turn {
            boosted,
            words: [seen + 1, until],
            stands_for,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOOST: Boost = Boost {
        idle_iterations: 200,
        runs: 10,
    };

    fn clock(last_run_iteration: u64, generated_tokens: u32, words: [u64; 2]) -> Clock {
        Clock {
            last_run_iteration,
            generated_tokens,
            words,
        }
    }

    #[test]
    fn a_job_starves_from_when_it_was_first_seen_or_last_ran() {
        let fresh = BOOST.turn(1_000, clock(0, 0, [0, 0]));
        assert_eq!((fresh.boosted, fresh.words), (false, [1_001, 0]));
        assert_eq!(fresh.stands_for, 200);
        let almost = BOOST.turn(1_199, clock(0, 0, fresh.words));
        assert_eq!((almost.boosted, almost.stands_for), (false, 1));
        assert!(BOOST.turn(1_200, clock(0, 0, fresh.words)).boosted);
        assert!(!BOOST.turn(1_200, clock(1_100, 5, fresh.words)).boosted);
        assert!(BOOST.turn(1_300, clock(1_100, 5, fresh.words)).boosted);
    }

    #[test]
    fn it_stays_in_front_for_so_many_tokens_however_long_it_waits_for_a_slot() {
        let starved = BOOST.turn(200, clock(0, 3, [1, 0]));
        assert_eq!(starved.words, [1, 13]);
        assert_eq!(starved.stands_for, 10);
        assert!(BOOST.turn(900, clock(0, 3, starved.words)).boosted);
        let runs = BOOST.turn(908, clock(908, 11, starved.words));
        assert_eq!((runs.boosted, runs.stands_for), (true, 2));
        let over = BOOST.turn(910, clock(910, 13, starved.words));
        assert_eq!((over.boosted, over.words), (false, [1, 0]));
    }

    #[test]
    fn a_clock_of_another_worker_or_another_policy_starts_anew() {
        let moved = BOOST.turn(50, clock(7_000, 0, [6_001, 0]));
        assert_eq!((moved.boosted, moved.words), (false, [51, 0]));
        let foreign = BOOST.turn(50, clock(50, 4, [u64::MAX, u64::MAX]));
        assert_eq!((foreign.boosted, foreign.words), (false, [51, 0]));
    }

    #[test]
    fn no_runs_are_no_boost() {
        let none = Boost { runs: 0, ..BOOST };
        let turn = none.turn(5_000, clock(0, 7, [1, 0]));
        assert_eq!((turn.boosted, turn.stands_for), (false, u64::MAX));
    }

    proptest! {
        /// The authors count down at every iteration; the clock that is only read now and then says
        /// the same at each.
        #[test]
        fn it_is_the_count_at_every_iteration(
            runs in prop::collection::vec(any::<bool>(), 1..400),
            idle_iterations in 1u64..20,
            quantum in 1u32..6,
            look in prop::collection::vec(any::<bool>(), 400),
        ) {
            let boost = Boost { idle_iterations, runs: quantum };
            let (mut idle, mut left) = (0u64, 0u32);
            let (mut clock, mut seen) = (clock(0, 0, [1, 0]), [1, 0]);
            for (iteration, &ran) in (1u64..).zip(&runs) {
                if ran {
                    idle = 0;
                    left = left.saturating_sub(1);
                    clock.generated_tokens += 1;
                    clock.last_run_iteration = iteration;
                } else {
                    idle += 1;
                }
                if idle >= idle_iterations {
                    left = quantum;
                }
                // Whoever starves must be looked at before it runs, or nobody knows that it did.
                let starved = idle >= idle_iterations;
                if look[iteration as usize % 400] || starved {
                    let turn = boost.turn(iteration, Clock { words: seen, ..clock });
                    prop_assert_eq!(turn.boosted, left > 0, "iteration {}", iteration);
                    seen = turn.words;
                }
            }
        }
    }
}
