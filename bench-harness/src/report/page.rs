//! The comparison as one self-contained HTML page.

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;

use super::ReportError;
use super::document::Document;
use super::figures::{Figure, figures};
use super::measured;
use super::text::{self, count, interval, number, p_value, percent, signed_percent, tame};
use crate::stats::{Distribution, Verdict};

const BASE: &str = include_str!("../../templates/base.html");
pub(super) const TEMPLATE: &str = include_str!("../../templates/report.html");
const STYLE: &str = include_str!("../../templates/report.css");

/// A table of the page; the first cell of a row is its head.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct PageTable {
    pub(super) title: String,
    pub(super) caption: String,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

/// A sentence that gives a verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Finding {
    policy: String,
    against: String,
    class: &'static str,
    verdict: &'static str,
    estimate: String,
    interval: String,
    share: Option<String>,
}

/// Where the figures come from, in a word and in a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Badge {
    word: &'static str,
    sentence: &'static str,
}

pub(super) const SIMULATED: Badge = Badge {
    word: "Simulated",
    sentence: "Times come from a cost model replayed on a virtual clock, not from a GPU. Compare \
               policies with one another; do not quote the times as measurements.",
};
const MEASURED: Badge = Badge {
    word: "Measured",
    sentence: "A client measured these times on its own clock, before a real server. Latencies \
               count from the intended start of each request, whenever it was sent.",
};

/// What the template shows; lists may be empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Page {
    pub(super) badge: Option<Badge>,
    pub(super) title: String,
    pub(super) lead: String,
    pub(super) findings: Vec<Finding>,
    pub(super) figures: Vec<Figure>,
    pub(super) tables: Vec<PageTable>,
    pub(super) notes: Vec<String>,
    pub(super) cautions: Vec<String>,
    pub(super) provenance: Vec<(String, String)>,
}

/// Renders the page.
pub fn render(document: &Document) -> Result<String, ReportError> {
    let seeds = document
        .results
        .iter()
        .map(|r| r.seeds.len())
        .max()
        .unwrap_or(0);
    let both = document.paired.iter().chain(&document.controls);
    let cautions: Vec<String> = both
        .flat_map(|p| {
            p.cautions
                .iter()
                .map(move |c| format!("{}: {c}", tame(&p.policy, 40)))
        })
        .collect();
    let requests = count(document.results.first().map_or(0, |r| r.requests));
    fill(
        TEMPLATE,
        &Page {
            badge: Some(if document.simulated {
                SIMULATED
            } else {
                MEASURED
            }),
            title: "Elis: comparison of policies".into(),
            lead: format!(
                "{}, {requests} requests each over {}, {}",
                text::plural(document.results.len(), "policy", "policies"),
                text::plural(seeds, "seed", "seeds"),
                text::setting(document)
            ),
            findings: findings(document),
            figures: figures(document),
            tables: tables(document),
            notes: document.notes.clone(),
            cautions,
            provenance: provenance(document),
        },
    )
}

/// Fills a template that extends the base; escapes everything but drawings and the style sheet.
pub(super) fn fill(template: &str, page: &impl Serialize) -> Result<String, ReportError> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("base.html", BASE)?;
    environment.add_template("page.html", template)?;
    environment.add_global("style", STYLE);
    let template = environment.get_template("page.html")?;
    Ok(template.render(Serde(page))?)
}

/// The tables that the document has figures for.
fn tables(document: &Document) -> Vec<PageTable> {
    let mut tables = vec![times(document)];
    if !document.paired.is_empty() || !document.controls.is_empty() {
        tables.push(comparison(document));
    }
    if document.simulated {
        tables.extend([costs(document), fairness(document)]);
    } else {
        tables.push(measured::rates(document));
    }
    tables
}

fn findings(document: &Document) -> Vec<Finding> {
    let share_of = |policy: &str| {
        let bounds = document.bounds.as_ref()?;
        let gap = bounds.gap_closed.iter().find(|gap| gap.policy == policy)?;
        Some(format!(
            "{} of what {} gains",
            percent(gap.share),
            tame(&bounds.bound, 40)
        ))
    };
    let finding = |p: &crate::stats::paired::PairedResult| Finding {
        policy: tame(&p.policy, 60),
        against: tame(&p.against, 60),
        class: match p.verdict {
            Verdict::Better => "good",
            Verdict::Worse => "bad",
            Verdict::NoSignificantDifference => "neutral",
        },
        verdict: p.verdict.words(),
        estimate: signed_percent(p.jct_reduction.ratio_of_sums),
        interval: interval(p.jct_reduction.ci95),
        share: share_of(&p.policy),
    };
    document.paired.iter().map(finding).collect()
}

