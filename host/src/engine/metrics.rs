//! What the engine counts and measures, for Prometheus.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use elis_scheduler::plan::{PolicyExit, Preemption};
use elis_scheduler::stats::{PlanFault, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::Status;
use super::deck::Board;
use super::recordings::Recorded;

type Outcome = [(&'static str, &'static str); 1];

/// All metrics of an engine.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) requests: Family<Outcome, Counter>,
    pub(crate) prompt_tokens: Counter,
    pub(crate) generated_tokens: Counter,
    pub(crate) ttft: Histogram,
    pub(crate) tpot: Histogram,
    pub(crate) jct: Histogram,
    pub(crate) queueing: Histogram,
    pub(crate) batch: Histogram,
    pub(crate) decision: Histogram,
    pub(crate) prediction_error: Histogram,
    pub(crate) unanswered: Gauge,
    pub(crate) busy: Counter<f64, std::sync::atomic::AtomicU64>,
    pub(crate) gap: Counter<f64, std::sync::atomic::AtomicU64>,
    pub(crate) recorded: Recorded,
    pub(crate) pause: Histogram,
    core: std::sync::Arc<Mutex<(Status, Stats)>>,
}

impl Metrics {
    pub(crate) fn new(board: &std::sync::Arc<Board>) -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 20));
        let mut metrics = Self {
            registry: Registry::with_prefix("elis"),
            requests: Family::default(),
            prompt_tokens: Counter::default(),
            generated_tokens: Counter::default(),
            ttft: seconds(),
            tpot: seconds(),
            jct: seconds(),
            queueing: seconds(),
            batch: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            decision: Histogram::new(exponential_buckets(1e-6, 2.0, 16)),
            prediction_error: Histogram::new(exponential_buckets(1.0, 2.0, 13)),
            unanswered: Gauge::default(),
            busy: Counter::default(),
            gap: Counter::default(),
            recorded: Recorded::default(),
            // Fine enough to tell percentiles that are a tenth apart.
            pause: Histogram::new(exponential_buckets(1e-5, 1.1, 100)),
            core: std::sync::Arc::default(),
        };
        board.register(&mut metrics.registry);
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let all = &mut self.registry;
        all.register(
            "requests",
            "Requests that ended, by outcome",
            self.requests.clone(),
        );
        let tokens = self.prompt_tokens.clone();
        all.register("prompt_tokens", "Tokens of prompts taken in", tokens);
        let tokens = self.generated_tokens.clone();
        all.register("generated_tokens", "Tokens generated", tokens);
        let second = || Unit::Seconds;
        let spans = [
            ("time_to_first_token", "Arrival to first token", &self.ttft),
            (
                "time_per_output_token",
                "Between tokens, mean of a request",
                &self.tpot,
            ),
            ("request_duration", "Arrival to last token (JCT)", &self.jct),
            (
                "queueing_delay",
                "Arrival to the first slot",
                &self.queueing,
            ),
            (
                "decision_duration",
                "One decision of the policy",
                &self.decision,
            ),
        ];
        for (name, help, histogram) in spans {
            all.register_with_unit(name, help, second(), histogram.clone());
        }
        all.register(
            "batch_size",
            "Jobs in the first iteration of a step",
            self.batch.clone(),
        );
        let errors = self.prediction_error.clone();
        all.register(
            "prediction_error_tokens",
            "Absolute error of predictions",
            errors,
        );
        let unanswered = self.unanswered.clone();
        all.register(
            "predictions_unanswered",
            "Predictions shed or failed",
            unanswered,
        );
        let busy = self.busy.clone();
        all.register_with_unit("worker_busy", "Time that workers ran steps", second(), busy);
        let gap = self.gap.clone();
        let help = "Time between steps while jobs were there";
        all.register_with_unit("worker_gap", help, second(), gap);
        let pause = self.pause.clone();
        let help = "Each of these times between steps";
        all.register_with_unit("worker_pause", help, second(), pause);
        let core = std::sync::Arc::clone(&self.core);
        all.register_collector(Box::new(Core(core)));
        all.register_collector(Box::new(self.recorded.clone()));
        self
    }

    /// Notes how the core stands.
    pub(crate) fn note(&self, status: &Status, stats: &Stats) {
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        core.0.clone_from(status);
        core.1.clone_from(stats);
    }

    /// How the core stood last.
    pub(crate) fn status(&self) -> Status {
        let core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        core.0.clone()
    }

    /// Counts the end of a request.
    pub(crate) fn ended(&self, outcome: &'static str) {
        self.requests.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// All metrics as text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

/// What the core counts, encoded when somebody looks.
#[derive(Debug)]
struct Core(std::sync::Arc<Mutex<(Status, Stats)>>);

impl Collector for Core {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let core = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (status, stats) = &*core;
        gauges(&mut encoder, status)?;
        counters(&mut encoder, stats)?;
        let causes = PolicyExit::ALL.map(|exit| (exit.name(), stats.fallbacks[exit as usize]));
        many(
            &mut encoder,
            ("fallbacks", "Decisions without a plan", "cause"),
            &causes,
        )?;
        let faults = PlanFault::ALL.map(|fault| (fault.name(), stats.faults[fault as usize]));
        many(
            &mut encoder,
            ("plan_faults", "Faults found in plans", "kind"),
            &faults,
        )?;
        let modes = [
            ("pause", stats.preemptions[Preemption::Pause as usize]),
            ("swap", stats.preemptions[Preemption::Swap as usize]),
            (
                "recompute",
                stats.preemptions[Preemption::Recompute as usize],
            ),
        ];
        many(
            &mut encoder,
            ("preemptions", "Jobs that lost their slot", "mode"),
            &modes,
        )
    }
}

