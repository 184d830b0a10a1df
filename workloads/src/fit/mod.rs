//! Maximum likelihood fits of positive data: gaps between arrivals, or lengths.

mod gamma;
mod ks;
mod weibull;

use serde::Serialize;
use statrs::function::erf::erf;
use statrs::function::gamma::{gamma_lr, ln_gamma};

use crate::stats;

/// One fitted distribution with how well it fits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Fit {
    /// Gamma and Weibull: the shape. Lognormal: sigma, the deviation of the logarithm. Exponential:
    /// 1, as a Gamma of that shape.
    pub shape: f64,
    /// Gamma, Weibull and exponential: the scale, in the data's unit. Lognormal: exp(mu), the
    /// median, in the data's unit.
    pub scale: f64,
    /// Log-likelihood per value, in nats.
    pub log_likelihood: f64,
    /// The same minus the exponential's: what the further parameter gains, per value, in nats.
    pub gain: f64,
    /// Kolmogorov and Smirnov's distance between data and fit, 0 to 1.
    pub ks: f64,
}

/// The four distributions fitted to the same data.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Fits {
    /// Gamma.
    pub gamma: Fit,
    /// Exponential, i.e. Poisson arrivals if the data are gaps.
    pub exponential: Fit,
    /// Weibull.
    pub weibull: Fit,
    /// Lognormal.
    pub lognormal: Fit,
}

/// Fits all four to values above 0. `None` for fewer than three values, values of 0 or less, or
/// values that are all equal, since no likelihood has a maximum there.
#[must_use]
pub fn fit_all(values: &[f64]) -> Option<Fits> {
    if values.len() < 3 || values.iter().any(|v| !v.is_finite() || *v <= 0.0) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let logs: Vec<f64> = sorted.iter().map(|v| v.ln()).collect();
    let mean = stats::mean(&sorted)?;
    let mean_log = stats::mean(&logs)?;
    let exponential_ll = -mean.ln() - 1.0;
    let sigma = stats::variance(&logs)?.sqrt();
    let k = gamma::shape(mean.ln() - mean_log)?;
    let theta = mean / k;
    let w = weibull::shape(&logs)?;
    let lambda = weibull::scale(&logs, w);
    if sigma <= 0.0 {
        return None;
    }
    let fit = |shape: f64, scale: f64, log_likelihood: f64, cdf: &dyn Fn(f64) -> f64| Fit {
        shape,
        scale,
        log_likelihood,
        gain: log_likelihood - exponential_ll,
        ks: ks::distance(&sorted, cdf),
    };
    // At the maximum the mean of x / theta is k, and that of (x / lambda)^w is 1.
    let gamma_ll = (k - 1.0) * mean_log - k - k * theta.ln() - ln_gamma(k);
    let weibull_ll = w.ln() - w * lambda.ln() + (w - 1.0) * mean_log - 1.0;
    let lognormal_ll = -mean_log - sigma.ln() - 0.5 * (std::f64::consts::TAU.ln() + 1.0);
    let normal = |z: f64| 0.5 * (1.0 + erf(z / std::f64::consts::SQRT_2));
    Some(Fits {
        gamma: fit(k, theta, gamma_ll, &|x| gamma_lr(k, x / theta)),
        exponential: fit(1.0, mean, exponential_ll, &|x| 1.0 - (-x / mean).exp()),
        weibull: fit(w, lambda, weibull_ll, &|x| {
            1.0 - (-(x / lambda).powf(w)).exp()
        }),
        lognormal: fit(sigma, mean_log.exp(), lognormal_ll, &|x| {
            normal((x.ln() - mean_log) / sigma)
        }),
    })
}

/// The lognormal (mu, sigma) of lengths in tokens, by maximum likelihood; lengths of 0 count as 1.
/// `None` of nothing.
#[must_use]
pub fn fit_lognormal(lengths_tokens: &[u32]) -> Option<(f64, f64)> {
    let logs: Vec<f64> = lengths_tokens
        .iter()
        .map(|n| f64::from((*n).max(1)).ln())
        .collect();
    Some((stats::mean(&logs)?, stats::variance(&logs)?.sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Draws, Purpose};

    #[test]
    fn fits_recover_what_was_drawn() {
        let mut draws = Draws::new(2, Purpose::Arrivals);
        let n = 50_000;
        let gamma: Vec<f64> = (0..n).map(|_| 3.0 * draws.gamma(0.73)).collect();
        let f = fit_all(&gamma).unwrap();
        assert!((f.gamma.shape - 0.73).abs() < 0.01 && (f.gamma.scale - 3.0).abs() < 0.08);
        assert!(f.gamma.ks < 0.01 && f.gamma.gain > f.weibull.gain && f.gamma.gain > 0.0);
        let weibull: Vec<f64> = (0..n)
            .map(|_| 2.0 * draws.exponential().powf(1.0 / 0.5))
            .collect();
        let f = fit_all(&weibull).unwrap();
        assert!((f.weibull.shape - 0.5).abs() < 0.01 && (f.weibull.scale - 2.0).abs() < 0.06);
        assert!(f.weibull.ks < 0.01 && f.weibull.gain > f.gamma.gain);
        let lognormal: Vec<f64> = (0..n).map(|_| (1.0 + 0.7 * draws.normal()).exp()).collect();
        let f = fit_all(&lognormal).unwrap();
        assert!(
            (f.lognormal.shape - 0.7).abs() < 0.01 && (f.lognormal.scale.ln() - 1.0).abs() < 0.02
        );
        assert!(f.lognormal.ks < 0.01 && f.lognormal.gain > f.gamma.gain);
    }

    #[test]
    fn what_has_no_fit_gets_none() {
        assert!(fit_all(&[1.0, 2.0]).is_none());
        assert!(fit_all(&[1.0, 0.0, 2.0]).is_none());
        assert!(fit_all(&[3.0; 10]).is_none());
    }

    #[test]
    fn the_shipped_lengths_are_fits_of_their_traces() {
        use crate::readers::{Format, read_trace};
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/traces/");
        let cases = [
            (
                Format::ServeGen,
                "servegen_m-large_1h_2rps.csv",
                (6.107, 1.059),
                (3.145, 1.964),
            ),
            (
                Format::Azure,
                "AzureLLMInferenceTrace_conv.csv",
                (6.633, 0.985),
                (5.019, 0.859),
            ),
        ];
        for (format, file, prompt, output) in cases {
            let lengths = read_trace(format, format!("{data}{file}").as_ref())
                .unwrap()
                .lengths;
            let prompts: Vec<u32> = lengths.iter().map(|l| l.prompt_tokens).collect();
            let outputs: Vec<u32> = lengths.iter().map(|l| l.output_tokens).collect();
            for (values, want) in [(prompts, prompt), (outputs, output)] {
                let got = fit_lognormal(&values).unwrap();
                assert!(
                    (got.0 - want.0).abs() < 6e-4 && (got.1 - want.1).abs() < 6e-4,
                    "{got:?}"
                );
            }
        }
    }
}
