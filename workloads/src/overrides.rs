//! What a user may change about a workload without editing its file.

use std::path::PathBuf;

use crate::arrivals::ArrivalProcess;
use crate::error::WorkloadError;
use crate::limits::Limits;

/// Changes to a workload; the default changes nothing and has seed 0.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Overrides {
    /// Seed of everything random. A recorded trace with seed 0 is replayed as it stands; another
    /// seed rotates it to start elsewhere, so that several seeds are several draws.
    pub seed: u64,
    /// Mean rate in requests per second. A spec's process and a trace's arrivals are rescaled to
    /// it; the 1-rps arrivals of a `lengths:` file are divided by it.
    pub rate_rps: Option<f64>,
    /// Divides all arrival times, after the rate.
    pub speedup: Option<f64>,
    /// At most this many requests; for a spec, the number to generate.
    pub take: Option<u64>,
    /// Only arrivals before this many seconds of the produced stream.
    pub for_s: Option<f64>,
    /// Replaces the spec's process or the trace's recorded arrivals.
    pub arrivals: Option<ArrivalProcess>,
    /// Caps on lengths, beside the spec's own; the tighter one holds.
    pub limits: Limits,
    /// Files of prompts, for a `responses:` file that names its prompts by id.
    pub prompts: Vec<PathBuf>,
    /// Of a `responses:` file, only the prompts of the test part, which no predictor of
    /// `elis-predictor train` was fitted to.
    pub unseen: bool,
}

impl Overrides {
    /// Checks all ranges.
    ///
    /// # Errors
    ///
    /// [`WorkloadError::OutOfRange`] for the first option that makes no sense.
    pub fn check(&self) -> Result<(), WorkloadError> {
        let positive = [
            ("rate", self.rate_rps),
            ("speedup", self.speedup),
            ("time cut", self.for_s),
        ];
        for (what, value) in positive {
            if let Some(value) = value {
                WorkloadError::check_positive(what, value)?;
            }
        }
        if self.take == Some(0) {
            return Err(WorkloadError::OutOfRange {
                what: "number of requests".to_owned(),
                given: "0".to_owned(),
                expected: "1 or more".to_owned(),
            });
        }
        self.limits.check()
    }
}
