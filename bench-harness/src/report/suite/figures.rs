//! The figures of a suite: gains over groups of cells, and how they fall with a predictor's error.

use crate::report::figures::Figure;
use crate::report::svg::{Axis, Forest, ForestRow, Line, Plot, Scale};
use crate::report::text::tame;
use crate::stats::Verdict;
use crate::suite::Measure;
use crate::suite::document::{GroupRecord, PolicyRow, SuiteDocument, SweepCurve, SweepRecord};

/// The colour of curves that stand behind the others.
const FAINT: usize = 7;
/// Gains that differ by less are the same: the policy does not read predictions.
const FLAT: f64 = 1e-6;

/// All figures, in order of appearance.
pub(super) fn figures(document: &SuiteDocument) -> Vec<Figure> {
    let groups = document.groups.iter().filter(|group| group.cells.len() > 1);
    let sums = groups.filter_map(|group| sums(document, group));
    let sweeps = document
        .sweep
        .iter()
        .filter_map(|sweep| errors(document, sweep));
    sums.chain(sweeps).collect()
}

/// The gain of every policy over all cells of a group.
fn sums(document: &SuiteDocument, group: &GroupRecord) -> Option<Figure> {
    let first = document.baselines.first()?;
    let row = |row: &PolicyRow| {
        let versus = row.versus(first, Measure::JctMean)?;
        Some(ForestRow {
            label: tame(&row.policy, 20),
            estimate: versus.gain?,
            ci95: versus.ci95,
            class: match versus.verdict {
                Verdict::Better => "good",
                Verdict::Worse => "bad",
                Verdict::NoSignificantDifference => "neutral",
            },
            others: Vec::new(),
        })
    };
    let rows: Vec<ForestRow> = group.results.iter().filter_map(row).collect();
    if rows.is_empty() {
        return None;
    }
    let (name, first) = (tame(&group.name, 40), tame(first, 20));
    let forest = Forest {
        title: format!("{name}: reduction of the mean job completion time for each policy"),
        x_label: format!("reduction of JCT against {first} (%), right of zero is better"),
        rows,
    };
    Some(Figure {
        title: name,
        caption: format!(
            "Simulated. Reduction of the JCT by sum over {} cells, with 95 % intervals over seeds.",
            group.cells.len()
        ),
        svg: forest.render(),
    })
}

/// Gain against the error of the predictor.
fn errors(document: &SuiteDocument, sweep: &SweepRecord) -> Option<Figure> {
    let first = document.baselines.first()?;
    let mut lines = Vec::new();
    let mut colors = (0..).filter(|color| color % 8 != FAINT);
    for curve in &sweep.curves {
        let points = points(curve);
        if points.is_empty() {
            continue;
        }
        let blind = points.iter().all(|p| (p[1] - points[0][1]).abs() < FLAT);
        let color = if blind { FAINT } else { colors.next()? };
        lines.push(Line {
            name: tame(&curve.policy, 16),
            points,
            color,
            dots: !blind,
        });
    }
    let cell = document.cells.iter().find(|cell| cell.id == sweep.cell);
    let bound = cell.and_then(|cell| cell.results.iter().find(|r| r.policy == document.bound));
    let ends = [sweep_end(sweep, f64::min), sweep_end(sweep, f64::max)];
    if let Some(gain) = bound.and_then(|row| row.gain(first)) {
        // The first word is enough beside a curve.
        let name = document.bound.split(' ').next().unwrap_or_default();
        lines.push(Line {
            name: tame(name, 16),
            points: ends.map(|x| [x, gain * 100.0]).into(),
            color: FAINT,
            dots: false,
        });
    }
    let all = || lines.iter().flat_map(|line| line.points.iter());
    all().next()?;
    let plot = Plot {
        title: format!(
            "{}: gain against the predictor's error",
            tame(&sweep.cell, 40)
        ),
        x: Axis::new(
            "mean absolute error of the predictor (tokens)",
            Scale::linear(all().map(|p| p[0])),
        ),
        y: Axis::new(
            format!("reduction of JCT against {} (%)", tame(first, 16)),
            Scale::linear(all().map(|p| p[1])),
        ),
        lines: lines.clone(),
        bins: Vec::new(),
    };
    Some(Figure {
        title: format!("Predictor's error: {}", tame(&sweep.cell, 40)),
        caption: format!(
            "Simulated, {} seeds. Gaussian noise on the true remainder; 20 tokens is what ELIS \
             claims, 34 and 46 are TRAIL's two predictors, 71 is ELIS's on LMSYS, 176 an encoder \
             without training. Grey: policies that read no prediction, and the clairvoyant one.",
            sweep.seeds.len()
        ),
        svg: plot.render_labelled(),
    })
}

fn points(curve: &SweepCurve) -> Vec<[f64; 2]> {
    let point = |point: &crate::suite::document::SweepPoint| {
        Some([point.mae_tokens, point.versus.as_ref()?.gain? * 100.0])
    };
    curve.points.iter().filter_map(point).collect()
}

fn sweep_end(sweep: &SweepRecord, pick: fn(f64, f64) -> f64) -> f64 {
    let all = sweep.curves.iter().flat_map(|curve| &curve.points);
    all.map(|point| point.mae_tokens)
        .reduce(pick)
        .unwrap_or_default()
}
