//! Whatever happens, a question ends exactly once.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::super::question::{Ending, ShedCause};
use super::super::worker::Next;
use super::super::{Options, Submitted};
use super::fake::{Hand, predicted, question};

/// What may happen to a service.
#[derive(Debug, Clone)]
enum Event {
    Submit { job: u64, prompt: &'static str },
    Cancel { job: u64 },
    Turn { after_ns: u64 },
}

fn event() -> impl Strategy<Value = Event> {
    let prompt = prop::sample::select(vec!["a", "bb", "ccc", "d", "error", "panic", "short"]);
    prop_oneof![
        6 => (0_u64..8, prompt).prop_map(|(job, prompt)| Event::Submit { job, prompt }),
        1 => (0_u64..8).prop_map(|job| Event::Cancel { job }),
        3 => (0_u64..150).prop_map(|after_ns| Event::Turn { after_ns }),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    (1_usize..5, 0_u64..100, 0_u64..300, 1_usize..6, 0_usize..4).prop_map(
        |(max_batch, max_delay_ns, older_ns, queue_len, cache_len)| Options {
            max_batch,
            max_delay_ns,
            max_age_ns: max_delay_ns + older_ns,
            queue_len,
            cache_len,
        },
    )
}

proptest! {
    #[test]
    fn every_question_ends_exactly_once(
        options in options(),
        events in prop::collection::vec(event(), 1..120),
    ) {
        let mut hand = Hand::new(options);
        let mut asked = HashMap::new();
        let mut now_ns = 0;
        for (step, event) in (0..).zip(events) {
            match event {
                Event::Submit { job, prompt } => {
                    let question = question(job, step, prompt);
                    asked.insert(step, question.clone());
                    prop_assert_ne!(hand.submit(question), Submitted::Closed);
                }
                Event::Cancel { job } => hand.shared.cancel(job, None),
                Event::Turn { after_ns } => {
                    now_ns = hand.now_ns.load(Ordering::Relaxed) + after_ns;
                    hand.at(now_ns);
                }
            }
        }
        hand.shared.closing.store(true, Ordering::SeqCst);
        prop_assert_eq!(hand.submit(question(1, 0, "late")), Submitted::Closed);
        while hand.at(now_ns) != Next::Done {}
        hand.shared.close();
        let answers = hand.answers();
        prop_assert_eq!(answers.len(), asked.len());
        for answer in &answers {
            // Removed, so that a second end would not be found.
            let question = asked.remove(&answer.step);
            let question = question.ok_or_else(|| TestCaseError::fail("ended twice"))?;
            prop_assert_eq!(question.job, answer.job);
            if let Ending::Answered { .. } = answer.ending {
                prop_assert_eq!(answer.prediction, predicted(&question));
            } else {
                prop_assert!(answer.prediction.remaining_tokens.is_nan());
            }
            prop_assert_ne!(answer.ending, Ending::Shed(ShedCause::Closed), "it was let finish");
        }
        let stats = hand.stats();
        prop_assert_eq!(stats.submitted, answers.len() as u64);
        prop_assert_eq!(stats.waiting, 0);
        prop_assert_eq!(stats.latency_ns.count, stats.answered);
        let largest = hand.log.lock().unwrap().batches.iter().map(Vec::len).max();
        prop_assert!(largest.unwrap_or(0) <= options.max_batch);
    }
}
