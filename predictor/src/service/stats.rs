//! What the service counts: a snapshot for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::question::{Ending, ShedCause};

/// The longest time that is told from longer ones: an hour.
const LONGEST_NS: u64 = 3_600_000_000_000;
/// The largest batch that is told from larger ones.
const LARGEST_BATCH: u64 = 1 << 20;

/// A distribution in a few figures; all are 0 where nothing was counted.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Quantiles {
    /// How many values were counted.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// The median, to two digits, like all that follow.
    pub p50: u64,
    /// The 0.9 quantile.
    pub p90: u64,
    /// The 0.99 quantile.
    pub p99: u64,
    /// The largest.
    pub max: u64,
}

impl Quantiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            count: histogram.len(),
            mean: histogram.mean(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            max: histogram.max(),
        }
    }
}

/// What the service has done since it started. While it works the figures may be apart by the
/// questions under way; once it is shut down `submitted` is the sum of all ends.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Stats {
    /// Questions that were taken in.
    pub submitted: u64,
    /// Questions that were answered, by the model or from the cache.
    pub answered: u64,
    /// Those of them that came from the cache.
    pub cached: u64,
    /// Questions that were looked up in the cache and not found.
    pub cache_misses: u64,
    /// Questions whose batch failed.
    pub failed: u64,
    /// Questions that a newer one of their job replaced.
    pub replaced: u64,
    /// Questions whose job was cancelled.
    pub cancelled: u64,
    /// Questions thrown away since the queue was full.
    pub shed_full: u64,
    /// Questions thrown away since they had become too old.
    pub shed_age: u64,
    /// Questions thrown away since the service was shut down.
    pub shed_closed: u64,
    /// Questions that have not ended yet.
    pub waiting: u64,
    /// Hidden states that the model was handed.
    pub states: u64,
    /// Hidden states thrown away since too many waited.
    pub states_shed: u64,
    /// Batches that the model was given.
    pub batches: u64,
    /// Batches that it did not answer.
    pub failed_batches: u64,
    /// Times that it panicked.
    pub panics: u64,
    /// What it said when it failed last.
    pub last_failure: Option<String>,
    /// Questions in a batch.
    pub batch_size: Quantiles,
    /// Nanoseconds from the submission to the answer.
    pub latency_ns: Quantiles,
    /// Nanoseconds that the model took for a batch.
    pub batch_ns: Quantiles,
    /// Nanoseconds of the clock that the model was busy.
    pub model_busy_ns: u64,
    /// Nanoseconds of a processor that the service's thread has used; less than busy where others
    /// wanted the core too. Threads that the model starts itself are not in it.
    pub thread_cpu_ns: u64,
    /// Nanoseconds since the service started.
    pub uptime_ns: u64,
}

impl Stats {
    /// The share of one core that predictions have cost, from 0 to 1.
    #[must_use]
    pub fn core_share(&self) -> f64 {
        self.thread_cpu_ns as f64 / self.uptime_ns.max(1) as f64
    }
}

/// The counts that any thread raises.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) submitted: AtomicU64,
    answered: AtomicU64,
    cached: AtomicU64,
    failed: AtomicU64,
    replaced: AtomicU64,
    cancelled: AtomicU64,
    shed_full: AtomicU64,
    shed_age: AtomicU64,
    shed_closed: AtomicU64,
    pub(super) states: AtomicU64,
    pub(super) states_shed: AtomicU64,
}

impl Counts {
    /// Counts an end.
    pub(super) fn count(&self, ending: Ending) {
        let count = match ending {
            Ending::Answered { cached } => {
                self.cached.fetch_add(cached.into(), Ordering::Relaxed);
                &self.answered
            }
            Ending::Failed => &self.failed,
            Ending::Replaced => &self.replaced,
            Ending::Cancelled => &self.cancelled,
            Ending::Shed(ShedCause::Full) => &self.shed_full,
            Ending::Shed(ShedCause::Age) => &self.shed_age,
            Ending::Shed(ShedCause::Closed) => &self.shed_closed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// What only the thread of the service counts.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) cache_misses: u64,
    pub(super) failed_batches: u64,
    pub(super) panics: u64,
    pub(super) last_failure: Option<String>,
    pub(super) model_busy_ns: u64,
    pub(super) thread_cpu_ns: u64,
    batch_size: Option<Histogram<u64>>,
    latency_ns: Option<Histogram<u64>>,
    batch_ns: Option<Histogram<u64>>,
}

impl Record {
    /// Nothing counted.
    pub(super) fn new() -> Self {
        // Two digits; bounds like these are never refused.
        let histogram = |most| Histogram::new_with_bounds(1, most, 2).ok();
        Self {
            cache_misses: 0,
            failed_batches: 0,
            panics: 0,
            last_failure: None,
            model_busy_ns: 0,
            thread_cpu_ns: 0,
            batch_size: histogram(LARGEST_BATCH),
            latency_ns: histogram(LONGEST_NS),
            batch_ns: histogram(LONGEST_NS),
        }
    }

    /// Counts a batch of so many questions that took so long.
    pub(super) fn batch(&mut self, len: usize, took_ns: u64) {
        self.model_busy_ns += took_ns;
        record(&mut self.batch_size, len as u64);
        record(&mut self.batch_ns, took_ns);
    }

    /// Counts an answer that came so long after its question.
    pub(super) fn answer(&mut self, latency_ns: u64) {
        record(&mut self.latency_ns, latency_ns);
    }

    /// Counts a batch that came to nothing.
    pub(super) fn failure(&mut self, why: String) {
        self.failed_batches += 1;
        self.last_failure = Some(why);
    }

    /// All figures together.
    pub(super) fn snapshot(&self, counts: &Counts, uptime_ns: u64) -> Stats {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let quantiles = |histogram: &Option<Histogram<u64>>| {
            histogram.as_ref().map(Quantiles::of).unwrap_or_default()
        };
        let batch_size = quantiles(&self.batch_size);
        let mut stats = Stats {
            submitted: get(&counts.submitted),
            answered: get(&counts.answered),
            cached: get(&counts.cached),
            cache_misses: self.cache_misses,
            failed: get(&counts.failed),
            replaced: get(&counts.replaced),
            cancelled: get(&counts.cancelled),
            shed_full: get(&counts.shed_full),
            shed_age: get(&counts.shed_age),
            shed_closed: get(&counts.shed_closed),
            waiting: 0,
            states: get(&counts.states),
            states_shed: get(&counts.states_shed),
            batches: batch_size.count,
            failed_batches: self.failed_batches,
            panics: self.panics,
            last_failure: self.last_failure.clone(),
            batch_size,
            latency_ns: quantiles(&self.latency_ns),
            batch_ns: quantiles(&self.batch_ns),
            model_busy_ns: self.model_busy_ns,
            thread_cpu_ns: self.thread_cpu_ns,
            uptime_ns,
        };
        let ended = stats.answered
            + stats.failed
            + stats.replaced
            + stats.cancelled
            + stats.shed_full
            + stats.shed_age
            + stats.shed_closed;
        stats.waiting = stats.submitted.saturating_sub(ended);
        stats
    }
}

fn record(histogram: &mut Option<Histogram<u64>>, value: u64) {
    if let Some(histogram) = histogram {
        histogram.saturating_record(value);
    }
}
