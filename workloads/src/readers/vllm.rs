//! Logs and workloads of vLLM benchmarks, CSV or JSON lines, under the names tools give the fields.

use crate::error::WorkloadError;
use crate::readers::jsonl::{Object, objects};
use crate::readers::table::Table;
use crate::readers::trace::Builder;
use crate::source::Source;

const PROMPT: [&str; 6] = [
    "input_toks",
    "prompt_len",
    "prompt_tokens",
    "input_tokens",
    "input_len",
    "input_length",
];
const OUTPUT: [&str; 6] = [
    "output_toks",
    "output_len",
    "output_tokens",
    "completion_tokens",
    "expected_output_len",
    "output_length",
];

/// The names of the arrival field, each with its unit and the unit's length in nanoseconds.
const ARRIVAL: [(&str, &str, u64); 5] = [
    ("arrival_time_ns", "nanoseconds", 1),
    ("arrival_time_ms", "milliseconds", 1_000_000),
    ("arrival_time", "seconds", 1_000_000_000),
    ("arrival_s", "seconds", 1_000_000_000),
    ("arrived_at", "seconds", 1_000_000_000),
];

/// Reads JSON lines if the file begins with a brace, otherwise CSV.
pub(super) fn read(source: &Source, builder: &mut Builder) -> Result<(), WorkloadError> {
    if source.bytes.trim_ascii_start().starts_with(b"{") {
        read_jsonl(source, builder)
    } else {
        read_csv(source, builder)
    }
}

fn read_csv(source: &Source, builder: &mut Builder) -> Result<(), WorkloadError> {
    let mut table = Table::open(source)?;
    let time = ARRIVAL
        .iter()
        .find_map(|a| table.find(&[a.0]).map(|column| (column, a.1, a.2)));
    let prompt = table.column(&PROMPT)?;
    let output = table.column(&OUTPUT)?;
    while let Some(row) = table.next_row()? {
        let time_ns = time
            .map(|(column, unit, scale)| row.time_ns(column, unit, scale))
            .transpose()?;
        let prompt_tokens = row.tokens(prompt, "prompt tokens")?;
        builder.push(time_ns, prompt_tokens, row.tokens(output, "output tokens")?);
    }
    Ok(())
}

fn read_jsonl(source: &Source, builder: &mut Builder) -> Result<(), WorkloadError> {
    // The first line decides whether there are arrivals, so that a later gap is an error.
    let mut arrival: Option<Option<&(&str, &str, u64)>> = None;
    for object in objects(source) {
        let object: Object<'_> = object?;
        let field =
            *arrival.get_or_insert_with(|| ARRIVAL.iter().find(|a| object.find(&[a.0]).is_some()));
        let time_ns = field
            .map(|(name, unit, scale)| object.time_ns(name, unit, *scale))
            .transpose()?;
        let prompt_tokens = object.tokens(&PROMPT, "prompt tokens")?;
        builder.push(
            time_ns,
            prompt_tokens,
            object.tokens(&OUTPUT, "output tokens")?,
        );
    }
    Ok(())
}
