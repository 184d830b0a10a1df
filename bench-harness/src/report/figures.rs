//! The figures of the page, drawn from the document alone.

use serde::Serialize;

use super::document::Document;
use super::svg::{Axis, Bar, BarGroup, Bars, Forest, ForestRow, Line, Plot, Scale};
use super::text::tame;
use crate::metrics::ClassResult;
use crate::stats::paired::PairedResult;
use crate::stats::{Basis, Verdict};

/// A drawing with its caption.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// Heading.
    pub title: String,
    /// What to see and how it was computed.
    pub caption: String,
    /// The drawing, with all foreign text escaped.
    pub svg: String,
}

/// All figures that the document has data for, in order of appearance.
pub fn figures(document: &Document) -> Vec<Figure> {
    let all = [
        reductions(document),
        cdf(
            document,
            "Job completion time",
            "JCT (ms, log scale)",
            |s| &s.jct_cdf,
        ),
        cdf(
            document,
            "Time to first token",
            "TTFT (ms, log scale)",
            |s| &s.ttft_cdf,
        ),
        by_length(document),
        queue(document),
        unfinished(document),
        load(document),
    ];
    all.into_iter().flatten().collect()
}

fn short(name: &str) -> String {
    tame(name, 20)
}

fn row(pair: &PairedResult) -> Option<ForestRow> {
    let jct = &pair.jct_reduction;
    Some(ForestRow {
        label: short(&pair.policy),
        estimate: jct.ratio_of_sums?,
        ci95: jct.ci95,
        class: match pair.verdict {
            Verdict::Better => "good",
            Verdict::Worse => "bad",
            Verdict::NoSignificantDifference => "neutral",
        },
        others: [jct.mean_of_ratios, jct.speedup_minus_one]
            .into_iter()
            .flatten()
            .collect(),
    })
}

fn reductions(document: &Document) -> Option<Figure> {
    let pair = document.paired.first()?;
    let basis = pair.basis.words();
    let mut rows: Vec<ForestRow> = document.paired.iter().filter_map(row).collect();
    let mark = |mut row: ForestRow| {
        row.label = format!("A/A {}", tame(&row.label, 16));
        row
    };
    // A control of split seeds is not paired; its wide interval would squeeze all the others.
    let paired_controls = document
        .controls
        .iter()
        .filter(|c| c.basis != Basis::SplitSeeds);
    rows.extend(paired_controls.filter_map(row).map(mark));
    let svg = Forest {
        title: "Reduction of the mean job completion time with 95 % intervals".into(),
        x_label: "reduction of JCT (%), right of zero is better".into(),
        rows,
    };
    Some(Figure {
        title: format!("Reduction of JCT against {}", tame(&pair.against, 40)),
        caption: format!(
            "Dots: 1 − ΣP/ΣB over the same requests; bars: 95 % interval ({basis}); ticks: mean \
             of ratios and speed-up − 1. A row marked A/A sets the baseline against itself and \
             shows what no difference looks like."
        ),
        svg: svg.render(),
    })
}

fn cdf(
    document: &Document,
    title: &str,
    label: &str,
    points: fn(&super::PolicySeries) -> &Vec<[f64; 2]>,
) -> Option<Figure> {
    let lines = lines(document, points);
    let xs: Vec<f64> = lines
        .iter()
        .flat_map(|l| l.points.iter().map(|p| p[0]))
        .collect();
    if xs.is_empty() {
        return None;
    }
    let plot = Plot {
        title: format!("{title}: share of requests below a time, for each policy"),
        x: Axis::new(label, Scale::log(xs)),
        y: Axis::new("share of requests", Scale::fixed(0.0, 1.0)),
        lines,
        bins: Vec::new(),
    };
    Some(Figure {
        title: title.into(),
        caption: "Share of completed requests at or below a time, all seeds pooled. Further left \
                  is better."
            .into(),
        svg: plot.render(),
    })
}

fn lines(document: &Document, points: fn(&super::PolicySeries) -> &Vec<[f64; 2]>) -> Vec<Line> {
    let drawn = document
        .series
        .iter()
        .enumerate()
        .filter(|(_, s)| !points(s).is_empty());
    drawn
        .map(|(color, s)| Line {
            name: short(&s.policy),
            points: points(s).clone(),
            color,
            dots: false,
        })
        .collect()
}