/// Heads of columns.
pub(super) fn strings<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(String::from).into()
}

fn times(document: &Document) -> PageTable {
    let row = |name: &str, what: &str, d: &Distribution| {
        if !document.simulated && d.n == 0 {
            // From outside a server, some times are never known.
            return None;
        }
        let ci = d
            .ci95
            .map(|[l, h]| format!("{}–{}", number(Some(l)), number(Some(h))));
        let mut cells = vec![format!("{} {what}", tame(name, 40)), number(d.mean)];
        cells.push(ci.unwrap_or_else(|| text::NONE.into()));
        cells.extend([d.p50, d.p90, d.p99, d.p999, d.max].map(number));
        Some(cells)
    };
    let rows = document.results.iter().flat_map(|r| {
        let all = [
            row(&r.policy, "JCT", &r.jct_ms),
            row(&r.policy, "TTFT", &r.ttft_ms),
            row(&r.policy, "TPOT", &r.tpot_ms),
            row(&r.policy, "queue", &r.queue_ms),
            row(&r.policy, "slowdown", &r.slowdown),
        ];
        all.into_iter().flatten()
    });
    PageTable {
        title: "Times".into(),
        caption: "Milliseconds; slowdown is a factor. Percentiles are nearest-rank over all \
                  seeds; the interval is Student's t over the means of the seeds. p99.9 needs \
                  1,000 values."
            .into(),
        head: strings([
            "",
            "mean",
            "95 % of mean",
            "p50",
            "p90",
            "p99",
            "p99.9",
            "max",
        ]),
        rows: rows.collect(),
    }
}

fn comparison(document: &Document) -> PageTable {
    let row = |p: &crate::stats::paired::PairedResult| {
        let jct = &p.jct_reduction;
        vec![
            tame(&p.policy, 40),
            p.verdict.words().into(),
            signed_percent(jct.ratio_of_sums),
            interval(jct.ci95),
            signed_percent(jct.mean_of_ratios),
            signed_percent(jct.speedup_minus_one),
            signed_percent(p.ttft_reduction.ratio_of_sums),
            interval(p.ttft_reduction.ci95),
            format!("{} / {}", percent(p.better_share), percent(p.worse_share)),
            number(p.median_delta_ms),
            format!("{} : {}", p.seeds_better, p.seeds_worse),
            p_value(p.seeds_sign_test_p),
        ]
    };
    let first = document.paired.first();
    let basis = first.map_or("", |p| p.basis.words());
    let against = tame(first.map_or("the baseline", |p| &p.against), 40);
    PageTable {
        title: "Paired comparison".into(),
        caption: format!(
            "The same requests under the policy and under {against}. A reduction is positive \
             when the policy is better; the ELIS paper's figure 6 is speed-up − 1. Interval: \
             {basis}. The last rows set the baseline against itself."
        ),
        head: strings([
            "policy",
            "verdict",
            "JCT 1−ΣP/ΣB",
            "95 %",
            "mean of ratios",
            "speed-up −1",
            "TTFT 1−ΣP/ΣB",
            "95 %",
            "faster / slower",
            "median Δ ms",
            "seeds",
            "sign p",
        ]),
        rows: document
            .paired
            .iter()
            .chain(&document.controls)
            .map(row)
            .collect(),
    }
}

fn costs(document: &Document) -> PageTable {
    let row = |r: &crate::metrics::PolicyResult| {
        let wall = r.decision_us.as_ref();
        vec![
            tame(&r.policy, 40),
            number(r.throughput_rps),
            number(r.output_tokens_per_s),
            percent(r.goodput.share),
            percent(r.utilisation),
            format!(
                "{} / {} / {}",
                count(r.completed),
                count(r.rejected),
                count(r.lost)
            ),
            text::sum(&r.preemptions),
            text::sum(&r.decisions),
            text::sum(&r.fallbacks),
            text::sum(&r.plan_faults),
            number(r.fuel.as_ref().map(|f| f.mean)),
            number(wall.map(|w| w.mean)),
            number(wall.map(|w| w.p99)),
        ]
    };
    PageTable {
        title: "Rates and costs".into(),
        caption: "Rates are per second of makespan. Decision times are real time on the machine \
                  that simulated, p99 the largest of the runs'; all else is simulated."
            .into(),
        head: strings([
            "policy",
            "req/s",
            "tokens/s",
            "goodput",
            "utilised",
            "done / refused / lost",
            "preemptions",
            "decisions",
            "fallbacks",
            "plan faults",
            "fuel mean",
            "decision µs",
            "p99 µs",
        ]),
        rows: document.results.iter().map(row).collect(),
    }
}

