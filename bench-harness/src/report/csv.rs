//! One CSV row for each request of each run.

use std::io::Write;

use elis_sim::outcome::{Ending, RequestOutcome, RunOutcome};

use super::ReportError;
use crate::stats::Metric;

/// Column names; times are milliseconds of virtual time.
pub const COLUMNS: [&str; 22] = [
    "policy",
    "seed",
    "id",
    "arrival_ms",
    "first_run_ms",
    "first_token_ms",
    "finish_ms",
    "prompt_tokens",
    "output_tokens",
    "predicted_tokens",
    "tenant",
    "priority",
    "worker",
    "preemptions",
    "overtaken_by",
    "isolated_ms",
    "ending",
    "jct_ms",
    "ttft_ms",
    "tpot_ms",
    "queue_ms",
    "slowdown",
];

/// Writes a header and the rows of `runs`; undefined values are empty.
pub fn write_requests<'a>(
    out: impl Write,
    runs: impl IntoIterator<Item = &'a RunOutcome>,
) -> Result<(), ReportError> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(COLUMNS)?;
    for run in runs {
        for request in &run.requests {
            writer.write_record(row(run, request))?;
        }
    }
    writer.flush().map_err(csv::Error::from)?;
    Ok(())
}

fn row(run: &RunOutcome, request: &RequestOutcome) -> [String; COLUMNS.len()] {
    let derived = |metric: Metric| {
        metric
            .of(request)
            .map(|v| format!("{v:.6}"))
            .unwrap_or_default()
    };
    let predicted = Some(request.predicted_tokens).filter(|p| p.is_finite());
    let completed = request.ending == Ending::Completed;
    // A request that did not complete has moments that never came; they are left empty.
    let moment = |at_ns: u64| if completed { ms(at_ns) } else { String::new() };
    [
        run.policy.clone(),
        run.seed.to_string(),
        request.id.to_string(),
        ms(request.arrival_ns),
        moment(request.first_run_ns),
        moment(request.first_token_ns),
        moment(request.finish_ns),
        request.prompt_tokens.to_string(),
        request.output_tokens.to_string(),
        predicted.map(|p| p.to_string()).unwrap_or_default(),
        request.tenant.to_string(),
        request.priority.to_string(),
        request.worker.to_string(),
        request.preemptions.to_string(),
        request.overtaken_by.to_string(),
        ms(request.isolated_ns),
        ending(request.ending).into(),
        derived(Metric::Jct),
        derived(Metric::Ttft),
        derived(Metric::Tpot),
        derived(Metric::Queue),
        derived(Metric::Slowdown),
    ]
}

/// Nanoseconds as milliseconds with all their digits, which a float would not keep.
pub(crate) fn ms(ns: u64) -> String {
    format!("{}.{:06}", ns / 1_000_000, ns % 1_000_000)
}

/// The name of an ending.
pub(crate) fn ending(ending: Ending) -> &'static str {
    match ending {
        Ending::Completed => "completed",
        Ending::Rejected => "rejected",
        Ending::Lost => "lost",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::fixture::run;

    #[test]
    fn rows_are_complete_and_quoted() {
        let mut outcome = run("a,\"b\"", 7, &[20, 30]);
        outcome.requests[1].ending = Ending::Rejected;
        let mut bytes = Vec::new();
        write_requests(&mut bytes, [&outcome]).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].split(',').count(), COLUMNS.len());
        let first = "\"a,\"\"b\"\"\",7,0,0.000000,0.000000,1.000000,20.000000,10,5,,0,0,0,0,0,\
                     5.000000,completed,20.000000,1.000000,4.750000,0.000000,4.000000";
        assert_eq!(lines[1], first);
        assert!(lines[2].ends_with("1.000000,,,,10,5,,1,0,0,0,0,5.000000,rejected,,,,,"));
    }

    #[test]
    fn nanoseconds_are_kept() {
        assert_eq!(ms(9_007_199_254_740_993), "9007199254.740993");
    }
}
