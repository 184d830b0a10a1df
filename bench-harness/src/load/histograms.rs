//! HdrHistogram recordings of latencies: for the figures while a run goes on, and as an interval
//! log that other tools read and merge. Reports are computed from the exact values.

use std::io::Write;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogWriterBuilder, IntervalLogWriterError, Tag,
};

use super::record::Record;
use super::session::PolicyRun;
use crate::stats::Metric;

/// The largest value: a day.
const MAX_NS: u64 = 86_400_000_000_000;
/// Digits that are kept of a value.
const DIGITS: u8 = 3;

/// Latencies of completed requests, nanoseconds.
#[derive(Debug, Clone)]
pub struct Recordings {
    /// Job completion times.
    pub jct: Histogram<u64>,
    /// Times to the first token.
    pub ttft: Histogram<u64>,
    /// Times per later token.
    pub tpot: Histogram<u64>,
}

/// A log could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the histograms could not be written: {0}")]
pub struct LogError(String);

impl Recordings {
    /// Nothing is recorded yet.
    ///
    /// # Errors
    /// The bounds are refused, which they are not.
    pub fn new() -> Result<Self, hdrhistogram::CreationError> {
        let empty = Histogram::new_with_bounds(1, MAX_NS, DIGITS)?;
        Ok(Self {
            jct: empty.clone(),
            ttft: empty.clone(),
            tpot: empty,
        })
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.jct.reset();
        self.ttft.reset();
        self.tpot.reset();
    }

    /// Takes in a record; one that did not complete has no latencies.
    pub fn add(&mut self, record: &Record) {
        let outcome = record.outcome();
        let all = [
            (&mut self.jct, Metric::Jct),
            (&mut self.ttft, Metric::Ttft),
            (&mut self.tpot, Metric::Tpot),
        ];
        for (histogram, metric) in all {
            if let Some(ms) = metric.of(&outcome) {
                histogram.saturating_record((ms * 1e6).round() as u64);
            }
        }
    }
}

/// Writes an interval log: three histograms for each run, tagged `POLICY:jct` and so on.
///
/// # Errors
/// It cannot be written.
pub fn write_log(mut out: impl Write, runs: &[PolicyRun]) -> Result<(), LogError> {
    let failed = |error: std::io::Error| LogError(error.to_string());
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("latencies in nanoseconds, from the intended start; the column Max is in ms")
        .with_max_value_divisor(1e6)
        .begin_log_with(&mut out, &mut serializer)
        .map_err(failed)?;
    for run in runs {
        let mut recordings = Recordings::new().map_err(|error| LogError(error.to_string()))?;
        run.run
            .records
            .iter()
            .for_each(|record| recordings.add(record));
        let started = run.run.started.duration_since(SystemTime::UNIX_EPOCH);
        let last_ns = run.run.records.iter().map(|record| record.settled_ns).max();
        let lasted = Duration::from_nanos(last_ns.unwrap_or(0));
        let named = [
            ("jct", &recordings.jct),
            ("ttft", &recordings.ttft),
            ("tpot", &recordings.tpot),
        ];
        for (what, histogram) in named {
            let tag = format!("{}:{what}", run.policy).replace([',', '\r', '\n', ' '], "_");
            let started = started.clone().unwrap_or_default();
            log.write_histogram(histogram, started, lasted, Tag::new(&tag))
                .map_err(|error| match error {
                    IntervalLogWriterError::IoError(error) => failed(error),
                    IntervalLogWriterError::SerializeError(error) => LogError(error.to_string()),
                })?;
        }
    }
    out.flush().map_err(failed)
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::load::engine::Run;
    use crate::load::failure::{Failure, FailureKind};
    use crate::load::record::tests::record;

    #[test]
    fn a_log_can_be_read_again() {
        let mut failed = record(2, 0);
        failed.failure = Some(Failure::new(FailureKind::Timeout, ""));
        let run = PolicyRun {
            policy: "my policy".into(),
            seed: 0,
            position: 0,
            run: Run {
                records: vec![record(0, 0), record(1, 10), failed],
                unsent: 0,
                started: SystemTime::UNIX_EPOCH,
            },
        };
        let mut bytes = Vec::new();
        write_log(&mut bytes, &[run]).unwrap();
        let tags: Vec<String> = IntervalLogIterator::new(&bytes)
            .filter_map(|entry| match entry.unwrap() {
                LogEntry::Interval(interval) => Some(interval.tag().unwrap().to_string()),
                _ => None,
            })
            .collect();
        assert_eq!(tags, ["my_policy:jct", "my_policy:ttft", "my_policy:tpot"]);
    }

    #[test]
    fn what_did_not_complete_has_no_latency() {
        let mut recordings = Recordings::new().unwrap();
        recordings.add(&record(0, 7));
        let mut failed = record(1, 0);
        failed.failure = Some(Failure::new(FailureKind::HangUp, ""));
        recordings.add(&failed);
        assert_eq!((recordings.jct.len(), recordings.tpot.len()), (1, 1));
        let p50_ms = recordings.jct.value_at_quantile(0.5) as f64 / 1e6;
        assert!((p50_ms - 70.0).abs() < 0.1);
    }
}
