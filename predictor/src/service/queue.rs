//! The questions that wait: who goes next, and when. It has no clock; the time is handed in.

use std::collections::{BTreeMap, HashMap};

use super::options::Options;
use super::question::Question;

/// A question on its way through the service.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) question: Question,
    /// Its place among all submissions and cancellations.
    pub(super) ticket: u64,
    /// When it was submitted; its age counts from here.
    pub(super) asked_ns: u64,
}

/// A question in its place.
#[derive(Debug)]
struct Place {
    /// Since when the job waits: a newer question takes the older one's place, or a job that is
    /// asked about often would never be at the head.
    since_ns: u64,
    waiting: Waiting,
}

/// At most one question a job, in the order in which the jobs began to wait.
#[derive(Debug)]
pub(super) struct Queue {
    options: Options,
    places: BTreeMap<u64, Place>,
    place_of: HashMap<u64, u64>,
}

/// What a batch is made of, and what was found too old on the way.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) go: Vec<Waiting>,
    pub(super) too_old: Vec<Waiting>,
}

impl Queue {
    /// Nobody waits.
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            places: BTreeMap::new(),
            place_of: HashMap::new(),
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Lets a question wait; what its job waited with before comes back.
    pub(super) fn insert(&mut self, waiting: Waiting) -> Option<Waiting> {
        let job = waiting.question.job;
        let known = self.place_of.get(&job);
        if let Some(place) = known.and_then(|place| self.places.get_mut(place)) {
            return Some(std::mem::replace(&mut place.waiting, waiting));
        }
        self.place_of.insert(job, waiting.ticket);
        let since_ns = waiting.asked_ns;
        let place = Place { since_ns, waiting };
        self.places.insert(place.waiting.ticket, place);
        None
    }

    /// Takes a job's question out if it was submitted before the ticket.
    pub(super) fn remove(&mut self, job: u64, before: u64) -> Option<Waiting> {
        let place = *self.place_of.get(&job)?;
        if self.places.get(&place)?.waiting.ticket >= before {
            return None;
        }
        self.place_of.remove(&job);
        self.places.remove(&place).map(|place| place.waiting)
    }

    /// Takes out who has waited longest, if too many wait.
    pub(super) fn overflow(&mut self) -> Option<Waiting> {
        if self.len() <= self.options.queue_len {
            return None;
        }
        self.pop()
    }

    /// How long until a batch must go; 0 if it must now, `None` if nobody waits.
    pub(super) fn due_in_ns(&self, now_ns: u64) -> Option<u64> {
        let (_, oldest) = self.places.first_key_value()?;
        if self.len() >= self.options.max_batch {
            return Some(0);
        }
        let waited_ns = now_ns.saturating_sub(oldest.since_ns);
        Some(self.options.max_delay_ns.saturating_sub(waited_ns))
    }

    /// Takes the batch out: who has waited longest, by length, so that equals lie together.
    pub(super) fn take(&mut self, now_ns: u64) -> Batch {
        let mut batch = Batch::default();
        while batch.go.len() < self.options.max_batch {
            let Some(waiting) = self.pop() else { break };
            if now_ns.saturating_sub(waiting.asked_ns) > self.options.max_age_ns {
                batch.too_old.push(waiting);
            } else {
                batch.go.push(waiting);
            }
        }
        batch
            .go
            .sort_by_key(|waiting| (waiting.question.text_bytes(), waiting.ticket));
        batch
    }

    fn pop(&mut self) -> Option<Waiting> {
        let (_, place) = self.places.pop_first()?;
        self.place_of.remove(&place.waiting.question.job);
        Some(place.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(job: u64, ticket: u64, asked_ns: u64, text: &str) -> Waiting {
        Waiting {
            question: Question {
                job,
                prompt: text.into(),
                generated: "".into(),
                prompt_tokens: 1,
                generated_tokens: 0,
                max_new_tokens: 9,
                step: 0,
            },
            ticket,
            asked_ns,
        }
    }

    fn queue() -> Queue {
        Queue::new(Options {
            max_batch: 3,
            max_delay_ns: 10,
            max_age_ns: 100,
            queue_len: 4,
            cache_len: 0,
        })
    }

    fn tickets(batch: &[Waiting]) -> Vec<u64> {
        batch.iter().map(|w| w.ticket).collect()
    }

    #[test]
    fn a_batch_goes_by_size_or_by_delay() {
        let mut queue = queue();
        assert_eq!(queue.due_in_ns(0), None);
        queue.insert(waiting(1, 1, 5, "ccc"));
        assert_eq!(queue.due_in_ns(5), Some(10));
        assert_eq!(queue.due_in_ns(14), Some(1));
        assert_eq!(queue.due_in_ns(15), Some(0));
        queue.insert(waiting(2, 2, 6, "b"));
        assert_eq!(queue.due_in_ns(7), Some(8));
        queue.insert(waiting(3, 3, 7, "aa"));
        assert_eq!(queue.due_in_ns(7), Some(0), "three are a batch");
        queue.insert(waiting(4, 4, 8, ""));
        assert_eq!(
            tickets(&queue.take(8).go),
            [2, 3, 1],
            "the oldest, by length"
        );
        assert_eq!(queue.due_in_ns(8), Some(10));
    }

    #[test]
    fn a_newer_question_keeps_the_place_and_has_its_own_age() {
        let mut queue = queue();
        queue.insert(waiting(1, 1, 0, "x"));
        let old = queue.insert(waiting(1, 2, 9, "xy")).unwrap();
        assert_eq!((old.ticket, queue.len()), (1, 1));
        assert_eq!(queue.due_in_ns(9), Some(1), "the job has waited since 0");
        let batch = queue.take(105);
        assert_eq!((tickets(&batch.go), batch.too_old.len()), (vec![2], 0));
        queue.insert(waiting(1, 3, 0, "x"));
        let batch = queue.take(101);
        assert_eq!((tickets(&batch.too_old), batch.go.len()), (vec![3], 0));
    }

    #[test]
    fn the_oldest_is_shed_and_later_questions_survive_a_cancellation() {
        let mut queue = queue();
        for ticket in 1..=4 {
            queue.insert(waiting(ticket, ticket, 0, ""));
        }
        assert!(queue.overflow().is_none());
        queue.insert(waiting(5, 5, 0, ""));
        assert_eq!(queue.overflow().unwrap().ticket, 1);
        assert!(queue.remove(1, 9).is_none(), "it is gone");
        assert!(
            queue.remove(5, 5).is_none(),
            "it came after the cancellation"
        );
        assert_eq!(queue.remove(5, 6).unwrap().ticket, 5);
    }
}
