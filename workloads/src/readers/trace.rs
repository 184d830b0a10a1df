//! A trace as read, put into one shape whatever its format.

use std::sync::Arc;

use crate::error::WorkloadError;
use crate::provenance::SourceRecord;
use crate::readers::Format;
use crate::responses::Response;
use crate::source::Source;

/// The lengths of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLengths {
    /// Length of the prompt, at least 1.
    pub prompt_tokens: u32,
    /// Length of the response, at least 1.
    pub output_tokens: u32,
}

/// A trace in memory: requests in order of arrival.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// The format it was read as.
    pub format: Format,
    /// The file.
    pub source: SourceRecord,
    /// Arrival times in nanoseconds since the first, ascending, one a request; `None` where the
    /// file holds lengths only.
    pub times_ns: Option<Vec<u64>>,
    /// The lengths, at least one.
    pub lengths: Vec<RequestLengths>,
    /// The texts, one a request, or none at all: only `responses:` files have them.
    pub texts: Vec<Arc<Response>>,
    /// Further files that were read for it.
    pub inputs: Vec<SourceRecord>,
    /// What was skipped, clamped or sorted.
    pub notes: Vec<String>,
}

/// Collects the rows of a file.
#[derive(Default)]
pub(super) struct Builder {
    times_ns: Vec<u64>,
    lengths: Vec<RequestLengths>,
    clamped: u64,
    /// Notes of the format's own.
    pub(super) notes: Vec<String>,
}

impl Builder {
    /// Adds a request; `time_ns` on any clock, and present either always or never, which the
    /// readers see to. Lengths of 0 become 1, since a request has a prompt and an answer.
    pub(super) fn push(&mut self, time_ns: Option<u64>, prompt_tokens: u32, output_tokens: u32) {
        self.times_ns.extend(time_ns);
        self.clamped += u64::from(prompt_tokens == 0 || output_tokens == 0);
        self.lengths.push(RequestLengths {
            prompt_tokens: prompt_tokens.max(1),
            output_tokens: output_tokens.max(1),
        });
    }

    /// Sorts by time and shifts the first arrival to 0.
    pub(super) fn finish(
        mut self,
        format: Format,
        source: &Source,
    ) -> Result<Trace, WorkloadError> {
        if self.lengths.is_empty() {
            return Err(WorkloadError::Empty {
                path: source.path.clone(),
            });
        }
        if self.clamped > 0 {
            self.notes.push(format!(
                "{} requests had a length of 0, raised to 1",
                self.clamped
            ));
        }
        if !self.times_ns.is_sorted() {
            let late = self.times_ns.windows(2).filter(|w| w[1] < w[0]).count();
            self.notes.push(format!(
                "sorted by arrival: {late} rows came before their elders"
            ));
            let mut rows: Vec<_> = self
                .times_ns
                .drain(..)
                .zip(self.lengths.drain(..))
                .collect();
            rows.sort_by_key(|row| row.0);
            (self.times_ns, self.lengths) = rows.into_iter().unzip();
        }
        let first_ns = self.times_ns.first().copied();
        let times_ns =
            first_ns.map(|first| self.times_ns.iter().map(|time| time - first).collect());
        Ok(Trace {
            format,
            source: SourceRecord {
                format: format.name().to_owned(),
                path: source.path.clone(),
                sha256: source.sha256.clone(),
                rows_read: self.lengths.len() as u64,
            },
            times_ns,
            lengths: self.lengths,
            texts: Vec::new(),
            inputs: Vec::new(),
            notes: self.notes,
        })
    }
}
