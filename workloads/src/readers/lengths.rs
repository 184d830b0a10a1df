//! Our own length files: `id` (not used), `arrival_s_at_1rps` (may be missing), `prompt_tokens`,
//! `output_tokens`. Arrivals are at one request per second, so that a rate divides them.

use crate::error::WorkloadError;
use crate::readers::table::Table;
use crate::readers::trace::Builder;
use crate::source::Source;

/// Reads with or without arrivals; `arrival_s` and `arrival` are taken for the same column.
pub(super) fn read(source: &Source, builder: &mut Builder) -> Result<(), WorkloadError> {
    let mut table = Table::open(source)?;
    let time = table.find(&["arrival_s_at_1rps", "arrival_s", "arrival"]);
    let prompt = table.column(&["prompt_tokens"])?;
    let output = table.column(&["output_tokens"])?;
    while let Some(row) = table.next_row()? {
        let time_ns = time
            .map(|t| row.time_ns(t, "seconds", 1_000_000_000))
            .transpose()?;
        let prompt_tokens = row.tokens(prompt, "prompt tokens")?;
        builder.push(time_ns, prompt_tokens, row.tokens(output, "output tokens")?);
    }
    Ok(())
}
