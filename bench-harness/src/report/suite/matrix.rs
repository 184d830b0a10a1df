//! The matrix of workloads and policies by one measure, its cells coloured by what they gain.

use serde::Serialize;

use crate::report::text::{interval, number, percent, signed_percent, tame};
use crate::stats::Verdict;
use crate::suite::document::{CellRecord, GroupRecord, PolicyRow, SuiteDocument};
use crate::suite::{Measure, Versus};

/// Marks of a verdict against the first and against the second baseline.
pub(super) const MARKS: [[&str; 2]; 2] = [["▲", "▼"], ["△", "▽"]];

/// A matrix of the page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Matrix {
    pub(super) number: usize,
    pub(super) title: String,
    pub(super) caption: String,
    pub(super) heads: Vec<String>,
    pub(super) rows: Vec<MatrixRow>,
}

/// A workload.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct MatrixRow {
    pub(super) head: String,
    pub(super) note: String,
    pub(super) cells: Vec<MatrixCell>,
}

/// A policy on a workload.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct MatrixCell {
    /// How it is coloured.
    pub(super) class: String,
    /// The raw value.
    pub(super) value: String,
    /// Against the first baseline.
    pub(super) gain: String,
    /// Whether that, and the same against the second baseline, is more than chance.
    pub(super) marks: String,
    /// The interval of the gain.
    pub(super) interval: String,
    /// What else must be known.
    pub(super) flag: String,
    /// What shows under the pointer.
    pub(super) hint: String,
}

impl MatrixCell {
    /// A cell of text alone.
    pub(super) fn plain(gain: String) -> Self {
        Self {
            gain,
            ..Self::default()
        }
    }
}

/// Title, unit of the values, and a sentence on what is shown.
pub(super) fn words(measure: Measure) -> (&'static str, &'static str, &'static str) {
    match measure {
        Measure::JctMean => (
            "Mean job completion time",
            "s",
            "From arrival to the last token, over the requests that complete.",
        ),
        Measure::JctP99 => (
            "99th percentile of the job completion time",
            "s",
            "Nearest rank in each run, mean over the seeds.",
        ),
        Measure::TtftMean => (
            "Mean time to first token",
            "s",
            "From arrival to the first token.",
        ),
        Measure::Goodput => (
            "Goodput",
            "%",
            "Share of the requests that met the objectives of their cell; refused ones met none.",
        ),
        Measure::SlowdownMean => (
            "Mean slowdown",
            "×",
            "JCT over the time that the request takes alone on the same worker.",
        ),
        Measure::SlowdownMax => (
            "Largest slowdown",
            "×",
            "JCT over the time that the request takes alone; the worst request of all seeds.",
        ),
        Measure::JainRequests => (
            "Fairness between requests",
            "",
            "Jain's index over requests of 1/slowdown; 1 is even.",
        ),
        Measure::JainTenants => (
            "Fairness between tenants",
            "",
            "Jain's index over the tenants' mean slowdowns; 1 is even. Streams with tenants only.",
        ),
        Measure::ServiceDifference => (
            "Service difference between tenants",
            "weighted tokens/s",
            "VTC's measure: what tenants lack to the rate of the best served, up to their own \
             demand, largest over windows of 60 s. Streams with tenants only.",
        ),
    }
}

/// The matrix of all groups by one measure; none where no group has a value.
pub(super) fn of_groups(document: &SuiteDocument, measure: Measure) -> Option<Matrix> {
    let row = |group: &GroupRecord| {
        let cells = document.cells.iter().filter(|c| c.group == group.name);
        let cells: Vec<&CellRecord> = cells.collect();
        matrix_row(document, measure, &group.name, note(&cells), &group.results)
    };
    let rows = document.groups.iter().filter_map(row).collect();
    matrix(document, measure, "", rows)
}

