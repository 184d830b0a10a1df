//! The page of `eval`: one HTML file that needs nothing else.

use elis_predictor::learn::{Calibration, Row, STEP_TOKENS, StepError};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;

use super::Report;
use super::charts::{Chart, Line, draw};
use super::tables::{LEGEND, tables};

const TEMPLATE: &str = include_str!("../../../templates/eval.html");
const STYLE: &str = include_str!("../../../templates/eval.css");

#[derive(Debug, Serialize)]
struct Figure {
    title: String,
    svg: String,
    caption: &'static str,
    /// Names of the lines, in the order of their colours.
    names: Vec<String>,
}

#[derive(Debug, Serialize)]
struct PageTable {
    title: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

#[derive(Debug, Serialize)]
struct Page<'a> {
    title: &'static str,
    lead: String,
    legend: &'static str,
    figures: Vec<Figure>,
    tables: Vec<PageTable>,
    losses: &'a [String],
    origin: Vec<(String, String)>,
}

/// Renders the page; `origin` says where the figures come from.
pub(super) fn render(report: &Report, origin: Vec<(String, String)>) -> anyhow::Result<String> {
    let tables = tables(report).into_iter().map(|table| PageTable {
        title: table.title,
        head: table.head,
        rows: table.rows,
    });
    let samples = report.rows.last().map_or(0, |row| row.samples);
    let page = Page {
        title: "Elis: a length predictor, judged",
        lead: format!("{samples} lengths of prompts that it was not fitted to"),
        legend: LEGEND,
        figures: figures(report)?,
        tables: tables.collect(),
        losses: &report.losses,
        origin,
    };
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("eval.html", TEMPLATE)?;
    environment.add_global("style", STYLE);
    let template = environment.get_template("eval.html")?;
    Ok(template.render(Serde(&page))?)
}

fn figures(report: &Report) -> anyhow::Result<Vec<Figure>> {
    let all: Vec<&Row> = report
        .rows
        .iter()
        .filter(|row| row.model == "all")
        .collect();
    let mut charts = vec![(by_step("All sources", &all), STEPS)];
    for rows in report.by_source.chunk_by(|a, b| a.source == b.source) {
        let rows: Vec<&Row> = rows.iter().collect();
        charts.push((by_step(&rows[0].source, &rows), STEPS));
    }
    charts.extend(calibration(&report.calibration));
    let figure = |(chart, caption): (Chart, &'static str)| {
        Ok(Figure {
            svg: draw(&chart)?,
            names: chart.lines.into_iter().map(|line| line.name).collect(),
            title: chart.title,
            caption,
        })
    };
    charts.into_iter().map(figure).collect()
}

const STEPS: &str = "Mean absolute error in tokens after so many tokens of the response. Later \
    steps have fewer and longer responses. The trained way is the thick line.";

fn by_step(source: &str, rows: &[&Row]) -> Chart {
    let line = |row: &&Row| {
        let maes = row.mae_by_step_tokens.iter().enumerate();
        let point =
            |(step, mae): (usize, &Option<f32>)| Some((generated(step), f64::from((*mae)?)));
        Line {
            name: row.way.clone(),
            points: maes.filter_map(point).collect(),
        }
    };
    Chart {
        title: format!("{source}: error by step"),
        x_label: "tokens generated",
        y_label: "MAE, tokens",
        lines: rows.iter().map(line).collect(),
        diagonal: false,
    }
}

fn generated(step: usize) -> f64 {
    step as f64 * f64::from(STEP_TOKENS)
}

