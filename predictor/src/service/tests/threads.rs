//! The service on real threads: nobody waits, nothing is lost.

use std::collections::HashSet;
use std::sync::{Arc, Barrier, mpsc};
use std::thread;

use super::super::question::{BatchModel, Ending, ModelError, Question, ShedCause};
use super::super::{Options, Service, ServiceError, Submitted};
use super::fake::{Fake, predicted, question};
use crate::predict::Prediction;

/// A model that waits twice in its first batch: when it is in it, and until it may go on.
struct Blocked {
    barrier: Arc<Barrier>,
    first: bool,
}

impl BatchModel for Blocked {
    fn digest(&self) -> &str {
        "blocked"
    }

    fn predict(&mut self, batch: &[Question]) -> Result<Vec<Prediction>, ModelError> {
        if std::mem::take(&mut self.first) {
            self.barrier.wait();
            self.barrier.wait();
        }
        Ok(batch.iter().map(predicted).collect())
    }
}

fn eager() -> Options {
    Options {
        max_batch: 2,
        max_delay_ns: 0,
        max_age_ns: u64::MAX,
        queue_len: 4,
        cache_len: 0,
    }
}

#[test]
fn nobody_waits_for_a_model_that_hangs() {
    let barrier = Arc::new(Barrier::new(2));
    let model = Blocked {
        barrier: Arc::clone(&barrier),
        first: true,
    };
    let service = Service::start(model, eager(), || {}).unwrap();
    service.submit(question(0, 0, "a"));
    barrier.wait();
    // The model is in its batch and stays there: if any of these waited, the test would hang.
    let told: Vec<_> = (1..=10)
        .map(|job| service.submit(question(job, 0, "a")))
        .collect();
    assert_eq!(told[..4], [Submitted::Queued; 4]);
    for (job, told) in (1..).zip(&told[4..]) {
        assert_eq!(*told, Submitted::Shed { job, step: 0 });
    }
    service.cancel(0);
    service.cancel(10);
    let mut answers = Vec::new();
    assert_eq!(
        service.drain(&mut answers),
        6,
        "the shed ones are told at once"
    );
    let shed = Ending::Shed(ShedCause::Full);
    assert!(answers.iter().all(|a| a.ending == shed));
    assert_eq!(service.stats().waiting, 5);
    barrier.wait();
    service.shutdown();
    answers.clear();
    service.drain(&mut answers);
    answers.sort_by_key(|a| a.job);
    let ends: Vec<_> = answers.iter().map(|a| (a.job, a.ending)).collect();
    let answered = Ending::Answered { cached: false };
    let cancelled = Ending::Cancelled;
    let want = [
        (0, cancelled),
        (7, answered),
        (8, answered),
        (9, answered),
        (10, cancelled),
    ];
    assert_eq!(ends, want);
    assert_eq!(service.submit(question(1, 0, "a")), Submitted::Closed);
}

#[test]
fn an_answer_comes_by_itself_and_is_announced() {
    let (send, told) = mpsc::channel();
    let notify = move || send.send(()).unwrap_or_default();
    let service = Service::start(Fake::default(), eager(), notify).unwrap();
    service.submit(question(1, 2, "abc"));
    told.recv().unwrap();
    let answer = service.try_recv().unwrap();
    assert_eq!((answer.job, answer.step), (1, 2));
    assert_eq!(answer.prediction, predicted(&question(1, 2, "abc")));
    assert!(service.try_recv().is_none());
}

#[test]
fn many_callers_and_a_shutdown_in_their_midst_lose_nothing() {
    let (send, told) = mpsc::channel();
    let notify = move || send.send(()).unwrap_or_default();
    let options = Options {
        max_batch: 8,
        queue_len: 32,
        cache_len: 16,
        ..eager()
    };
    let service = Service::start(Fake::default(), options, notify).unwrap();
    let prompts = ["a", "bb", "error", "panic", "ccc"];
    let taken: usize = thread::scope(|scope| {
        let callers: Vec<_> = (0..4_u32)
            .map(|caller| {
                let service = &service;
                scope.spawn(move || {
                    let asked = (0..500_u32).filter(|i| {
                        let step = caller * 1_000 + i;
                        let job = u64::from(i % 37);
                        if i % 11 == 0 {
                            service.cancel(job);
                        }
                        let prompt = prompts[(step % 5) as usize];
                        service.submit(question(job, step, prompt)) != Submitted::Closed
                    });
                    asked.count()
                })
            })
            .collect();
        told.recv().unwrap();
        service.shutdown();
        callers.into_iter().map(|c| c.join().unwrap()).sum()
    });
    let mut answers = Vec::new();
    service.drain(&mut answers);
    let steps: HashSet<u32> = answers.iter().map(|a| a.step).collect();
    assert_eq!((answers.len(), steps.len()), (taken, taken));
    let stats = service.stats();
    assert_eq!((stats.submitted, stats.waiting), (taken as u64, 0));
}

#[test]
fn options_that_cannot_work_are_refused() {
    let start = |options| Service::start(Fake::default(), options, || {}).unwrap_err();
    let none = Options {
        max_batch: 0,
        ..eager()
    };
    let text = start(none).to_string();
    assert_eq!(text, "prediction service: max_batch is 0; give 1 or more");
    let old = Options {
        max_delay_ns: 2,
        max_age_ns: 1,
        ..eager()
    };
    assert!(matches!(start(old), ServiceError::AgeBelowDelay { .. }));
}