/// The matrix of the cells of one group.
pub(super) fn of_cells(document: &SuiteDocument, group: &GroupRecord) -> Option<Matrix> {
    let row = |cell: &CellRecord| {
        matrix_row(
            document,
            Measure::JctMean,
            &cell.id,
            note(&[cell]),
            &cell.results,
        )
    };
    let cells = document.cells.iter().filter(|c| c.group == group.name);
    let title = format!(", cell by cell: {}", tame(&group.name, 40));
    matrix(
        document,
        Measure::JctMean,
        &title,
        cells.filter_map(row).collect(),
    )
}

fn matrix(
    document: &SuiteDocument,
    measure: Measure,
    of: &str,
    rows: Vec<MatrixRow>,
) -> Option<Matrix> {
    if rows.is_empty() {
        return None;
    }
    let (title, unit, caption) = words(measure);
    let unit = if unit.is_empty() {
        String::new()
    } else {
        format!(" ({unit})")
    };
    let first = document.baselines.first().map_or("", String::as_str);
    let what = if measure.is_share() {
        "the difference in points"
    } else {
        "1 − ΣP/ΣB over the same requests or runs"
    };
    let mut heads = vec![String::new()];
    heads.extend(
        document
            .policies
            .iter()
            .map(|policy| tame(&policy.name, 24)),
    );
    Some(Matrix {
        number: 0,
        title: format!("{title}{of}{unit}"),
        caption: format!(
            "Simulated. {caption} Bold: the value, mean over the seeds; several cells in a row are \
             averaged. Below: the gain against {}, {what}, with its 95 % interval over seeds.",
            tame(first, 24)
        ),
        heads,
        rows,
    })
}

/// How many cells, requests and seeds stand behind a row.
fn note(cells: &[&CellRecord]) -> String {
    let Some(first) = cells.first() else {
        return String::new();
    };
    let several = if cells.len() > 1 {
        format!("{} cells, ", cells.len())
    } else {
        String::new()
    };
    format!(
        "{several}{} requests × {} seeds",
        first.requests,
        first.seeds.len()
    )
}

fn matrix_row(
    document: &SuiteDocument,
    measure: Measure,
    head: &str,
    note: String,
    results: &[PolicyRow],
) -> Option<MatrixRow> {
    results.iter().find_map(|row| row.score(measure))?;
    let cell = |policy: &str| {
        let row = results.iter().find(|row| row.policy == policy);
        row.map_or_else(MatrixCell::default, |row| {
            matrix_cell(document, measure, row)
        })
    };
    let cells = document.policies.iter().map(|policy| cell(&policy.name));
    Some(MatrixRow {
        head: tame(head, 40),
        note,
        cells: cells.collect(),
    })
}

fn matrix_cell(document: &SuiteDocument, measure: Measure, row: &PolicyRow) -> MatrixCell {
    let verdicts = document.baselines.iter().map(|b| row.versus(b, measure));
    let verdicts: Vec<Option<&Versus>> = verdicts.collect();
    let first = verdicts.first().copied().flatten();
    let marks = MARKS
        .iter()
        .zip(&verdicts)
        .filter_map(|([better, worse], versus)| match versus.as_ref()?.verdict {
            Verdict::Better => Some(*better),
            Verdict::Worse => Some(*worse),
            Verdict::NoSignificantDifference => None,
        });
    let all = row.completed + row.rejected + row.lost;
    let refused = row.rejected as f64 / all.max(1) as f64;
    let flag = match measure {
        Measure::JctMean if row.lost > 0 => format!("{} lost", row.lost),
        Measure::JctMean if row.rejected > 0 => format!("refused {}", percent(Some(refused))),
        _ => String::new(),
    };
    MatrixCell {
        class: first.map_or_else(|| "none".into(), |versus| class(versus, measure)),
        value: value(measure, row.score(measure)),
        gain: first
            .map(|versus| gain(measure, versus.gain))
            .unwrap_or_default(),
        marks: marks.collect(),
        interval: first
            .map(|versus| shown_interval(measure, versus))
            .unwrap_or_default(),
        flag,
        hint: hint(measure, &row.policy, &verdicts),
    }
}

