//! What the worker does at which moment, without a thread.

use super::super::question::{Ending, ShedCause};
use super::super::worker::Next;
use super::super::{Options, Submitted};
use super::fake::{Hand, predicted, question};

const OPTIONS: Options = Options {
    max_batch: 3,
    max_delay_ns: 100,
    max_age_ns: 1_000,
    queue_len: 4,
    cache_len: 8,
};

fn endings(hand: &Hand) -> Vec<(u64, Ending)> {
    let answers = hand.answers();
    answers.iter().map(|a| (a.job, a.ending)).collect()
}

const ANSWERED: Ending = Ending::Answered { cached: false };

#[test]
fn a_full_batch_goes_at_once_and_a_small_one_waits() {
    let mut hand = Hand::new(OPTIONS);
    assert_eq!(hand.at(0), Next::Wait(None));
    for (job, prompt) in [(1, "ccc"), (2, "a"), (3, "bb"), (4, "d")] {
        assert_eq!(hand.submit(question(job, 0, prompt)), Submitted::Queued);
    }
    assert_eq!(hand.at(10), Next::Turn);
    assert_eq!(hand.log.lock().unwrap().batches, [[2, 3, 1]], "by length");
    assert_eq!(hand.at(50), Next::Wait(Some(50)));
    assert_eq!(hand.at(100), Next::Turn);
    assert_eq!(hand.at(101), Next::Wait(None));
    let answers = hand.answers();
    assert!(answers.iter().all(|a| a.ending == ANSWERED));
    assert_eq!(answers[0].prediction, predicted(&question(2, 0, "a")));
    // Asked at 0, looked at at 10, three questions of 5 ns each.
    assert_eq!(answers[0].latency_ns, 25);
    let stats = hand.stats();
    assert_eq!((stats.batches, stats.batch_size.max), (2, 3));
    assert_eq!((stats.answered, stats.waiting), (4, 0));
    assert_eq!((stats.model_busy_ns, stats.latency_ns.count), (20, 4));
}

#[test]
fn the_same_content_is_answered_from_the_cache() {
    let mut hand = Hand::new(OPTIONS);
    hand.submit(question(1, 0, "a"));
    hand.at(100);
    hand.submit(question(2, 0, "a"));
    assert_eq!(hand.at(101), Next::Wait(None), "no batch is needed");
    assert_eq!(
        endings(&hand),
        [(1, ANSWERED), (2, Ending::Answered { cached: true })]
    );
    // What still waited of the job is replaced by the answer.
    hand.submit(question(3, 0, "new"));
    hand.at(102);
    hand.submit(question(3, 0, "a"));
    hand.at(103);
    assert_eq!(
        endings(&hand),
        [
            (3, Ending::Replaced),
            (3, Ending::Answered { cached: true })
        ]
    );
    let stats = hand.stats();
    assert_eq!((stats.cached, stats.cache_misses), (2, 2));
}

#[test]
fn the_oldest_is_shed_where_the_inbox_is_full_and_where_the_queue_is() {
    let mut hand = Hand::new(Options {
        max_batch: 9,
        ..OPTIONS
    });
    for job in 1..=4 {
        assert_eq!(hand.submit(question(job, 7, "x")), Submitted::Queued);
    }
    let told = hand.submit(question(5, 7, "x"));
    assert_eq!(told, Submitted::Shed { job: 1, step: 7 });
    hand.at(1);
    assert_eq!(hand.submit(question(6, 7, "x")), Submitted::Queued);
    hand.at(2);
    let full = Ending::Shed(ShedCause::Full);
    assert_eq!(endings(&hand), [(1, full), (2, full)]);
    assert_eq!(hand.stats().shed_full, 2);
}

#[test]
fn an_old_question_is_shed_by_age_and_its_answer_says_nothing() {
    let mut hand = Hand::new(OPTIONS);
    hand.submit(question(1, 0, "x"));
    hand.at(1_001);
    let answer = hand.answers()[0];
    assert_eq!(answer.ending, Ending::Shed(ShedCause::Age));
    assert!(answer.prediction.remaining_tokens.is_nan());
    assert!(hand.log.lock().unwrap().batches.is_empty());
}

#[test]
fn a_cancellation_reaches_what_came_before_it_and_nothing_else() {
    let mut hand = Hand::new(OPTIONS);
    hand.submit(question(1, 0, "in the queue"));
    hand.at(1);
    hand.submit(question(2, 0, "in the inbox"));
    hand.shared.cancel(1, None);
    hand.shared.cancel(2, None);
    hand.submit(question(2, 1, "later"));
    hand.at(2);
    let mut ended = endings(&hand);
    ended.sort_by_key(|(job, _)| *job);
    assert_eq!(ended, [(1, Ending::Cancelled), (2, Ending::Cancelled)]);
    let mut forgotten = hand.log.lock().unwrap().forgotten.clone();
    forgotten.sort_unstable();
    assert_eq!(forgotten, [1, 2]);
    hand.at(102);
    assert_eq!(endings(&hand), [(2, ANSWERED)]);
}

#[test]
fn a_model_that_fails_or_panics_is_asked_again() {
    let mut hand = Hand::new(OPTIONS);
    for (job, prompt) in [(1, "error"), (2, "panic"), (3, "short"), (4, "well")] {
        hand.submit(question(job, 0, prompt));
        hand.at(job * 1_000);
        hand.at(job * 1_000 + 100);
        if prompt == "panic" {
            let told = hand.stats().last_failure;
            assert_eq!(told.as_deref(), Some("the model panicked: out of its mind"));
        }
    }
    let answers = hand.answers();
    let failed = &answers[..3];
    assert!(failed.iter().all(|a| a.ending == Ending::Failed));
    assert!(failed.iter().all(|a| a.prediction.p90_tokens.is_nan()));
    assert_eq!(answers[3].ending, ANSWERED);
    let stats = hand.stats();
    assert_eq!(
        (stats.failed, stats.failed_batches, stats.panics),
        (3, 3, 1)
    );
    assert_eq!(hand.log.lock().unwrap().resets, 1);
    let told = "the model answered 0 of 1 questions";
    assert_eq!(stats.last_failure.as_deref(), Some(told));
}

#[test]
fn hidden_states_come_before_the_question_that_may_need_them() {
    let mut hand = Hand::new(OPTIONS);
    for tokens in 0..5 {
        hand.observe(7, tokens, &[1.0]);
    }
    hand.submit(question(7, 0, "a"));
    hand.at(100);
    let seen = hand.log.lock().unwrap().states.clone();
    assert_eq!(
        seen,
        [(7, 1), (7, 2), (7, 3), (7, 4)],
        "the oldest fell out"
    );
    let stats = hand.stats();
    assert_eq!((stats.states, stats.states_shed), (4, 1));

    // One that cannot be read is told of, and the question is answered all the same.
    hand.observe(8, 0, &[]);
    hand.submit(question(8, 0, "b"));
    hand.at(300);
    assert_eq!(endings(&hand), [(7, ANSWERED), (8, ANSWERED)]);
    assert_eq!(hand.stats().last_failure.as_deref(), Some("an empty state"));
}
