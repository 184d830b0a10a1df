//! The comparison as tables for a terminal.

use std::io::IsTerminal;

use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ContentArrangement, LineStyle, Table, presets,
};

use super::document::Document;
use super::text::{self, interval, number, percent, signed_percent, tame};
use crate::metrics::PolicyResult;
use crate::stats::paired::PairedResult;
use crate::stats::{Distribution, Verdict};

/// Below this width the lesser columns are left out.
const WIDE: u16 = 110;
/// Longest name of a policy in a table.
const NAME: usize = 24;

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableOptions {
    /// Columns of the terminal.
    pub width: u16,
    /// Whether to colour the verdicts.
    pub color: bool,
}

impl TableOptions {
    /// Asks the standard output; `NO_COLOR` or a pipe turn colours off, a pipe has 120 columns.
    pub fn detect() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let quiet = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let width = if terminal {
            Table::new().width().unwrap_or(120)
        } else {
            120
        };
        Self {
            width: width.clamp(60, 160),
            color: terminal && !quiet,
        }
    }
}

/// Draws the whole comparison; ends with a line feed.
pub fn render(document: &Document, options: TableOptions) -> String {
    let mut parts = vec![heading(document), results(document, options).to_string()];
    if !document.paired.is_empty() {
        let (against, basis) = document
            .paired
            .first()
            .map_or(("", ""), |p| (p.against.as_str(), p.basis.words()));
        let against = tame(against, NAME);
        parts.push(format!(
            "Reduction of JCT against {against}, 95 % by {basis}:"
        ));
        parts.push(paired(&document.paired, options).to_string());
    }
    parts.extend(gaps(document));
    if !document.controls.is_empty() {
        parts.push("A/A control, the baseline against itself; the interval should hold 0:".into());
        parts.push(paired(&document.controls, options).to_string());
    }
    let both = document.paired.iter().chain(&document.controls);
    let cautions = both.flat_map(|p| p.cautions.iter().map(|c| (p.policy.as_str(), c.as_str())));
    let lines = cautions
        .map(|(p, c)| format!("caution: {}: {}", tame(p, NAME), tame(c, 300)))
        .chain(
            document
                .notes
                .iter()
                .map(|note| format!("note: {}", tame(note, 400))),
        );
    parts.extend(lines.map(|line| text::wrap(&line, options.width.into())));
    parts.join("\n") + "\n"
}

/// The line that says where the figures come from.
fn heading(document: &Document) -> String {
    let seeds = document.results.first().map_or(0, |r| r.seeds.len());
    let kind = if document.simulated {
        "simulated figures"
    } else {
        "measured figures"
    };
    let policies = text::plural(document.results.len(), "policy", "policies");
    let seeds = text::plural(seeds, "seed", "seeds");
    let setting = text::setting(document);
    format!("{kind}: {policies}, {seeds}, {setting}")
}

pub(super) fn empty_table(options: TableOptions) -> Table {
    let mut table = Table::new();
    // Lines between rows would double the height and say nothing.
    table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(options.width);
    if options.color {
        table.enforce_styling()
    } else {
        table.force_no_tty()
    };
    table
}

/// Milliseconds, or seconds when a mean is above ten of them, for all times of a table.
fn unit(document: &Document) -> (f64, &'static str) {
    let largest = document
        .results
        .iter()
        .filter_map(|r| r.jct_ms.mean)
        .fold(0.0, f64::max);
    if largest >= 10_000.0 {
        (1e-3, "s")
    } else {
        (1.0, "ms")
    }
}

fn mean_with_margin(d: &Distribution, scale: f64) -> String {
    let mean = number(d.mean.map(|m| m * scale));
    match d.ci95 {
        Some([low, high]) => format!("{mean} ±{}", number(Some((high - low) / 2.0 * scale))),
        None => mean,
    }
}

/// A column: its head, whether a narrow table keeps it, and its cell.
type Column<'a> = (String, bool, Box<dyn Fn(&PolicyResult) -> String + 'a>);

/// What is known of simulated and of measured runs.
fn columns<'a>(scale: f64, unit: &str, simulated: bool) -> Vec<Column<'a>> {
    let mut columns = common_columns(scale, unit);
    columns.extend(if simulated {
        simulated_columns(scale, unit)
    } else {
        measured_columns()
    });
    columns
}

