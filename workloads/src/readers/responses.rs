//! Responses as a trace: lengths with their texts, without arrival times.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::WorkloadError;
use crate::readers::{Format, RequestLengths, Trace};
use crate::responses;
use crate::source::Source;

/// Reads the file and its prompts.
pub(super) fn read(
    path: &Path,
    source: &Source,
    prompts: &[PathBuf],
) -> Result<Trace, WorkloadError> {
    let file = responses::read_source(path, source, prompts)?;
    let texts: Vec<_> = file.responses.into_iter().map(Arc::new).collect();
    let lengths = texts.iter().map(|response| RequestLengths {
        prompt_tokens: response.prompt_tokens.max(1),
        output_tokens: response.output_tokens,
    });
    Ok(Trace {
        format: Format::Responses,
        source: file.source,
        times_ns: None,
        lengths: lengths.collect(),
        texts,
        inputs: file.inputs,
        notes: file.notes,
    })
}
