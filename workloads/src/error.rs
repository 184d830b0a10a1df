//! What can go wrong when a workload is named, read or generated.

use std::io;

/// Why there is no workload.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The file could not be opened, read or unpacked.
    #[error("{path}: cannot be read: {cause}; check the path and, for .gz, that it is gzip")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// A place in a file is wrong.
    #[error("{path}:{line}:{column}: {problem}")]
    At {
        /// The file.
        path: String,
        /// The line, from 1.
        line: u64,
        /// In CSV the field's number, in JSON and TOML the character's, both from 1.
        column: u64,
        /// What is wrong there.
        problem: String,
    },
    /// The file holds no request.
    #[error("{path}: holds no request; a workload needs at least one")]
    Empty {
        /// The file.
        path: String,
    },
    /// The text names no workload.
    #[error("'{given}' names no workload; write {}", crate::reference::FORMS)]
    UnknownWorkload {
        /// What the user wrote.
        given: String,
    },
    /// The text names no arrival process.
    #[error("'{given}' names no arrival process; write {}", crate::arrivals::FORMS)]
    UnknownArrivals {
        /// What the user wrote.
        given: String,
    },
    /// Arrivals must be generated and nobody said how many a second.
    #[error("{path}: holds lengths but no arrival times; give a rate in requests per second")]
    NeedsRate {
        /// The file or spec.
        path: String,
    },
    /// An option or parameter is out of its range.
    #[error("{what} is {given}, but must be {expected}")]
    OutOfRange {
        /// The option or parameter.
        what: String,
        /// What it was.
        given: String,
        /// What it may be.
        expected: String,
    },
}

impl WorkloadError {
    /// Checks that `value` is finite and above 0, as rates, speedups and shapes must be.
    pub(crate) fn check_positive(what: &str, value: f64) -> Result<f64, Self> {
        if value.is_finite() && value > 0.0 {
            return Ok(value);
        }
        Err(Self::OutOfRange {
            what: what.to_owned(),
            given: value.to_string(),
            expected: "a number above 0".to_owned(),
        })
    }
}