fn fairness(document: &Document) -> PageTable {
    let row = |r: &crate::metrics::PolicyResult| {
        vec![
            tame(&r.policy, 40),
            number(r.jain_tenants),
            number(r.jain_requests),
            number(r.longest_wait_ms),
            percent(r.overtaken_share),
            number(r.slowdown.max),
            number(r.waiting_mean),
            number(r.prediction.mae_tokens),
            number(r.prediction.kendall_tau_b),
        ]
    };
    PageTable {
        title: "Fairness and prediction".into(),
        caption: "Jain's index: 1 is even. Tenants: of their mean slowdowns; requests: of \
                  1/slowdown. Overtaken: a later request finished earlier."
            .into(),
        head: strings([
            "policy",
            "Jain tenants",
            "Jain requests",
            "longest wait ms",
            "overtaken",
            "slowdown max",
            "mean queue",
            "MAE tokens",
            "Kendall τ",
        ]),
        rows: document.results.iter().map(row).collect(),
    }
}

/// Where the figures come from, as pairs of a path and a value.
fn provenance(document: &Document) -> Vec<(String, String)> {
    let generated = &document.generated;
    let mut lines = vec![
        ("format".into(), document.schema.clone()),
        (
            "tool".into(),
            format!("{} {}", generated.tool, generated.version),
        ),
        (
            "commit".into(),
            generated
                .commit
                .clone()
                .unwrap_or_else(|| "not known".into()),
        ),
        ("command".into(), generated.command.join(" ")),
        ("predictor".into(), document.predictor.clone()),
    ];
    flatten("workload", &document.workload, &mut lines);
    flatten("worker", &document.worker, &mut lines);
    for result in &document.results {
        lines.push((
            format!("policy {}", tame(&result.policy, 40)),
            result.digest.clone(),
        ));
    }
    lines
}

/// Turns nested objects into dotted paths; lists are written as they are.
pub(super) fn flatten(path: &str, value: &serde_json::Value, lines: &mut Vec<(String, String)>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, inner) in fields {
                flatten(&format!("{path}.{key}"), inner, lines);
            }
        }
        serde_json::Value::String(text) => lines.push((path.into(), text.clone())),
        serde_json::Value::Null => {}
        other => lines.push((path.into(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    #[test]
    fn the_page_is_whole_and_needs_nothing_else() {
        let page = render(&example::document(10, 400)).unwrap();
        if let Some(path) = std::env::var_os("ELIS_PAGE") {
            std::fs::write(path, &page).unwrap();
        }
        assert_eq!(page.matches("<svg").count(), 6);
        assert_eq!(page.matches("<table").count(), 4);
        assert!(page.contains("Simulated") && !page.contains("Measured"));
        let links = ["src=", "href=\"http", "url(", "@import", "<script"];
        assert!(links.iter().all(|link| !page.contains(link)));
    }

    #[test]
    fn a_measured_page_says_so_and_shows_what_a_client_knows() {
        let page = render(&example::measured()).unwrap();
        assert!(page.contains("Measured") && !page.contains("Simulated"));
        assert!(page.contains("http-429 3"));
        for simulated in ["queue</th>", "slowdown</th>", "fallbacks", "cost model"] {
            assert!(!page.contains(simulated), "{simulated}");
        }
        // Reduction, two distributions, JCT by length, requests under way.
        assert_eq!(page.matches("<svg").count(), 5);
        assert_eq!(page.matches("<table").count(), 3);
    }

    #[test]
    fn hostile_names_stay_text() {
        let mut document = example::document(2, 40);
        let name = "</title><script>alert(1)</script>\"'";
        document.results[0].policy = name.into();
        document.paired[0].policy = name.into();
        document.series[0].policy = name.into();
        document.loads[0].label = name.into();
        document.workload = serde_json::json!({ name: name });
        document.notes = vec![name.into()];
        document.predictor = name.into();
        let page = render(&document).unwrap();
        assert!(!page.contains("<script"));
    }
}
