//! What is written down of one request.

use elis_sim::outcome::{Ending, RequestOutcome};

use super::answer::Answer;
use super::failure::{Failure, FailureKind};
use crate::stats::metric::UNSEEN_NS;

/// The life of one request as its client saw it; times in nanoseconds since the start of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Position in the workload; the same request has the same id in every run of a stream.
    pub id: u64,
    /// When it was to be sent; all latencies count from here.
    pub intended_ns: u64,
    /// When it was sent; none where it never was.
    pub sent_ns: Option<u64>,
    /// When it was settled, well or not.
    pub settled_ns: u64,
    /// Whether the limit of requests in flight kept it waiting.
    pub held_back: bool,
    /// Length of the prompt in the workload.
    pub prompt_tokens: u32,
    /// Length of the response in the workload.
    pub wanted_tokens: u32,
    /// Who sent it.
    pub tenant: u32,
    /// The user's class.
    pub priority: u32,
    /// What came back.
    pub answer: Answer,
    /// Why it did not complete; none where it did.
    pub failure: Option<Failure>,
}

impl Record {
    /// How it ended, in the words of the simulator.
    pub fn ending(&self) -> Ending {
        match &self.failure {
            None => Ending::Completed,
            Some(failure) if failure.kind.is_refusal() => Ending::Rejected,
            Some(_) => Ending::Lost,
        }
    }

    /// Actual − intended sending, nanoseconds.
    pub fn send_lag_ns(&self) -> Option<u64> {
        Some(self.sent_ns?.saturating_sub(self.intended_ns))
    }

    /// Whether it was at the server when somebody asked to stop, or never got there.
    pub fn is_interrupted(&self) -> bool {
        let kind = self.failure.as_ref().map(|failure| failure.kind);
        matches!(kind, Some(FailureKind::Interrupted | FailureKind::NotSent))
    }

    /// The same in the form that the statistics take. What a client cannot see, the first slot and
    /// the time alone, is left undefined.
    pub fn outcome(&self) -> RequestOutcome {
        let finish_ns = self.answer.last_token_ns.unwrap_or(self.settled_ns);
        let completed = self.failure.is_none();
        RequestOutcome {
            id: self.id,
            arrival_ns: self.intended_ns,
            first_run_ns: UNSEEN_NS,
            first_token_ns: self.answer.first_token_ns.unwrap_or(finish_ns),
            finish_ns: if completed {
                finish_ns
            } else {
                self.settled_ns
            },
            prompt_tokens: self
                .answer
                .usage
                .map_or(self.prompt_tokens, |usage| usage.prompt_tokens),
            output_tokens: self.answer.output_tokens(),
            tenant: self.tenant,
            priority: self.priority,
            worker: 0,
            preemptions: 0,
            overtaken_by: 0,
            predicted_tokens: f32::NAN,
            isolated_ns: 0,
            ending: self.ending(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::load::answer::Usage;
    use crate::stats::Metric;

    /// A response of five tokens: first after 30 ms, last after 70 ms, sent 10 ms late.
    pub(crate) fn record(id: u64, intended_ms: u64) -> Record {
        let at = |ms: u64| (intended_ms + ms) * 1_000_000;
        Record {
            id,
            intended_ns: at(0),
            sent_ns: Some(at(10)),
            settled_ns: at(75),
            held_back: false,
            prompt_tokens: 8,
            wanted_tokens: 5,
            tenant: 0,
            priority: 100,
            answer: Answer {
                status: Some(200),
                first_token_ns: Some(at(30)),
                last_token_ns: Some(at(70)),
                chunks: 4,
                usage: Some(Usage {
                    prompt_tokens: 9,
                    completion_tokens: 5,
                }),
                finish_reason: Some("length".into()),
                done: true,
            },
            failure: None,
        }
    }

    #[test]
    fn latencies_count_from_the_intended_start() {
        let record = record(1, 1_000);
        let outcome = record.outcome();
        let all = [
            Metric::Jct,
            Metric::Ttft,
            Metric::Tpot,
            Metric::Queue,
            Metric::Slowdown,
        ];
        let values = all.map(|metric| metric.of(&outcome));
        assert_eq!(values, [Some(70.0), Some(30.0), Some(10.0), None, None]);
        assert_eq!((outcome.prompt_tokens, outcome.output_tokens), (9, 5));
        assert_eq!(record.send_lag_ns(), Some(10_000_000));
    }

    #[test]
    fn refused_and_lost_are_told_apart() {
        let mut record = record(1, 0);
        let ending = |record: &mut Record, kind| {
            record.failure = Some(Failure::new(kind, ""));
            record.ending()
        };
        assert_eq!(
            ending(&mut record, FailureKind::Status(429)),
            Ending::Rejected
        );
        assert_eq!(ending(&mut record, FailureKind::Timeout), Ending::Lost);
        assert_eq!(Metric::Jct.of(&record.outcome()), None);
    }
}
