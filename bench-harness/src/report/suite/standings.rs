//! Each policy over the whole suite, as rows of text.

use super::matrix::{Matrix, MatrixCell, MatrixRow};
use crate::report::text::{self, number, percent, signed_percent, tame};
use crate::suite::document::{Standing, SuiteDocument, Worst};

/// The heads of the columns; the first is the policy's.
pub(super) fn heads(document: &SuiteDocument) -> Vec<String> {
    let first = document.baselines.first().map_or("", String::as_str);
    let mut heads = vec![
        "policy".to_owned(),
        "mean JCT, average of groups".to_owned(),
        "share of the oracle's gain".to_owned(),
    ];
    let record = |against: &String| format!("cells won – open – lost to {}", tame(against, 16));
    heads.extend(document.baselines.iter().map(record));
    heads.extend([
        format!("worst mean JCT against {first}"),
        format!("worst p99 against {first}"),
        "largest slowdown ×".to_owned(),
        "refused".to_owned(),
    ]);
    heads
}

/// The cells of a policy's row, without its name.
pub(super) fn row(document: &SuiteDocument, standing: &Standing) -> Vec<String> {
    // A gain is a fall of the time, and is shown as one.
    let change = |gain: Option<f64>| signed_percent(gain.map(|gain| -gain));
    let worst = |worst: &Option<Worst>| match worst {
        Some(worst) => format!("{} on {}", change(Some(worst.gain)), tame(&worst.cell, 32)),
        None => text::NONE.into(),
    };
    let mut cells = vec![change(standing.gain), percent(standing.oracle_share)];
    for against in &document.baselines {
        let record = standing.records.iter().find(|r| r.against == *against);
        cells.push(record.map_or_else(
            || text::NONE.into(),
            |r| format!("{} – {} – {}", r.better, r.open, r.worse),
        ));
    }
    cells.extend([
        worst(&standing.worst),
        worst(&standing.worst_p99),
        number(standing.slowdown_max),
        match standing.rejected_share {
            Some(share) if share > 0.0 => percent(Some(share)),
            _ => "none".into(),
        },
    ]);
    cells
}

/// The table of the page.
pub(super) fn matrix(document: &SuiteDocument) -> Matrix {
    let of = |standing: &Standing| MatrixRow {
        head: tame(&standing.policy, 24),
        note: String::new(),
        cells: row(document, standing)
            .into_iter()
            .map(MatrixCell::plain)
            .collect(),
    };
    let cells = document.cells.len();
    let (first, bound) = (
        document.baselines.first().map_or("", String::as_str),
        tame(&document.bound, 30),
    );
    Matrix {
        number: 0,
        title: "Standings".into(),
        caption: format!(
            "Simulated. Change of the mean JCT against {first}, averaged over the rows of the \
             matrix below with equal weight; its share of what {bound} gains; in how many of \
             {cells} cells the 95 % interval lies on the better side, on neither, on the worse \
             one. Nothing is corrected for comparing many policies: of 100 open cells about 5 \
             look decided.",
        ),
        heads: heads(document),
        rows: document.standings.iter().map(of).collect(),
    }
}