fn common_columns<'a>(scale: f64, unit: &str) -> Vec<Column<'a>> {
    let ms = move |value: Option<f64>| number(value.map(|v| v * scale));
    let head = |name: &str, what: &str| format!("{name}\n{what} {unit}");
    vec![
        ("policy".into(), true, Box::new(|r| tame(&r.policy, NAME))),
        (
            head("JCT", "mean"),
            true,
            Box::new(move |r| mean_with_margin(&r.jct_ms, scale)),
        ),
        (
            head("JCT", "p50"),
            false,
            Box::new(move |r| ms(r.jct_ms.p50)),
        ),
        (
            head("JCT", "p99"),
            true,
            Box::new(move |r| ms(r.jct_ms.p99)),
        ),
        (
            head("TTFT", "mean"),
            true,
            Box::new(move |r| ms(r.ttft_ms.mean)),
        ),
        (
            head("TTFT", "p99"),
            false,
            Box::new(move |r| ms(r.ttft_ms.p99)),
        ),
    ]
}

fn measured_columns<'a>() -> Vec<Column<'a>> {
    vec![
        // Times per token are always milliseconds: seconds would be all zeros.
        (
            "TPOT\nmean ms".into(),
            true,
            Box::new(|r| number(r.tpot_ms.mean)),
        ),
        (
            "TPOT\np99 ms".into(),
            false,
            Box::new(|r| number(r.tpot_ms.p99)),
        ),
        (
            "\nreq/s".into(),
            true,
            Box::new(|r| number(r.throughput_rps)),
        ),
        (
            "\ntokens/s".into(),
            false,
            Box::new(|r| number(r.output_tokens_per_s)),
        ),
        (
            "\nerrors".into(),
            true,
            Box::new(|r| text::count(r.lost + r.rejected)),
        ),
        (
            "lag p99\nms".into(),
            false,
            Box::new(|r| number(r.client.as_ref().and_then(|c| c.send_lag_ms.p99))),
        ),
    ]
}

fn simulated_columns<'a>(scale: f64, unit: &str) -> Vec<Column<'a>> {
    let ms = move |value: Option<f64>| number(value.map(|v| v * scale));
    let head = |name: &str, what: &str| format!("{name}\n{what} {unit}");
    vec![
        (
            head("queue", "mean"),
            false,
            Box::new(move |r| ms(r.queue_ms.mean)),
        ),
        (
            "slowd.\nmean".into(),
            true,
            Box::new(|r| number(r.slowdown.mean)),
        ),
        (
            "slowd.\nmax".into(),
            false,
            Box::new(|r| number(r.slowdown.max)),
        ),
        (
            "\nreq/s".into(),
            true,
            Box::new(|r| number(r.throughput_rps)),
        ),
        (
            "pre-\nempt.".into(),
            false,
            Box::new(|r| text::sum(&r.preemptions)),
        ),
        (
            "fall-\nbacks".into(),
            true,
            Box::new(|r| text::sum(&r.fallbacks)),
        ),
        (
            "un-\ndone".into(),
            false,
            Box::new(|r| text::count(r.lost + r.rejected)),
        ),
    ]
}

fn results(document: &Document, options: TableOptions) -> Table {
    let (scale, unit) = unit(document);
    let mut columns = columns(scale, unit, document.simulated);
    columns.retain(|(_, narrow, _)| *narrow || options.width >= WIDE);
    let mut table = empty_table(options);
    let heads: Vec<String> = columns.iter().map(|(head, ..)| head.clone()).collect();
    set_header(&mut table, &heads);
    for result in &document.results {
        let cells: Vec<String> = columns.iter().map(|(.., cell)| cell(result)).collect();
        add_row(&mut table, &cells);
    }
    table
}

