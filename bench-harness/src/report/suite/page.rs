//! A suite as one self-contained HTML page.

use std::collections::BTreeSet;

use serde::Serialize;

use super::claims::{Claim, claim};
use super::matrix::{MARKS, Matrix, MatrixCell, MatrixRow, gain, of_cells, of_groups};
use super::{figures, standings};
use crate::report::ReportError;
use crate::report::figures::Figure;
use crate::report::page::{Badge, SIMULATED, fill};
use crate::report::text::{count, interval, plural, tame};
use crate::suite::Measure;
use crate::suite::document::{SuiteDocument, SweepRecord};

const TEMPLATE: &str = include_str!("../../../templates/suite.html");

/// What the template shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct SuitePage {
    badge: Option<Badge>,
    wide: bool,
    title: String,
    lead: String,
    baseline: String,
    marks: String,
    left_out: Vec<(String, String)>,
    matrices: Vec<Matrix>,
    figures: Vec<Figure>,
    claims: Vec<Claim>,
    details: Vec<Matrix>,
    notes: Vec<String>,
    cautions: Vec<String>,
    provenance: Vec<(String, String)>,
}

/// Renders the page.
///
/// # Errors
/// The template is broken.
pub fn render(document: &SuiteDocument) -> Result<String, ReportError> {
    let mut matrices = vec![standings::matrix(document)];
    let mut shown = Measure::ALL.to_vec();
    shown.retain(|measure| *measure != Measure::SlowdownMean);
    let of = |measure: &Measure| of_groups(document, *measure);
    matrices.extend(shown.iter().filter_map(of));
    let several = document.groups.iter().filter(|group| group.cells.len() > 1);
    let mut details: Vec<Matrix> = several.filter_map(|g| of_cells(document, g)).collect();
    details.extend(document.sweep.iter().map(|sweep| errors(document, sweep)));
    details.extend(of(&Measure::SlowdownMean));
    for (i, matrix) in matrices.iter_mut().chain(&mut details).enumerate() {
        matrix.number = i + 1;
    }
    let baseline = |i: usize| document.baselines.get(i).map_or("", String::as_str);
    let mark = |i: usize| {
        let [better, worse] = MARKS[i];
        format!(
            "{better} better and {worse} worse than {}",
            tame(baseline(i), 24)
        )
    };
    let marks: Vec<String> = (0..document.baselines.len().min(MARKS.len()))
        .map(mark)
        .collect();
    let left_out = document.left_out.iter();
    fill(
        TEMPLATE,
        &SuitePage {
            badge: Some(SIMULATED),
            wide: true,
            title: format!("Elis: {}", tame(&document.suite, 60)),
            lead: lead(document),
            baseline: tame(baseline(0), 24),
            marks: format!("{}, by intervals of 95 %.", marks.join("; ")),
            left_out: left_out
                .map(|l| (l.what.clone(), l.reason.clone()))
                .collect(),
            matrices,
            figures: figures::figures(document),
            claims: document.published.iter().map(claim).collect(),
            details,
            notes: document.notes.clone(),
            cautions: cautions(document),
            provenance: provenance(document),
        },
    )
}

fn lead(document: &SuiteDocument) -> String {
    let cells = &document.cells;
    let predictors: BTreeSet<&str> = cells.iter().map(|c| c.predictor.as_str()).collect();
    let rows = cells.iter().flat_map(|cell| &cell.results);
    let requests: u64 = rows
        .map(|row| row.completed + row.rejected + row.lost)
        .sum();
    format!(
        "{}: {} on {}, {} requests in all, predictor {}",
        tame(&document.description, 160),
        plural(document.policies.len(), "policy", "policies"),
        plural(cells.len(), "cell", "cells"),
        count(requests),
        tame(&predictors.into_iter().collect::<Vec<_>>().join(", "), 60),
    )
}

fn cautions(document: &SuiteDocument) -> Vec<String> {
    let mut cautions = Vec::new();
    if document.smoke {
        let text = "the small form of the suite: it shows that everything runs, and nothing else";
        cautions.push(text.to_owned());
    }
    let few = |seeds: usize| seeds < crate::stats::reduction::BOOTSTRAP_NEEDS;
    let short = document.cells.iter().filter(|cell| few(cell.seeds.len()));
    let short = short.count();
    if short > 0 {
        let cells = plural(short, "cell has", "cells have");
        let text = format!("{cells} fewer than five seeds: intervals are Student's t, and wide");
        cautions.push(text);
    }
    cautions
}

