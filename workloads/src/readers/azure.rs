//! Azure LLM inference traces (Azure/AzurePublicDataset), 2023 and 2024: `TIMESTAMP`,
//! `ContextTokens`, `GeneratedTokens`.

use crate::error::WorkloadError;
use crate::readers::table::Table;
use crate::readers::trace::Builder;
use crate::source::Source;

/// Reads both years: they differ only in how the time is written.
pub(super) fn read(source: &Source, builder: &mut Builder) -> Result<(), WorkloadError> {
    let mut table = Table::open(source)?;
    let time = table.column(&["timestamp"])?;
    let prompt = table.column(&["contexttokens"])?;
    let output = table.column(&["generatedtokens"])?;
    while let Some(row) = table.next_row()? {
        let time_ns = row.timestamp_ns(time)?;
        let prompt_tokens = row.tokens(prompt, "prompt tokens")?;
        builder.push(
            Some(time_ns),
            prompt_tokens,
            row.tokens(output, "output tokens")?,
        );
    }
    Ok(())
}
