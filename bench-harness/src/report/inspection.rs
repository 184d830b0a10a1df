//! A page that shows what a workload is like: gaps, lengths and arrivals over time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use statrs::distribution::{Continuous, Gamma};

use super::ReportError;
use super::figures::Figure;
use super::page::{Page, TEMPLATE, fill, flatten};
use super::svg::{Axis, Bin, Line, Plot, Scale};
use super::text::{number, tame};
use crate::stats::Sample;

/// Bars of a histogram.
const BINS: usize = 48;

/// What is drawn of a workload.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Inspection {
    /// Name of the workload.
    pub name: String,
    /// Its provenance.
    pub provenance: Value,
    /// Arrival of each request since the start, seconds.
    pub arrival_s: Vec<f64>,
    /// Time between neighbouring arrivals, seconds.
    pub gap_s: Vec<f64>,
    /// Length of each prompt, tokens.
    pub prompt_tokens: Vec<f64>,
    /// Length of each response, tokens.
    pub output_tokens: Vec<f64>,
    /// The fitted Gamma law, if one was fitted.
    pub gamma: Option<GammaFit>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// A Gamma law of the gaps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GammaFit {
    /// Shape α; below 1 is burstier than Poisson.
    pub shape: f64,
    /// Scale β, seconds; the mean is α·β.
    pub scale_s: f64,
}

impl GammaFit {
    /// The law with the mean and variance of `gap_s`: α = x̄²/s², β = s²/x̄.
    pub fn by_moments(gap_s: &[f64]) -> Option<Self> {
        let mean = crate::stats::sample::mean(gap_s)?;
        let squares: f64 = gap_s.iter().map(|g| (g - mean).powi(2)).sum();
        let variance = squares / (gap_s.len() as f64 - 1.0);
        let fit = Self {
            shape: mean * mean / variance,
            scale_s: variance / mean,
        };
        (fit.shape.is_finite() && fit.scale_s > 0.0).then_some(fit)
    }
}

