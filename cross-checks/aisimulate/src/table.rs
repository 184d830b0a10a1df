//! The table for people.

use std::fmt::Write;

use crate::Figures;

/// One line for each replay.
pub fn of(rows: &[Figures]) -> String {
    let mut text = format!(
        "{:<34}{:>12}{:>11}{:>14}{:>14}{:>11}{:>12}{:>8}\n",
        "", "TTFT ms", "TPOT ms", "E2E ms", "p99 E2E ms", "requests/s", "iterations", "CPU s"
    );
    for row in rows {
        let cpu = row
            .cpu_s
            .map_or_else(|| "-".to_owned(), |s| format!("{s:.2}"));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:<34}{:>12.5}{:>11.5}{:>14.5}{:>14.5}{:>11.5}{:>12}{cpu:>8}",
            row.simulator,
            row.ttft_ms,
            row.tpot_ms,
            row.e2e_ms,
            row.p99_e2e_ms,
            row.requests_per_s,
            row.iterations,
        );
    }
    text
}
