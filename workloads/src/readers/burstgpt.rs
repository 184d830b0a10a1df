//! BurstGPT (arXiv 2401.17644): `Timestamp` in seconds, `Request tokens`, `Response tokens`, and
//! columns that are not needed, which differ between releases.

use crate::error::WorkloadError;
use crate::readers::table::Table;
use crate::readers::trace::Builder;
use crate::source::Source;

/// Reads the columns by name; a response of 0 tokens is a failed request and is left out.
pub(super) fn read(source: &Source, builder: &mut Builder) -> Result<(), WorkloadError> {
    let mut table = Table::open(source)?;
    let time = table.column(&["timestamp"])?;
    let prompt = table.column(&["request tokens"])?;
    let output = table.column(&["response tokens"])?;
    let mut failed = 0_u64;
    while let Some(row) = table.next_row()? {
        let time_ns = row.time_ns(time, "seconds", 1_000_000_000)?;
        let prompt_tokens = row.tokens(prompt, "prompt tokens")?;
        match row.tokens(output, "output tokens")? {
            0 => failed += 1,
            output_tokens => builder.push(Some(time_ns), prompt_tokens, output_tokens),
        }
    }
    if failed > 0 {
        builder.notes.push(format!(
            "{failed} failed requests (0 response tokens) were left out"
        ));
    }
    Ok(())
}
