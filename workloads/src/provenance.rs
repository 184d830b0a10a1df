//! How a stream came about, for the result file.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::limits::Limits;
use crate::stats;
use crate::workload::Arrival;

/// A file that went into a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceRecord {
    /// The format, e.g. `azure`, or `spec` for a TOML spec.
    pub format: String,
    /// The path as the user wrote it.
    pub path: String,
    /// SHA-256 of the stored file (packed, if it is packed), in lower case hexadecimal.
    pub sha256: String,
    /// Requests read from it; 0 for a spec.
    pub rows_read: u64,
}

/// The arrival process that was really used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArrivalRecord {
    /// `trace` for recorded arrivals, otherwise the process, e.g. `gamma`.
    pub kind: String,
    /// What the process was given, e.g. `shape` and `rate_rps`.
    pub parameters: BTreeMap<String, f64>,
    /// Gaps a second over the produced stream; absent below two requests or without duration.
    pub measured_rate_rps: Option<f64>,
    /// Coefficient of variation of the produced gaps; absent where it is not defined.
    pub measured_cv: Option<f64>,
    /// From the first to the last arrival of the produced stream.
    pub measured_duration_s: f64,
}

impl ArrivalRecord {
    /// A record that is not measured yet.
    pub(crate) fn new(kind: &str, parameters: &[(&str, f64)]) -> Self {
        Self {
            kind: kind.to_owned(),
            parameters: parameters
                .iter()
                .map(|(k, v)| ((*k).to_owned(), *v))
                .collect(),
            measured_rate_rps: None,
            measured_cv: None,
            measured_duration_s: 0.0,
        }
    }

    /// Fills in what the finished stream shows.
    pub(crate) fn measure(&mut self, arrivals: &[Arrival]) {
        let gaps_s = stats::gaps_s(arrivals.iter().map(|a| a.arrival_ns));
        let mean_s = stats::mean(&gaps_s);
        self.measured_duration_s = arrivals.last().map_or(0.0, |a| a.arrival_ns as f64 / 1e9);
        self.measured_rate_rps = mean_s.filter(|m| *m > 0.0).map(|m| 1.0 / m);
        self.measured_cv = stats::cv(&gaps_s);
    }
}

/// Where the lengths come from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LengthRecord {
    /// `trace` for recorded lengths, otherwise e.g. `lognormal`.
    pub kind: String,
    /// What the distribution was given, e.g. `output.mu`.
    pub parameters: BTreeMap<String, f64>,
}

/// Which part of the available stream was taken.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cut {
    /// At most this many requests, if asked for.
    pub take: Option<u64>,
    /// Only arrivals before this time of the produced stream, if asked for.
    pub for_s: Option<f64>,
    /// Rows by which a recorded trace was rotated; 0 is the trace as it stands.
    pub rotated_rows: u64,
}

/// One class of a mix, a tenant or a priority.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShareRecord {
    /// The tenant's name, or the priority class in digits.
    pub name: String,
    /// Its part of the requests, as drawn from, adding up to 1.
    pub share: f64,
    /// What a tenant is entitled to beside the others, where a policy is fair by weight.
    #[serde(skip_serializing_if = "is_one")]
    pub weight: f64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn is_one(weight: &f64) -> bool {
    *weight == 1.0
}

/// The deadlines every request got; 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct DeadlineRecord {
    /// First token, after the arrival.
    pub ttft_ms: f64,
    /// Whole response, after the arrival.
    pub jct_ms: f64,
}

/// How a stream came about: all a result file must say about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Provenance {
    /// The spec's name, or the reference as the user wrote it.
    pub name: String,
    /// The file the user named.
    pub source: SourceRecord,
    /// Files that a spec pointed at.
    pub inputs: Vec<SourceRecord>,
    /// The arrival process that was really used, with its measured rate and burstiness.
    pub arrivals: ArrivalRecord,
    /// Where the lengths come from.
    pub lengths: LengthRecord,
    /// What all arrival times were divided by, beyond the process's own rate.
    pub speedup: f64,
    /// Which part was taken.
    pub cut: Cut,
    /// Seed of everything random.
    pub seed: u64,
    /// The tenants, by index.
    pub tenants: Vec<ShareRecord>,
    /// The priority classes.
    pub priorities: Vec<ShareRecord>,
    /// The deadlines.
    pub deadlines: DeadlineRecord,
    /// The caps on lengths.
    pub limits: Limits,
    /// What else a reader should know, e.g. rows that were skipped or clamped.
    pub notes: Vec<String>,
}
