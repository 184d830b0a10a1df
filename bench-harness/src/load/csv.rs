//! One CSV row for each request of each measured run.

use std::io::Write;

use super::record::Record;
use super::session::PolicyRun;
use crate::report::ReportError;
use crate::report::csv::{ending, ms};
use crate::stats::Metric;

/// Column names; times are milliseconds since the start of the run.
pub const COLUMNS: [&str; 25] = [
    "policy",
    "seed",
    "position",
    "id",
    "intended_ms",
    "sent_ms",
    "first_token_ms",
    "last_token_ms",
    "settled_ms",
    "held_back",
    "prompt_tokens",
    "wanted_tokens",
    "output_tokens",
    "counted_by",
    "tenant",
    "priority",
    "ending",
    "http_status",
    "finish_reason",
    "error",
    "error_detail",
    "retry_after",
    "jct_ms",
    "ttft_ms",
    "tpot_ms",
];

/// Writes a header and the rows of `runs`; undefined values are empty.
///
/// # Errors
/// A row cannot be written.
pub fn write_records<'a>(
    out: impl Write,
    runs: impl IntoIterator<Item = &'a PolicyRun>,
) -> Result<(), ReportError> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(COLUMNS)?;
    for run in runs {
        for record in &run.run.records {
            writer.write_record(row(run, record))?;
        }
    }
    writer.flush().map_err(csv::Error::from)?;
    Ok(())
}

fn row(run: &PolicyRun, record: &Record) -> [String; COLUMNS.len()] {
    let (answer, outcome) = (&record.answer, record.outcome());
    let derived = |metric: Metric| {
        let value = metric.of(&outcome);
        value.map(|v| format!("{v:.6}")).unwrap_or_default()
    };
    let moment = |at_ns: Option<u64>| at_ns.map(ms).unwrap_or_default();
    let failure = record.failure.as_ref();
    let status = answer.status;
    [
        run.policy.clone(),
        run.seed.to_string(),
        run.position.to_string(),
        record.id.to_string(),
        ms(record.intended_ns),
        moment(record.sent_ns),
        moment(answer.first_token_ns),
        moment(answer.last_token_ns),
        ms(record.settled_ns),
        record.held_back.to_string(),
        outcome.prompt_tokens.to_string(),
        record.wanted_tokens.to_string(),
        answer.output_tokens().to_string(),
        answer.usage.map_or("chunks", |_| "usage").into(),
        record.tenant.to_string(),
        record.priority.to_string(),
        ending(record.ending()).into(),
        status.map(|s| s.to_string()).unwrap_or_default(),
        answer.finish_reason.clone().unwrap_or_default(),
        failure
            .map(|f| f.kind.name().into_owned())
            .unwrap_or_default(),
        failure.map(|f| f.detail.clone()).unwrap_or_default(),
        failure
            .and_then(|f| f.retry_after.clone())
            .unwrap_or_default(),
        derived(Metric::Jct),
        derived(Metric::Ttft),
        derived(Metric::Tpot),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::load::engine::Run;
    use crate::load::failure::{Failure, FailureKind};
    use crate::load::record::tests::record;

    #[test]
    fn a_row_tells_a_life_and_a_failure_its_reason() {
        let mut refused = record(1, 5);
        refused.answer = crate::load::answer::Answer::default();
        refused.failure = Some(Failure {
            kind: FailureKind::Status(429),
            detail: "queue, full".into(),
            retry_after: Some("7".into()),
        });
        let run = PolicyRun {
            policy: "p".into(),
            seed: 3,
            position: 1,
            run: Run {
                records: vec![record(0, 0), refused],
                unsent: 0,
                started: SystemTime::UNIX_EPOCH,
            },
        };
        let mut bytes = Vec::new();
        write_records(&mut bytes, [&run]).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].split(',').count(), COLUMNS.len());
        let first = "p,3,1,0,0.000000,10.000000,30.000000,70.000000,75.000000,false,9,5,5,usage,0,\
                     100,completed,200,length,,,,70.000000,30.000000,10.000000";
        assert_eq!(lines[1], first);
        let second = "p,3,1,1,5.000000,15.000000,,,80.000000,false,8,5,0,chunks,0,100,rejected,,,\
                      http-429,\"queue, full\",7,,,";
        assert_eq!(lines[2], second);
    }
}