/// The value in the unit of the matrix.
pub(super) fn value(measure: Measure, value: Option<f64>) -> String {
    match measure {
        Measure::JctMean | Measure::JctP99 | Measure::TtftMean => {
            number(value.map(|ms| ms / 1_000.0))
        }
        Measure::Goodput => number(value.map(|share| share * 100.0)),
        _ => number(value),
    }
}

/// A gain as text: a reduction in percent, or a difference in the unit of the values.
pub(super) fn gain(measure: Measure, gain: Option<f64>) -> String {
    let signed = |value: f64| format!("{value:+.2}").replace('-', "−");
    match measure {
        Measure::Goodput => signed_percent(gain).replace(" %", " pts"),
        _ if measure.is_share() => gain.map(signed).unwrap_or_default(),
        // Less is better of all others, so the sign is that of the change itself. A space would
        // make all columns wider.
        _ => signed_percent(gain.map(|gain| -gain)).replace(" %", "%"),
    }
}

fn shown_interval(measure: Measure, versus: &Versus) -> String {
    let Some([low, high]) = versus.ci95 else {
        return String::new();
    };
    if measure == Measure::Goodput {
        return interval(Some([low, high])).replace(" %", "");
    }
    if measure.is_share() {
        return format!(
            "[{}, {}]",
            gain(measure, Some(low)),
            gain(measure, Some(high))
        );
    }
    interval(Some([-high, -low])).replace(" %", "")
}

fn hint(measure: Measure, policy: &str, verdicts: &[Option<&Versus>]) -> String {
    let line = |versus: &&Versus| {
        let (change, range) = (gain(measure, versus.gain), shown_interval(measure, versus));
        let (against, words) = (tame(&versus.against, 24), versus.verdict.words());
        format!("against {against}: {change} {range}, {words}")
    };
    let lines: Vec<String> = verdicts.iter().flatten().map(line).collect();
    format!("{}: {}", tame(policy, 24), lines.join("; "))
}

/// The colour: its kind by the verdict, its strength by the gain.
fn class(versus: &Versus, measure: Measure) -> String {
    let steps = if measure.is_share() {
        [0.02, 0.08, 0.2]
    } else {
        [0.05, 0.2, 0.4]
    };
    let size = versus.gain.unwrap_or_default().abs();
    let strength = 1 + steps.iter().filter(|step| size >= **step).count();
    match versus.verdict {
        Verdict::Better => format!("b{strength}"),
        Verdict::Worse => format!("w{strength}"),
        Verdict::NoSignificantDifference => "same".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versus(measure: Measure, gain: f64, verdict: Verdict) -> Versus {
        Versus {
            against: "fcfs".into(),
            measure,
            gain: Some(gain),
            ci95: Some([gain - 0.1, gain + 0.2]),
            verdict,
        }
    }

    #[test]
    fn colour_tells_the_verdict_and_its_strength_the_size() {
        let of = |gain, verdict| class(&versus(Measure::JctMean, gain, verdict), Measure::JctMean);
        assert_eq!(of(0.6, Verdict::Better), "b4");
        assert_eq!(of(-0.01, Verdict::Worse), "w1");
        assert_eq!(of(0.6, Verdict::NoSignificantDifference), "same");
    }

    #[test]
    fn a_time_that_falls_has_a_minus() {
        let less = versus(Measure::JctMean, 0.3, Verdict::Better);
        assert_eq!(gain(Measure::JctMean, less.gain), "−30.0%");
        assert_eq!(shown_interval(Measure::JctMean, &less), "[−50.0, −20.0]");
        let more = versus(Measure::Goodput, 0.3, Verdict::Better);
        assert_eq!(gain(Measure::Goodput, more.gain), "+30.0 pts");
        assert_eq!(gain(Measure::JainRequests, Some(-0.123)), "−0.12");
    }
}