fn paired(pairs: &[PairedResult], options: TableOptions) -> Table {
    let wide = options.width >= WIDE;
    let mut table = empty_table(options);
    let heads = [
        "policy",
        "1−ΣP/ΣB",
        "95 % interval",
        "mean of\nratios",
        "speed-up\n−1",
        "verdict",
    ];
    let mut heads: Vec<String> = heads.map(String::from).into();
    if wide {
        heads
            .extend(["faster\nrequests", "median Δ\nms", "seeds\nfor : against"].map(String::from));
    }
    set_header(&mut table, &heads);
    for pair in pairs {
        let jct = &pair.jct_reduction;
        let mut cells = vec![
            Cell::new(tame(&pair.policy, NAME)),
            right(signed_percent(jct.ratio_of_sums)),
            right(interval(jct.ci95)),
            right(signed_percent(jct.mean_of_ratios)),
            right(signed_percent(jct.speedup_minus_one)),
            verdict(pair.verdict),
        ];
        if wide {
            cells.push(right(percent(pair.better_share)));
            cells.push(right(number(pair.median_delta_ms)));
            cells.push(right(format!(
                "{} : {}",
                pair.seeds_better, pair.seeds_worse
            )));
        }
        table.add_row(cells);
    }
    table
}

/// One line for each share of the clairvoyant policy's reduction.
fn gaps(document: &Document) -> Vec<String> {
    let Some(bounds) = &document.bounds else {
        return Vec::new();
    };
    let bound = tame(&bounds.bound, NAME);
    let whole = signed_percent(bounds.reduction);
    let line = |policy: &str, share: Option<f64>| {
        format!(
            "{}: {} of what {bound} gains ({whole})",
            tame(policy, NAME),
            percent(share)
        )
    };
    bounds
        .gap_closed
        .iter()
        .map(|gap| line(&gap.policy, gap.share))
        .collect()
}

fn verdict(verdict: Verdict) -> Cell {
    let cell = Cell::new(verdict.words());
    match verdict {
        Verdict::Better => cell.fg(Color::Green),
        Verdict::Worse => cell.fg(Color::Red),
        Verdict::NoSignificantDifference => cell,
    }
}

fn right(text: String) -> Cell {
    Cell::new_owned(text).set_alignment(CellAlignment::Right)
}

pub(super) fn set_header(table: &mut Table, heads: &[String]) {
    table.set_header(
        heads
            .iter()
            .map(|head| Cell::new(head).add_attribute(Attribute::Bold)),
    );
}

pub(super) fn add_row(table: &mut Table, cells: &[String]) {
    let aligned = cells.iter().enumerate().map(|(i, cell)| match i {
        0 => Cell::new(cell),
        _ => right(cell.clone()),
    });
    table.add_row(aligned);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    fn widest(text: &str) -> usize {
        text.lines()
            .filter(|l| !l.starts_with("note"))
            .map(|l| l.chars().count())
            .max()
            .unwrap()
    }

    #[test]
    fn tables_fit_the_terminal() {
        let document = example::document(10, 200);
        let wide = render(
            &document,
            TableOptions {
                width: 120,
                color: false,
            },
        );
        let narrow = render(
            &document,
            TableOptions {
                width: 80,
                color: false,
            },
        );
        println!("{wide}\n{narrow}");
        assert!(widest(&wide) <= 120 && widest(&narrow) <= 80);
        assert!(wide.starts_with("simulated figures: 3 policies, 10 seeds"));
        assert!(wide.contains("p50 ms") && !narrow.contains("p50 ms"));
        assert!(wide.contains("of what srpt gains"));
        assert!(wide.contains("A/A control"));
        assert!(!wide.contains('\u{1b}'));
    }

    #[test]
    fn a_measured_table_has_the_columns_that_a_client_knows() {
        let document = example::measured();
        let options = |width| TableOptions {
            width,
            color: false,
        };
        let (wide, narrow) = (
            render(&document, options(120)),
            render(&document, options(80)),
        );
        assert!(widest(&wide) <= 120 && widest(&narrow) <= 80);
        let head = "measured figures: 2 policies, 3 seeds, model m at http://127.0.0.1:8080";
        assert!(wide.starts_with(head), "{wide}");
        assert!(wide.contains("TPOT") && wide.contains("errors") && wide.contains("lag p99"));
        assert!(!wide.contains("slowd.") && !wide.contains("predictor"));
    }

    #[test]
    fn colours_only_on_demand_and_names_are_tamed() {
        let mut document = example::document(5, 60);
        document.paired[0].policy = "\u{1b}[31mevil".into();
        let plain = render(
            &document,
            TableOptions {
                width: 120,
                color: false,
            },
        );
        assert!(!plain.contains('\u{1b}'));
        let coloured = render(
            &document,
            TableOptions {
                width: 120,
                color: true,
            },
        );
        assert!(coloured.contains("\u{1b}[38;5;10m"), "{coloured}");
    }
}
