//! Workload specs: a stream described in TOML rather than recorded.

mod file;
mod resolve;

use std::path::{Path, PathBuf};

use crate::arrivals::ArrivalProcess;
use crate::error::WorkloadError;
use crate::lengths::{Marginal, TraceDraw};
use crate::limits::Limits;
use crate::provenance::{DeadlineRecord, ShareRecord, SourceRecord};
use crate::readers::Format;
use crate::shipped;
use crate::source::{Source, sha256_hex};

/// How long the stream is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Size {
    /// So many requests.
    Requests(u64),
    /// All arrivals before so many seconds of the produced stream.
    DurationS(f64),
}

/// A trace that a spec points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceInput {
    /// How to read it.
    pub format: Format,
    /// Where it is, already taken relative to the spec's folder.
    pub path: PathBuf,
}

/// Where the arrival times come from.
#[derive(Debug, Clone, PartialEq)]
pub enum ArrivalPlan {
    /// Generated; the rate may be left to the user and means nothing to a burst.
    Process {
        /// The process.
        process: ArrivalProcess,
        /// Its mean rate in requests per second.
        rate_rps: Option<f64>,
    },
    /// Recorded, rescaled to the rate if there is one.
    Trace {
        /// The trace, which must hold times.
        input: TraceInput,
        /// The mean rate in requests per second.
        rate_rps: Option<f64>,
    },
}

/// Where the lengths come from.
#[derive(Debug, Clone, PartialEq)]
pub enum LengthPlan {
    /// Drawn from distributions.
    Parametric {
        /// Prompt lengths.
        prompt: Marginal,
        /// Output lengths.
        output: Marginal,
        /// Correlation of the normal scores.
        correlation: f64,
    },
    /// Drawn from a trace.
    Trace {
        /// The trace.
        input: TraceInput,
        /// How.
        draw: TraceDraw,
    },
}

/// A class of requests with its priority.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PriorityShare {
    /// The priority its requests carry.
    pub class: u32,
    /// Its part of the requests; all shares add up to 1.
    pub share: f64,
}

/// A checked spec.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// How long it is.
    pub size: Size,
    /// Where the arrivals come from.
    pub arrivals: ArrivalPlan,
    /// Where the lengths come from.
    pub lengths: LengthPlan,
    /// Who sends, at least one tenant; shares add up to 1.
    pub tenants: Vec<ShareRecord>,
    /// The priorities, at least one; shares add up to 1.
    pub priorities: Vec<PriorityShare>,
    /// The deadlines of every request.
    pub deadlines: DeadlineRecord,
    /// The caps on lengths.
    pub limits: Limits,
    /// The spec's own file.
    pub source: SourceRecord,
}

impl Spec {
    /// Reads a spec file.
    ///
    /// # Errors
    ///
    /// [`WorkloadError::Read`] if it cannot be read, otherwise as [`Spec::parse`].
    pub fn open(path: &Path) -> Result<Self, WorkloadError> {
        let source = Source::open(path)?;
        let text = String::from_utf8(source.bytes).map_err(|e| WorkloadError::At {
            path: source.path.clone(),
            line: 1,
            column: e.utf8_error().valid_up_to() as u64 + 1,
            problem: "the spec is not valid UTF-8".to_owned(),
        })?;
        Self::parse(&text, path)
    }

    /// A spec that ships with Elis, by name.
    ///
    /// # Errors
    ///
    /// [`WorkloadError::UnknownWorkload`] if there is none of that name.
    pub fn shipped(name: &str) -> Result<Self, WorkloadError> {
        let found = shipped::find(name).ok_or_else(|| WorkloadError::UnknownWorkload {
            given: name.to_owned(),
        })?;
        Self::parse(found.text, Path::new(&format!("{name}.toml")))
    }

    /// Reads a spec's text; `path` is for messages, and traces are found relative to its folder.
    ///
    /// # Errors
    ///
    /// [`WorkloadError::At`] with the line and column of what is unknown, missing or out of range.
    pub fn parse(text: &str, path: &Path) -> Result<Self, WorkloadError> {
        let shown = path.display().to_string();
        let raw: file::SpecFile = toml::from_str(text).map_err(|e| {
            resolve::at(
                &shown,
                text,
                e.span().map_or(0, |s| s.start),
                e.message().to_owned(),
            )
        })?;
        let source = SourceRecord {
            format: "spec".to_owned(),
            path: shown,
            sha256: sha256_hex(text.as_bytes()),
            rows_read: 0,
        };
        resolve::Resolver {
            text,
            folder: path.parent().unwrap_or_else(|| Path::new("")),
            source,
        }
        .resolve(raw)
    }
}

#[cfg(test)]
mod tests;
