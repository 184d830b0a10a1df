//! Vidur's columns (microsoft/vidur), also used for ServeGen samples and ShareGPT lengths:
//! `arrived_at` in seconds (may be missing), `num_prefill_tokens`, `num_decode_tokens`.

use crate::error::WorkloadError;
use crate::readers::table::Table;
use crate::readers::trace::Builder;
use crate::source::Source;

/// Reads with or without arrivals.
pub(super) fn read(source: &Source, builder: &mut Builder) -> Result<(), WorkloadError> {
    let mut table = Table::open(source)?;
    let time = table.find(&["arrived_at"]);
    let prompt = table.column(&["num_prefill_tokens"])?;
    let output = table.column(&["num_decode_tokens"])?;
    while let Some(row) = table.next_row()? {
        let time_ns = time
            .map(|t| row.time_ns(t, "seconds", 1_000_000_000))
            .transpose()?;
        let prompt_tokens = row.tokens(prompt, "prompt tokens")?;
        builder.push(time_ns, prompt_tokens, row.tokens(output, "output tokens")?);
    }
    Ok(())
}