/// The sweep as a table, raw gains with their intervals.
fn errors(document: &SuiteDocument, sweep: &SweepRecord) -> Matrix {
    let first = document.baselines.first().map_or("", String::as_str);
    let mut heads = vec!["policy".to_owned()];
    let errors = sweep.curves.first().map(|curve| curve.points.iter());
    heads.extend(
        errors
            .into_iter()
            .flatten()
            .map(|p| format!("MAE {}", p.mae_tokens)),
    );
    let cell = |point: &crate::suite::document::SweepPoint| {
        let versus = point.versus.as_ref();
        MatrixCell {
            value: super::matrix::value(Measure::JctMean, point.jct_mean_ms),
            gain: versus
                .map(|v| gain(Measure::JctMean, v.gain))
                .unwrap_or_default(),
            interval: versus
                .and_then(|v| v.ci95)
                .map(|[low, high]| interval(Some([-high, -low])).replace(" %", ""))
                .unwrap_or_default(),
            ..MatrixCell::default()
        }
    };
    let row = |curve: &crate::suite::document::SweepCurve| MatrixRow {
        head: tame(&curve.policy, 24),
        note: String::new(),
        cells: curve.points.iter().map(cell).collect(),
    };
    Matrix {
        number: 0,
        title: format!(
            "Predictor's error on {}, mean JCT (s)",
            tame(&sweep.cell, 40)
        ),
        caption: format!(
            "Simulated. Mean JCT with a predictor of that mean absolute error in tokens, and its \
             change against {first} with 95 % intervals over {} seeds.",
            sweep.seeds.len()
        ),
        heads,
        rows: sweep.curves.iter().map(row).collect(),
    }
}

fn provenance(document: &SuiteDocument) -> Vec<(String, String)> {
    let generated = &document.generated;
    let commit = generated.commit.clone();
    let tool = format!("{} {}", generated.tool, generated.version);
    let mut lines = vec![
        ("format".into(), document.schema.clone()),
        ("tool".into(), tool),
        (
            "commit".into(),
            commit.unwrap_or_else(|| "not known".into()),
        ),
        ("command".into(), generated.command.join(" ")),
    ];
    for policy in &document.policies {
        lines.push((
            format!("policy {}", tame(&policy.name, 40)),
            policy.digest.clone(),
        ));
    }
    for cell in &document.cells {
        let told = |value: &serde_json::Value, path: &str| {
            let found = value.pointer(path).cloned().unwrap_or_default();
            found
                .as_str()
                .map_or_else(|| found.to_string(), str::to_owned)
        };
        let seeds: Vec<String> = cell.seeds.iter().map(u64::to_string).collect();
        let worker = |key: &str| told(&cell.worker, key);
        let stream = |key: &str| told(&cell.workload, key);
        let text = format!(
            "{} (sha256 {:.12}), {} arrivals; {} x {}, {} sequences, {} KV blocks, {} boundary; \
             predictor {}; seeds {}",
            stream("/name"),
            stream("/source/sha256"),
            stream("/arrivals/kind"),
            worker("/workers"),
            worker("/profile/name"),
            worker("/profile/max_num_seqs"),
            worker("/profile/gpu_blocks"),
            worker("/boundary"),
            cell.predictor,
            seeds.join(" "),
        );
        lines.push((format!("cell {}", tame(&cell.id, 40)), text));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::document::LeftOut;
    use crate::suite::example;

    #[test]
    fn the_page_is_whole_and_needs_nothing_else() {
        let document = example::document();
        let page = render(&document).unwrap();
        if let Some(path) = std::env::var_os("ELIS_SUITE_PAGE") {
            std::fs::write(path, &page).unwrap();
        }
        assert!(page.contains("Simulated") && !page.contains("Measured"));
        // A group of two cells, and a sweep.
        assert_eq!(page.matches("<svg").count(), 2);
        // Standings, measures, what papers say, the cells, the sweep, mean slowdown.
        assert_eq!(page.matches("<table").count(), 1 + 8 + 1 + 1 + 1 + 1);
        assert!(page.contains("▲") && page.contains("class=\"b"));
        let links = ["src=", "href=\"http", "url(", "@import", "<script"];
        assert!(links.iter().all(|link| !page.contains(link)));
    }

    #[test]
    fn a_losing_cell_is_framed_and_what_is_left_out_is_named() {
        let mut document = example::document();
        document.left_out.push(LeftOut {
            what: "cell far".into(),
            reason: "its trace is not there".into(),
        });
        let page = render(&document).unwrap();
        // The example has a policy that runs the longest first.
        assert!(page.contains("class=\"w") && page.contains("▼"));
        assert!(page.contains("<b>cell far</b>: its trace is not there"));
    }

    #[test]
    fn hostile_names_stay_text() {
        let mut document = example::document();
        let name = "</title><script>alert(1)</script>\"'";
        document.policies[0].name = name.into();
        document.cells[0].id = name.into();
        document.groups[0].name = name.into();
        document.suite = name.into();
        assert!(!render(&document).unwrap().contains("<script"));
    }
}