/// Renders the page.
pub fn render(inspection: &Inspection) -> Result<String, ReportError> {
    let figures: Vec<Figure> = [
        gaps(inspection),
        arrivals(&inspection.arrival_s),
        lengths("Prompts", &inspection.prompt_tokens),
        lengths("Responses", &inspection.output_tokens),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut provenance = Vec::new();
    flatten("workload", &inspection.provenance, &mut provenance);
    fill(
        TEMPLATE,
        &Page {
            title: format!("Workload {}", tame(&inspection.name, 80)),
            lead: lead(inspection),
            figures,
            notes: inspection.notes.clone(),
            provenance,
            ..Page::default()
        },
    )
}

fn lead(inspection: &Inspection) -> String {
    let fit = inspection.gamma.map(|g| {
        let (shape, scale) = (number(Some(g.shape)), number(Some(g.scale_s)));
        format!(", gaps Gamma(α = {shape}, β = {scale} s)")
    });
    format!(
        "{} requests{}",
        inspection.arrival_s.len(),
        fit.unwrap_or_default()
    )
}

/// Densities of equal bins from 0 to the 99.5th percentile; the rest would flatten the picture.
fn histogram(sample: &Sample) -> Vec<Bin> {
    let Some(top) = sample.quantile(0.995).filter(|top| *top > 0.0) else {
        return Vec::new();
    };
    let width = top / BINS as f64;
    let mut counts = [0u64; BINS];
    for value in sample.values().iter().filter(|v| (0.0..=top).contains(*v)) {
        counts[((value / width) as usize).min(BINS - 1)] += 1;
    }
    let density = |count: u64| count as f64 / sample.len() as f64 / width;
    let bin = |(i, count): (usize, &u64)| Bin {
        from: i as f64 * width,
        to: (i + 1) as f64 * width,
        value: density(*count),
    };
    counts.iter().enumerate().map(bin).collect()
}

fn gaps(inspection: &Inspection) -> Option<Figure> {
    let bins = histogram(&Sample::new(inspection.gap_s.iter().copied()));
    let last = bins.last()?.to;
    let highest = bins.iter().map(|b| b.value).fold(0.0, f64::max);
    let law = inspection
        .gamma
        .and_then(|g| Gamma::new(g.shape, 1.0 / g.scale_s).ok());
    // A law with α < 1 is infinite at 0; it is drawn from the first half bin on.
    let xs = (0..=200)
        .map(|i| last * (0.25 / BINS as f64 + f64::from(i) / 200.0))
        .collect::<Vec<_>>();
    let curve = |law: Gamma| Line {
        name: "fitted Gamma law".into(),
        points: xs
            .iter()
            .filter(|x| **x <= last)
            .map(|x| [*x, law.pdf(*x)])
            .collect(),
        color: 1,
        dots: false,
    };
    let plot = Plot {
        title: "Density of the time between arrivals".into(),
        x: Axis::new("time between arrivals (s)", Scale::fixed(0.0, last)),
        y: Axis::new("density (1/s)", Scale::linear([highest * 1.05])),
        lines: law.map(curve).into_iter().collect(),
        bins,
    };
    Some(Figure {
        title: "Time between arrivals".into(),
        caption: "Histogram up to the 99.5th percentile, with the fitted law.".into(),
        svg: plot.render(),
    })
}

fn lengths(what: &str, tokens: &[f64]) -> Option<Figure> {
    let sample = Sample::new(tokens.iter().copied());
    let mut bins = histogram(&sample);
    for bin in &mut bins {
        // Nothing is fitted here, and a share is easier to read than a density.
        bin.value *= (bin.to - bin.from) * 100.0;
    }
    let last = bins.last()?.to;
    let highest = bins.iter().map(|b| b.value).fold(0.0, f64::max);
    let plot = Plot {
        title: format!("Shares of the lengths of {}", what.to_lowercase()),
        x: Axis::new("length (tokens)", Scale::fixed(0.0, last)),
        y: Axis::new("share of requests (%)", Scale::linear([highest])),
        lines: Vec::new(),
        bins,
    };
    let [mean, p50, p99, max] = [
        sample.mean(),
        sample.quantile(0.5),
        sample.quantile(0.99),
        sample.max(),
    ]
    .map(number);
    Some(Figure {
        title: what.into(),
        caption: format!(
            "Histogram up to the 99.5th percentile. Tokens: mean {mean}, median {p50}, p99 {p99}, \
             longest {max}."
        ),
        svg: plot.render(),
    })
}

fn arrivals(arrival_s: &[f64]) -> Option<Figure> {
    let sample = Sample::new(arrival_s.iter().copied());
    let last = sample.max()?;
    // A minute where the trace lasts hours; less or more so that some hundred bars result.
    let widths = [1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 86_400.0];
    let width = widths
        .into_iter()
        .find(|w| last / w <= 240.0)
        .unwrap_or(last / 240.0);
    let mut counts = vec![0u64; (last / width) as usize + 1];
    for at in sample.values().iter().filter(|at| **at >= 0.0) {
        counts[(at / width) as usize] += 1;
    }
    let (unit, seconds) = if last > 7_200.0 {
        ("h", 3_600.0)
    } else {
        ("min", 60.0)
    };
    let bin = |(i, count): (usize, &u64)| Bin {
        from: i as f64 * width / seconds,
        to: (i + 1) as f64 * width / seconds,
        value: *count as f64 * 60.0 / width,
    };
    let bins: Vec<Bin> = counts.iter().enumerate().map(bin).collect();
    let plot = Plot {
        title: "Arrivals a minute over time".into(),
        x: Axis::new(
            format!("time ({unit})"),
            Scale::linear(bins.iter().map(|b| b.to)),
        ),
        y: Axis::new(
            "arrivals per minute",
            Scale::linear(bins.iter().map(|b| b.value)),
        ),
        lines: Vec::new(),
        bins,
    };
    Some(Figure {
        title: "Arrivals over time".into(),
        caption: format!(
            "Arrivals per minute, counted over {} s.",
            number(Some(width))
        ),
        svg: plot.render(),
    })
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn moments_give_the_law_back() {
        // Mean 2, variance 8/3 by hand: 1, 1, 1, 5 has mean 2, s² = (3 + 9)/3 = 4.
        let fit = GammaFit::by_moments(&[1.0, 1.0, 1.0, 5.0]).unwrap();
        assert_eq!((fit.shape, fit.scale_s), (1.0, 2.0));
        assert_eq!(GammaFit::by_moments(&[1.0, 1.0]), None);
        assert_eq!(GammaFit::by_moments(&[]), None);
    }

    #[test]
    fn histograms_are_densities() {
        let bins = histogram(&Sample::new((0..10_000).map(|i| f64::from(i) / 100.0)));
        let area: f64 = bins.iter().map(|b| b.value * (b.to - b.from)).sum();
        assert!((area - 0.995).abs() < 1e-3);
        assert!(histogram(&Sample::new([0.0, 0.0])).is_empty());
    }

    #[test]
    fn a_page_is_drawn_of_any_workload() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(4);
        let mut exponential = |mean: f64| -(1.0 - rng.random::<f64>()).ln() * mean;
        let gap_s: Vec<f64> = (0..4_000).map(|_| exponential(2.0)).collect();
        let mut now = 0.0;
        let arrival_s = gap_s
            .iter()
            .map(|gap| {
                now += gap;
                now
            })
            .collect();
        let inspection = Inspection {
            name: "<b>made up".into(),
            gamma: GammaFit::by_moments(&gap_s),
            prompt_tokens: (0..4_000).map(|_| exponential(180.0).ceil()).collect(),
            output_tokens: (0..4_000).map(|_| exponential(240.0).ceil()).collect(),
            provenance: serde_json::json!({ "source": "synthetic" }),
            gap_s,
            arrival_s,
            notes: Vec::new(),
        };
        let page = render(&inspection).unwrap();
        if let Some(path) = std::env::var_os("ELIS_INSPECTION") {
            std::fs::write(path, &page).unwrap();
        }
        assert_eq!(page.matches("<svg").count(), 4);
        assert!(!page.contains("<b>made up"));
        assert_eq!(
            render(&Inspection::default())
                .unwrap()
                .matches("<svg")
                .count(),
            0
        );
    }
}
