//! Mooncake traces (kvcache-ai/Mooncake, FAST'25): JSON lines with `timestamp` in milliseconds,
//! `input_length`, `output_length`; the prefix-cache hashes are not used.

use crate::error::WorkloadError;
use crate::readers::jsonl::objects;
use crate::readers::trace::Builder;
use crate::source::Source;

/// Reads the three fields of each line.
pub(super) fn read(source: &Source, builder: &mut Builder) -> Result<(), WorkloadError> {
    for object in objects(source) {
        let object = object?;
        let time_ns = object.time_ns("timestamp", "milliseconds", 1_000_000)?;
        let prompt_tokens = object.tokens(&["input_length"], "prompt tokens")?;
        let output_tokens = object.tokens(&["output_length"], "output tokens")?;
        builder.push(Some(time_ns), prompt_tokens, output_tokens);
    }
    Ok(())
}
