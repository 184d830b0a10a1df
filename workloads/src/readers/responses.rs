//! Responses as a trace: lengths with their texts, without arrival times.

use std::path::Path;
use std::sync::Arc;

use crate::error::WorkloadError;
use crate::overrides::Overrides;
use crate::readers::{Format, RequestLengths, Trace};
use crate::responses::{self, Part};
use crate::source::Source;

/// Reads the file and its prompts.
pub(super) fn read(
    path: &Path,
    source: &Source,
    options: &Overrides,
) -> Result<Trace, WorkloadError> {
    let mut file = responses::read_source(path, source, &options.prompts)?;
    if options.unseen {
        let all = file.responses.len();
        let seen = |prompt: &str| Part::of_prompt(prompt) != Part::Test;
        file.responses.retain(|response| !seen(&response.prompt));
        if file.responses.is_empty() {
            return Err(WorkloadError::Empty {
                path: format!("{} (unseen prompts)", source.path),
            });
        }
        let kept = file.responses.len();
        let note = format!("{kept} of {all} responses: those to prompts of the test part");
        file.notes.push(note);
    }
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