fn calibration(of: &Calibration) -> Vec<(Chart, &'static str)> {
    let chart = |title: &str, x_label, y_label, lines, diagonal| Chart {
        title: title.to_owned(),
        x_label,
        y_label,
        lines,
        diagonal,
    };
    let line = |name: &str, points: Vec<(f64, f64)>| Line {
        name: name.to_owned(),
        points,
    };
    let error = |name: &str, get: fn(&StepError) -> f32| {
        let at = |e: &StepError| (generated(e.step), f64::from(get(e)));
        line(name, of.errors.iter().map(at).collect())
    };
    let shares = of.quantiles.iter();
    let shares = shares.map(|q| (f64::from(q.level), f64::from(q.share)));
    let means = of.deciles.iter();
    let means = means.map(|d| (f64::from(d.said_tokens), f64::from(d.true_mean_tokens)));
    let medians = of.deciles.iter();
    let medians = medians.map(|d| (f64::from(d.said_tokens), f64::from(d.true_median_tokens)));
    let mut charts = vec![];
    if !of.quantiles.is_empty() {
        let lines = vec![line("trained", shares.collect())];
        let title = "Quantiles: stated and met";
        charts.push((
            chart(title, "stated quantile", "share below it", lines, true),
            QUANTILES,
        ));
    }
    let lines = vec![
        line("median of the lengths", medians.collect()),
        line("mean of the lengths", means.collect()),
    ];
    let title = "Said and true, by tenths of the predictions";
    charts.push((
        chart(title, "tokens said", "tokens true", lines, true),
        DECILES,
    ));
    let lines = vec![
        error("median", |e| e.median_tokens),
        error("one in ten is below", |e| e.p10_tokens),
        error("nine in ten are below", |e| e.p90_tokens),
        error("mean, the bias", |e| e.mean_tokens),
    ];
    let title = "Said less true, by step";
    charts.push((
        chart(title, "tokens generated", "error, tokens", lines, false),
        ERRORS,
    ));
    charts
}

const QUANTILES: &str = "For each quantile that the trained way states, the share of lengths below \
    it. On the thin line every quantile is what it says.";
const DECILES: &str = "Predictions of the trained way sorted and cut into tenths: what was said on \
    average, and what it came to. The prediction is a median, so the medians belong on the line.";
const ERRORS: &str = "Errors of the trained way: below zero it said too little.";

#[cfg(test)]
mod tests {
    use elis_predictor::learn::{Decile, QuantileShare};

    use super::*;

    fn report(name: &str) -> Report {
        let row = |way: &str, model: &str, source: &str| Row {
            way: way.to_owned(),
            model: model.to_owned(),
            source: source.to_owned(),
            samples: 9,
            mae_by_step_tokens: vec![Some(9.0), None, Some(7.0)],
            mae_tokens: 9.0,
            rmse_tokens: 2.0,
            r2: 0.5,
            tau_one: 0.5,
            tau_mean: 0.5,
            p90_coverage: None,
        };
        Report {
            schema: "elis-predictor-eval/1",
            split: "by prompt",
            rows: vec![row("trained", name, "all"), row("trained", "all", "all")],
            by_source: vec![row("trained", "all", name), row(name, "all", name)],
            ceilings: vec![],
            calibration: Calibration {
                quantiles: vec![QuantileShare {
                    level: 0.9,
                    share: 0.8,
                }],
                deciles: vec![Decile {
                    said_tokens: 10.0,
                    true_mean_tokens: 12.0,
                    true_median_tokens: 11.0,
                    samples: 9,
                }],
                errors: vec![StepError {
                    step: 0,
                    mean_tokens: 1.0,
                    p10_tokens: -20.0,
                    median_tokens: -1.0,
                    p90_tokens: 20.0,
                    samples: 9,
                }],
            },
            losses: vec![format!("{name} is better")],
            seeds: vec![],
            leaky: vec![],
        }
    }

    #[test]
    fn the_page_is_whole_and_needs_nothing_else() {
        let page = render(&report("m"), vec![("tool".into(), "t".into())]).unwrap();
        if let Some(path) = std::env::var_os("ELIS_PAGE") {
            std::fs::write(path, &page).unwrap();
        }
        assert_eq!(page.matches("<svg").count(), 5);
        assert_eq!(page.matches("role=\"img\"").count(), 5);
        assert_eq!(page.matches("<table").count(), 4);
        let links = ["src=", "href=", "url(", "@import", "<script"];
        assert!(links.iter().all(|link| !page.contains(link)));
    }

    #[test]
    fn hostile_names_stay_text() {
        let name = "</title><script>alert(1)</script>\"'";
        let page = render(&report(name), vec![(name.into(), name.into())]).unwrap();
        assert!(!page.contains("<script"));
    }
}