/// Slowdown by length; where the time alone is not known, the JCT itself.
fn by_length(document: &Document) -> Option<Figure> {
    let known = |class: &ClassResult| class.slowdown.mean.is_some();
    if document.results.iter().flat_map(|r| &r.classes).any(known) {
        return classes(
            document,
            |class| class.slowdown.mean,
            [
                "Who pays: slowdown by length",
                "Mean slowdown of short, medium and long requests",
                "mean slowdown (×)",
                "Mean of JCT over the time alone on the same worker; 1 is ideal.",
            ],
        );
    }
    classes(
        document,
        |class| class.jct_ms.mean,
        [
            "Who pays: JCT by length",
            "Mean job completion time of short, medium and long requests",
            "mean JCT (ms)",
            "Mean JCT; the time alone on the server is not known, so there is no slowdown.",
        ],
    )
}

fn classes(
    document: &Document,
    value: fn(&ClassResult) -> Option<f64>,
    [title, for_readers, y_label, caption]: [&str; 4],
) -> Option<Figure> {
    let results = &document.results;
    let with_classes = results.iter().find(|r| !r.classes.is_empty())?;
    let group = |class: &ClassResult| BarGroup {
        label: format!(
            "{} ({}–{})",
            class.class, class.from_tokens, class.to_tokens
        ),
        bars: results
            .iter()
            .enumerate()
            .filter_map(|(series, r)| {
                let same = r.classes.iter().find(|c| c.class == class.class)?;
                Some(Bar {
                    series,
                    value: value(same)?,
                })
            })
            .collect(),
    };
    let bars = Bars {
        title: for_readers.into(),
        y_label: y_label.into(),
        x_label: "length of the response (tokens)".into(),
        series: results.iter().map(|r| short(&r.policy)).collect(),
        groups: with_classes.classes.iter().map(group).collect(),
    };
    Some(Figure {
        title: title.into(),
        caption: format!("{caption} Classes are thirds of the requests by length of the response."),
        svg: bars.render(),
    })
}

fn queue(document: &Document) -> Option<Figure> {
    let lines = lines(document, |s| &s.queue);
    let points = || lines.iter().flat_map(|l| l.points.iter());
    points().next()?;
    let seed = document
        .series
        .iter()
        .find_map(|s| s.queue_seed)
        .unwrap_or_default();
    let plot = Plot {
        title: "Jobs without a slot over time, for each policy".into(),
        x: Axis::new("time (s)", Scale::linear(points().map(|p| p[0]))),
        y: Axis::new("jobs waiting", Scale::linear(points().map(|p| p[1]))),
        lines: lines.clone(),
        bins: Vec::new(),
    };
    Some(Figure {
        title: "Queue over time".into(),
        caption: format!("Jobs without a slot in the run of seed {seed}, means of short spans."),
        svg: plot.render(),
    })
}

fn unfinished(document: &Document) -> Option<Figure> {
    let lines = lines(document, |s| &s.unfinished);
    let points = || lines.iter().flat_map(|l| l.points.iter());
    points().next()?;
    let plot = Plot {
        title: "Requests that have come and are not done over time, for each policy".into(),
        x: Axis::new("time (s)", Scale::linear(points().map(|p| p[0]))),
        y: Axis::new("requests", Scale::linear(points().map(|p| p[1]))),
        lines: lines.clone(),
        bins: Vec::new(),
    };
    Some(Figure {
        title: "Requests under way over time".into(),
        caption:
            "Requests from their intended start to their last token, in the first run of each \
                  policy; means of short spans."
                .into(),
        svg: plot.render(),
    })
}

fn load(document: &Document) -> Option<Figure> {
    if document.loads.len() < 2 {
        return None;
    }
    let line = |(color, result): (usize, &crate::metrics::PolicyResult)| Line {
        name: short(&result.policy),
        points: document
            .loads
            .iter()
            .filter_map(|point| {
                let same = point.results.iter().find(|r| r.policy == result.policy)?;
                Some([point.rate_rps, same.jct_ms.mean?])
            })
            .collect(),
        color,
        dots: true,
    };
    let mut lines: Vec<Line> = document.results.iter().enumerate().map(line).collect();
    for line in &mut lines {
        line.points.sort_by(|a, b| a[0].total_cmp(&b[0]));
    }
    let points = || lines.iter().flat_map(|l| l.points.iter());
    let plot = Plot {
        title: "Mean job completion time against load, for each policy".into(),
        x: Axis::new(
            "offered load (requests/s)",
            Scale::linear(points().map(|p| p[0])),
        ),
        y: Axis::new("mean JCT (ms)", Scale::linear(points().map(|p| p[1]))),
        lines: lines.clone(),
        bins: Vec::new(),
    };
    let labels: Vec<String> = document.loads.iter().map(|l| tame(&l.label, 12)).collect();
    Some(Figure {
        title: "JCT against load".into(),
        caption: format!("Mean JCT at offered loads {}.", labels.join(", ")),
        svg: plot.render(),
    })
}
