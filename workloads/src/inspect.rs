//! What a stream looks like: lengths, rate, burstiness, fits, and what to beware of.

use serde::Serialize;

use crate::fit::{Fits, fit_all};
use crate::stats;
use crate::workload::Workload;

/// Lengths in tokens, summed up; quantiles are interpolated linearly.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct LengthSummary {
    /// The mean.
    pub mean_tokens: f64,
    /// The median.
    pub p50_tokens: f64,
    /// 95 % are at most this.
    pub p95_tokens: f64,
    /// 99 % are at most this.
    pub p99_tokens: f64,
    /// The longest.
    pub max_tokens: f64,
}

/// The gaps between arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct GapSummary {
    /// The mean gap.
    pub mean_s: f64,
    /// Standard deviation over mean; 1 for Poisson arrivals.
    pub cv: f64,
    /// The part of gaps that are 0.
    pub zero_share: f64,
    /// The clock's step: the largest time that divides all gaps.
    pub clock_step_s: f64,
    /// Fits in seconds, with gaps of 0 taken as half the clock's step; absent where there is none.
    pub fits: Option<Fits>,
    /// Variance over mean of the arrivals in each second; 1 for Poisson arrivals.
    pub dispersion_1s: Option<f64>,
    /// The same in each minute.
    pub dispersion_60s: Option<f64>,
}

/// What a stream looks like.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// The workload's name.
    pub name: String,
    /// Requests.
    pub rows: u64,
    /// From the first to the last arrival.
    pub duration_s: f64,
    /// Gaps a second; absent without duration.
    pub mean_rps: Option<f64>,
    /// Prompt lengths.
    pub prompt: LengthSummary,
    /// Output lengths.
    pub output: LengthSummary,
    /// The gaps; absent if all requests arrive at once.
    pub gaps: Option<GapSummary>,
    /// What a reader should beware of.
    pub warnings: Vec<String>,
}

/// Inspects a stream.
#[must_use]
pub fn inspect(workload: &Workload) -> Inspection {
    let arrivals = &workload.arrivals;
    let times_ns: Vec<u64> = arrivals.iter().map(|a| a.arrival_ns).collect();
    let gaps = gap_summary(&times_ns);
    Inspection {
        name: workload.provenance.name.clone(),
        rows: arrivals.len() as u64,
        duration_s: times_ns.last().map_or(0.0, |t| *t as f64 / 1e9),
        mean_rps: gaps.map(|g| 1.0 / g.mean_s),
        prompt: length_summary(arrivals.iter().map(|a| a.prompt_tokens)),
        output: length_summary(arrivals.iter().map(|a| a.output_tokens)),
        warnings: warnings(gaps.as_ref(), arrivals.len(), &times_ns),
        gaps,
    }
}

fn length_summary(lengths: impl Iterator<Item = u32>) -> LengthSummary {
    let mut sorted: Vec<f64> = lengths.map(f64::from).collect();
    sorted.sort_by(f64::total_cmp);
    let at = |p| stats::quantile(&sorted, p).unwrap_or(0.0);
    LengthSummary {
        mean_tokens: stats::mean(&sorted).unwrap_or(0.0),
        p50_tokens: at(0.5),
        p95_tokens: at(0.95),
        p99_tokens: at(0.99),
        max_tokens: at(1.0),
    }
}

fn gap_summary(times_ns: &[u64]) -> Option<GapSummary> {
    let gaps_s = stats::gaps_s(times_ns.iter().copied());
    let mean_s = stats::mean(&gaps_s).filter(|m| *m > 0.0)?;
    let clock_step_s = times_ns.iter().copied().fold(0, gcd) as f64 / 1e9;
    let zeros = gaps_s.iter().filter(|g| **g == 0.0).count();
    // A gap of 0 is below the clock's step; half of it keeps the likelihood finite. It lowers a
    // small shape further, which is why the share of zeros is reported beside it.
    let positive: Vec<f64> = gaps_s
        .iter()
        .map(|g| if *g == 0.0 { clock_step_s / 2.0 } else { *g })
        .collect();
    Some(GapSummary {
        mean_s,
        cv: stats::cv(&gaps_s)?,
        zero_share: zeros as f64 / gaps_s.len() as f64,
        clock_step_s,
        fits: fit_all(&positive),
        dispersion_1s: dispersion(times_ns, 1_000_000_000),
        dispersion_60s: dispersion(times_ns, 60_000_000_000),
    })
}

/// Greatest common divisor; that with 0 is the other.
fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Variance over mean of the counts in bins of `bin_ns`; the last, incomplete bin is left out.
/// `None` below ten bins, where it says nothing, and above twenty million (231 days of seconds).
fn dispersion(times_ns: &[u64], bin_ns: u64) -> Option<f64> {
    let bins = times_ns.last()? / bin_ns;
    if !(10..=20_000_000).contains(&bins) {
        return None;
    }
    let mut counts = vec![0.0; usize::try_from(bins).ok()?];
    for time_ns in times_ns {
        let bin = usize::try_from(time_ns / bin_ns).ok()?;
        if let Some(count) = counts.get_mut(bin) {
            *count += 1.0;
        }
    }
    Some(stats::variance(&counts)? / stats::mean(&counts).filter(|m| *m > 0.0)?)
}

fn warnings(gaps: Option<&GapSummary>, rows: usize, times_ns: &[u64]) -> Vec<String> {
    let mut found = Vec::new();
    let Some(gaps) = gaps else {
        if rows > 1 {
            found.push("all requests arrive at once: there is no rate and no fit".to_owned());
        }
        return found;
    };
    if gaps.zero_share > 0.1 {
        found.push(format!(
            "{:.0} % of the gaps are zero: timestamps come in coarse ticks, the fit is a clock \
             artefact",
            gaps.zero_share * 100.0
        ));
    }
    if rows < 1000 {
        found.push(format!(
            "{rows} requests are few: the fits and the p99 are uncertain"
        ));
    }
    let gaps_s = stats::gaps_s(times_ns.iter().copied());
    let silence_s: f64 = gaps_s.iter().filter(|g| **g > 20.0 * gaps.mean_s).sum();
    let duration_s: f64 = gaps_s.iter().sum();
    if silence_s > 0.25 * duration_s {
        found.push(format!(
            "{:.0} % of the time lies in gaps more than 20 times the mean: bursts and silences, \
             which no renewal process describes",
            100.0 * silence_s / duration_s
        ));
    }
    if let Some(fits) = &gaps.fits {
        let (gamma, rival) = (fits.gamma.gain, fits.weibull.gain.max(fits.lognormal.gain));
        if rival > gamma + 0.01 {
            found.push(format!(
                "a Gamma is not the best fit: another gains {:.3} nats per gap more",
                rival - gamma
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests;