fn gauges(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let gauges = [
        (
            "requests_waiting",
            "Requests without a slot",
            status.waiting as u64,
        ),
        (
            "requests_running",
            "Requests with a slot",
            status.running as u64,
        ),
        (
            "kv_blocks_used",
            "KV blocks in use",
            status.kv_blocks_used.into(),
        ),
        (
            "kv_blocks",
            "KV blocks of all workers",
            status.kv_blocks_total.into(),
        ),
    ];
    for (name, help, value) in gauges {
        one(encoder, name, help, &ConstGauge::new(value as i64))?;
    }
    Ok(())
}

fn counters(encoder: &mut DescriptorEncoder<'_>, stats: &Stats) -> fmt::Result {
    let counters = [
        ("decisions_asked", "Decisions asked for", stats.asked),
        ("decisions_applied", "Plans that ran", stats.applied),
        ("iterations", "Iterations of all workers", stats.iterations),
        (
            "recomputed_tokens",
            "Tokens computed again",
            stats.recomputed_tokens,
        ),
        (
            "swapped_blocks",
            "KV blocks moved to or from host memory",
            stats.swapped_blocks,
        ),
        (
            "predictions_asked",
            "Predictions asked for",
            stats.predictions,
        ),
        (
            "starvation_boosts",
            "Jobs that the starvation guard put first",
            stats.starvation_boosts,
        ),
    ];
    for (name, help, value) in counters {
        one(encoder, name, help, &ConstCounter::new(value))?;
    }
    Ok(())
}

fn one(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &impl EncodeMetric,
) -> Result<(), fmt::Error> {
    let encoder = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
    metric.encode(encoder)
}

fn many(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, label): (&str, &str, &'static str),
    values: &[(&'static str, u64)],
) -> Result<(), fmt::Error> {
    let kind = ConstCounter::new(0u64).metric_type();
    let mut encoder = encoder.encode_descriptor(name, help, None, kind)?;
    for &(value, count) in values {
        let labels = [(label, value)];
        ConstCounter::new(count).encode(encoder.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_counted_is_in_the_text() {
        let metrics = Metrics::new(&std::sync::Arc::new(Board::new()));
        metrics.ended("stop");
        metrics.ttft.observe(0.5);
        let mut stats = Stats {
            asked: 7,
            ..Stats::default()
        };
        stats.fallbacks[PolicyExit::Trap as usize] = 3;
        metrics.note(&Status::default(), &stats);
        let text = metrics.text();
        for line in [
            "elis_requests_total{outcome=\"stop\"} 1",
            "elis_decisions_asked_total 7",
            "elis_fallbacks_total{cause=\"trap\"} 3",
            "elis_time_to_first_token_seconds_count 1",
            "elis_requests_waiting 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
