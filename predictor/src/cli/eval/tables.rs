//! The tables of `eval` in Markdown, and the sentences that say where a simpler way is better.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use elis_predictor::learn::{Ceiling, Row, step_name};

use super::Report;

/// What stands above the tables, in every form.
pub(super) const LEGEND: &str = "Errors in tokens still to come, on prompts of the test part \
    (split by prompt); columns are tokens generated so far, 0 the arrival. Lower is better, except \
    R2, tau and p90 (goal 0.9).";

/// A table: its title, the head of its columns, its rows; the first cell names the row.
pub(super) struct Table {
    pub(super) title: String,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

/// All tables in Markdown.
pub(super) fn markdown(report: &Report) -> String {
    let mut text = format!("{LEGEND}\n");
    for table in tables(report) {
        let rule = "--:|".repeat(table.head.len() - 1);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "\n{}\n\n| {} |\n|---|{rule}",
            table.title,
            table.head.join(" | ")
        );
        for row in &table.rows {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
    }
    let beaten = if report.losses.is_empty() {
        "\nThe trained way is better than every simpler one, on every model at every step.\n"
    } else {
        "\nWhere a simpler way is better than the trained one:\n\n"
    };
    text.push_str(beaten);
    for loss in &report.losses {
        let _ = writeln!(text, "- {loss}");
    }
    text
}

/// The tables: by model, by source, what could be known, the quantiles, the seeds, the leaky split.
pub(super) fn tables(report: &Report) -> Vec<Table> {
    let by_model = |rows: &[Row]| -> Vec<Table> {
        let steps = steps(rows);
        let same = |a: &Row, b: &Row| a.model == b.model;
        let of = rows.chunk_by(same);
        of.map(|rows| full(rows, steps)).collect()
    };
    let mut all = by_model(&report.rows);
    all.push(sources(&report.by_source));
    all.extend(known(&report.ceilings));
    all.extend(quantiles(report));
    all.extend(seeds(&report.seeds));
    all.extend(by_model(&report.leaky));
    all
}

fn steps(rows: &[Row]) -> usize {
    let steps = rows.iter().map(|row| row.mae_by_step_tokens.len());
    steps.max().unwrap_or(0)
}

fn maybe(value: Option<f32>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// All figures of all ways on one model.
fn full(rows: &[Row], steps: usize) -> Table {
    let names = ["MAE", "RMSE", "R2", "tau (one)", "tau (mean)", "p90"];
    let row = |row: &Row| {
        let mae = |step: usize| row.mae_by_step_tokens.get(step).copied().flatten();
        let mut cells = vec![row.way.clone()];
        cells.extend((0..steps).map(|step| maybe(mae(step), 1)));
        cells.extend([row.mae_tokens, row.rmse_tokens].map(|v| format!("{v:.1}")));
        cells.extend([row.r2, row.tau_one, row.tau_mean].map(|v| format!("{v:.3}")));
        cells.push(maybe(row.p90_coverage, 3));
        cells
    };
    let head = ["way".to_owned()]
        .into_iter()
        .chain((0..steps).map(step_name));
    Table {
        title: rows
            .first()
            .map_or_else(String::new, |row| row.model.clone()),
        head: head.chain(names.map(str::to_owned)).collect(),
        rows: rows.iter().map(row).collect(),
    }
}

/// MAE over all steps, a column for each source.
fn sources(rows: &[Row]) -> Table {
    let mut sources: Vec<String> = rows.iter().map(|row| row.source.clone()).collect();
    sources.dedup();
    let ways = rows.chunk_by(|a, b| a.source == b.source).next();
    let row = |way: &Row| {
        let of = |source: &String| {
            let mut found = rows.iter().filter(|row| row.source == *source);
            let found = found.find(|row| row.way == way.way);
            maybe(found.map(|row| row.mae_tokens), 1)
        };
        let mut cells = vec![way.way.clone()];
        cells.extend(sources.iter().map(of));
        cells
    };
    Table {
        title: "MAE over all steps, by source of the prompts, all models".to_owned(),
        rows: ways.unwrap_or_default().iter().map(row).collect(),
        head: ["way".to_owned()]
            .into_iter()
            .chain(sources.clone())
            .collect(),
    }
}

/// What no reader of prompts can do much better than.
fn known(ceilings: &[Ceiling]) -> Option<Table> {
    let row = |of: &Ceiling| {
        let (mae, tau) = (format!("{:.1}", of.mae_tokens), format!("{:.3}", of.tau));
        vec![of.model.clone(), of.prompts.to_string(), mae, tau]
    };
    let head = ["model", "prompts", "MAE", "tau"];
    (!ceilings.is_empty()).then(|| Table {
        title: "At arrival, what the other answers to a prompt say of one: the limit of whoever \
                reads prompts"
            .to_owned(),
        head: head.map(str::to_owned).to_vec(),
        rows: ceilings.iter().map(row).collect(),
    })
}

fn quantiles(report: &Report) -> Option<Table> {
    let of = &report.calibration.quantiles;
    let shares = of.iter().map(|quantile| format!("{:.3}", quantile.share));
    let levels = of.iter().map(|quantile| format!("{:.1}", quantile.level));
    (!of.is_empty()).then(|| Table {
        title: "Share of lengths below each stated quantile, all models".to_owned(),
        head: ["quantile".to_owned()].into_iter().chain(levels).collect(),
        rows: vec![
            ["share below".to_owned()]
                .into_iter()
                .chain(shares)
                .collect(),
        ],
    })
}

/// Mean and deviation over seeds, a row for each model.
fn seeds(seeds: &[Vec<Row>]) -> Option<Table> {
    let first = seeds.first()?;
    let names = [
        "MAE",
        "MAE at arrival",
        "RMSE",
        "R2",
        "tau (one)",
        "tau (mean)",
    ];
    let row = |(i, row): (usize, &Row)| {
        let of = |get: fn(&Row) -> f32, digits: usize| {
            let values: Vec<f32> = seeds.iter().map(|rows| get(&rows[i])).collect();
            spread(&values, digits)
        };
        let arrival = |row: &Row| row.mae_by_step_tokens.first().copied().flatten();
        vec![
            row.model.clone(),
            of(|row| row.mae_tokens, 1),
            spread(
                &seeds
                    .iter()
                    .filter_map(|rows| arrival(&rows[i]))
                    .collect::<Vec<_>>(),
                1,
            ),
            of(|row| row.rmse_tokens, 1),
            of(|row| row.r2, 3),
            of(|row| row.tau_one, 3),
            of(|row| row.tau_mean, 3),
        ]
    };
    Some(Table {
        title: format!("{} seeds of training, mean ± deviation", seeds.len()),
        head: ["model"]
            .iter()
            .chain(&names)
            .map(|&name| name.to_owned())
            .collect(),
        rows: first.iter().enumerate().map(row).collect(),
    })
}

/// Mean and sample deviation.
fn spread(values: &[f32], digits: usize) -> String {
    let count = values.len() as f32;
    let mean = values.iter().sum::<f32>() / count;
    if values.len() < 2 {
        return format!("{mean:.digits$}");
    }
    let squares: f32 = values.iter().map(|value| (value - mean).powi(2)).sum();
    format!(
        "{mean:.digits$} ±{:.digits$}",
        (squares / (count - 1.0)).sqrt()
    )
}

/// Where a simpler way has a smaller error than the trained one: the best of them at each step, a
/// sentence for each model and way.
pub(super) fn losses(rows: &[Row]) -> Vec<String> {
    let mut found = Vec::new();
    for rows in rows.chunk_by(|a, b| a.model == b.model) {
        let Some((own, simpler)) = rows.split_first() else {
            continue;
        };
        let mut lost: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (step, own_mae) in own.mae_by_step_tokens.iter().enumerate() {
            let others = simpler.iter().filter_map(|row| {
                let mae = row.mae_by_step_tokens.get(step).copied().flatten()?;
                Some((row, mae))
            });
            let best = others.min_by(|a, b| a.1.total_cmp(&b.1));
            if let (Some(own_mae), Some((row, mae))) = (own_mae, best)
                && mae < *own_mae
            {
                let at = format!("{} ({mae:.1} against {own_mae:.1})", step_name(step));
                lost.entry(&row.way).or_default().push(at);
            }
        }
        for (way, at) in lost {
            let at = at.join(", ");
            found.push(format!("{}, {way}: after {at} tokens", own.model));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(way: &str, maes: [f32; 2]) -> Row {
        Row {
            way: way.to_owned(),
            model: "m".to_owned(),
            source: "all".to_owned(),
            samples: 9,
            mae_by_step_tokens: maes.map(Some).to_vec(),
            mae_tokens: maes[0],
            rmse_tokens: 2.0,
            r2: 0.5,
            tau_one: 0.5,
            tau_mean: 0.5,
            p90_coverage: None,
        }
    }

    #[test]
    fn a_simpler_way_that_is_better_is_named() {
        let rows = [
            row("trained", [9.0, 5.0]),
            row("a", [8.0, 6.0]),
            row("b", [7.0, 9.0]),
        ];
        assert_eq!(losses(&rows), ["m, b: after 0 (7.0 against 9.0) tokens"]);
        assert_eq!(losses(&rows[..1]), [""; 0]);
    }

    #[test]
    fn seeds_come_to_mean_and_deviation() {
        assert_eq!(spread(&[1.0, 3.0], 2), "2.00 ±1.41");
        assert_eq!(spread(&[1.0], 1), "1.0");
        let table = seeds(&[vec![row("t", [4.0, 1.0])], vec![row("t", [6.0, 1.0])]]).unwrap();
        assert_eq!(table.rows[0][..2], ["m", "5.0 ±1.4"]);
        assert!(seeds(&[]).is_none());
    }
}
