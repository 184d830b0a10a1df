//! Readers of request traces, one format a file.

mod azure;
mod burstgpt;
pub(crate) mod jsonl;
mod lengths;
mod mooncake;
mod number;
mod responses;
pub(crate) mod table;
mod trace;
mod vidur;
mod vllm;

use std::path::Path;
use std::str::FromStr;

pub use trace::{RequestLengths, Trace};

use crate::error::WorkloadError;
use crate::overrides::Overrides;
use crate::source::Source;
use trace::Builder;

/// The formats that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Azure LLM inference traces of 2023 and 2024.
    Azure,
    /// BurstGPT, both headers.
    BurstGpt,
    /// Mooncake (FAST'25) JSON lines.
    Mooncake,
    /// Vidur's CSV.
    Vidur,
    /// ServeGen samples, in Vidur's columns.
    ServeGen,
    /// ShareGPT lengths, in Vidur's columns without arrivals.
    ShareGpt,
    /// Our own length files.
    Lengths,
    /// Request logs and workloads of vLLM benchmarks, CSV or JSON lines.
    Vllm,
    /// Responses with their text: rows of `elis-responses/1` or CASTILLO's.
    Responses,
}

impl Format {
    /// All formats, in the order of the documentation.
    pub const ALL: [Self; 9] = [
        Self::Azure,
        Self::BurstGpt,
        Self::Mooncake,
        Self::ServeGen,
        Self::Vidur,
        Self::ShareGpt,
        Self::Lengths,
        Self::Vllm,
        Self::Responses,
    ];

    /// The name as references write it, e.g. `azure`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Azure => "azure",
            Self::BurstGpt => "burstgpt",
            Self::Mooncake => "mooncake",
            Self::Vidur => "vidur",
            Self::ServeGen => "servegen",
            Self::ShareGpt => "sharegpt",
            Self::Lengths => "lengths",
            Self::Vllm => "vllm",
            Self::Responses => "responses",
        }
    }
}

impl FromStr for Format {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|f| f.name() == text).ok_or(())
    }
}

/// Reads a trace; a `responses:` file takes its prompts from the file beside it, if it needs any.
///
/// # Errors
///
/// [`WorkloadError::Read`] if the file cannot be read, [`WorkloadError::At`] for a header or line
/// that does not fit the format, [`WorkloadError::Empty`] if no request is left.
pub fn read_trace(format: Format, path: &Path) -> Result<Trace, WorkloadError> {
    read_trace_with(format, path, &Overrides::default())
}

/// Reads a trace; of a `responses:` file the prompts and the part that `options` say.
pub(crate) fn read_trace_with(
    format: Format,
    path: &Path,
    options: &Overrides,
) -> Result<Trace, WorkloadError> {
    let source = Source::open(path)?;
    let mut builder = Builder::default();
    match format {
        Format::Azure => azure::read(&source, &mut builder),
        Format::BurstGpt => burstgpt::read(&source, &mut builder),
        Format::Mooncake => mooncake::read(&source, &mut builder),
        Format::Vidur | Format::ServeGen | Format::ShareGpt => vidur::read(&source, &mut builder),
        Format::Lengths => lengths::read(&source, &mut builder),
        Format::Vllm => vllm::read(&source, &mut builder),
        Format::Responses => return responses::read(path, &source, options),
    }?;
    builder.finish(format, &source)
}

#[cfg(test)]
mod tests;
