//! Arrival processes: how the gaps between requests are drawn.

use std::str::FromStr;

use crate::error::WorkloadError;
use crate::paper;
use crate::rng::Draws;

/// The forms [`ArrivalProcess::from_str`] takes, for help texts and errors.
pub const FORMS: &str = "'gamma:SHAPE' (or 'gamma' for ELIS's 0.73), 'poisson', 'constant', \
                         'weibull:SHAPE' or 'burst' (all at once)";

/// The shape of a renewal process; its mean rate is given apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ArrivalProcess {
    /// Gamma gaps; scale = 1 / (shape * rate). CV = 1 / sqrt(shape), so below 1 is bursty.
    Gamma {
        /// The shape, above 0.
        shape: f64,
    },
    /// Exponential gaps, CV 1.
    Poisson,
    /// Equal gaps, CV 0.
    Constant,
    /// Weibull gaps; scale = 1 / (rate * Gamma(1 + 1 / shape)).
    Weibull {
        /// The shape, above 0.
        shape: f64,
    },
    /// Everything arrives at time 0; the rate has no meaning.
    Burst,
}

impl ArrivalProcess {
    /// The process of the ELIS paper (s4.1), without its rate.
    pub const ELIS: Self = Self::Gamma {
        shape: paper::GAMMA_SHAPE,
    };

    /// The name as specs and provenance write it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Gamma { .. } => "gamma",
            Self::Poisson => "poisson",
            Self::Constant => "constant",
            Self::Weibull { .. } => "weibull",
            Self::Burst => "burst",
        }
    }

    /// The shape, if the process has one.
    #[must_use]
    pub fn shape(&self) -> Option<f64> {
        match self {
            Self::Gamma { shape } | Self::Weibull { shape } => Some(*shape),
            Self::Poisson | Self::Constant | Self::Burst => None,
        }
    }

    /// Builds the process that `kind` names.
    ///
    /// # Errors
    ///
    /// [`WorkloadError::UnknownArrivals`] for another name, or a shape where none is taken or none
    /// where one is needed; [`WorkloadError::OutOfRange`] for a shape outside 0.01 ..= 1000, where
    /// gaps would all vanish or all be equal.
    pub fn new(kind: &str, shape: Option<f64>) -> Result<Self, WorkloadError> {
        if let Some(given) = shape.filter(|s| !(0.01..=1000.0).contains(s)) {
            return Err(WorkloadError::OutOfRange {
                what: format!("the shape of '{kind}'"),
                given: given.to_string(),
                expected: "from 0.01 to 1000".to_owned(),
            });
        }
        match (kind, shape) {
            ("gamma", None) => Ok(Self::ELIS),
            ("gamma", Some(shape)) => Ok(Self::Gamma { shape }),
            ("weibull", Some(shape)) => Ok(Self::Weibull { shape }),
            ("poisson", None) => Ok(Self::Poisson),
            ("constant", None) => Ok(Self::Constant),
            ("burst", None) => Ok(Self::Burst),
            _ => Err(WorkloadError::UnknownArrivals {
                given: shape.map_or_else(|| kind.to_owned(), |s| format!("{kind}:{s}")),
            }),
        }
    }

    /// One gap, in units of the mean gap; 0 for a burst.
    pub fn unit_gap(&self, draws: &mut Draws) -> f64 {
        match self {
            Self::Gamma { shape } => draws.gamma(*shape) / shape,
            Self::Poisson => draws.exponential(),
            Self::Constant => 1.0,
            Self::Weibull { shape } => {
                let mean = libm::tgamma(1.0 + 1.0 / shape);
                libm::pow(draws.exponential(), 1.0 / shape) / mean
            }
            Self::Burst => 0.0,
        }
    }

    /// The arrival times of a stream with mean rate `rate_rps`, in nanoseconds, without an end;
    /// the first is 0. Times saturate at the largest u64 (584 years).
    pub fn times_ns(self, rate_rps: f64, mut draws: Draws) -> impl Iterator<Item = u64> {
        let mut now_s = 0.0;
        std::iter::once(0).chain(std::iter::repeat_with(move || {
            now_s += self.unit_gap(&mut draws) / rate_rps;
            (now_s * 1e9).round() as u64
        }))
    }
}

impl FromStr for ArrivalProcess {
    type Err = WorkloadError;

    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        let unknown = || WorkloadError::UnknownArrivals {
            given: text.to_owned(),
        };
        match text.split_once(':') {
            None => Self::new(text, None),
            Some((kind, shape)) => Self::new(kind, Some(shape.parse().map_err(|_| unknown())?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;
    use crate::stats;

    #[test]
    fn every_process_has_its_rate_and_cv() {
        // The CV of a Weibull with shape 0.5 is sqrt(5).
        let cases = [
            ("gamma:0.73", 1.0 / 0.73_f64.sqrt()),
            ("poisson", 1.0),
            ("constant", 0.0),
            ("weibull:0.5", 5.0_f64.sqrt()),
        ];
        for (text, cv) in cases {
            let process: ArrivalProcess = text.parse().unwrap();
            let times = process.times_ns(4.0, Draws::new(1, Purpose::Arrivals));
            let gaps = stats::gaps_s(times.take(200_000));
            let mean = stats::mean(&gaps).unwrap();
            let got = stats::cv(&gaps).unwrap();
            assert!((mean * 4.0 - 1.0).abs() < 0.02, "{text}: mean gap {mean}");
            assert!((got - cv).abs() < 0.05, "{text}: cv {got}, not {cv}");
        }
    }

    #[test]
    fn a_rate_only_stretches_the_same_draws() {
        let times = |rate| -> Vec<u64> {
            ArrivalProcess::ELIS
                .times_ns(rate, Draws::new(1, Purpose::Arrivals))
                .take(1000)
                .collect()
        };
        for (slow, fast) in times(1.0).iter().zip(times(2.0)) {
            assert!((*slow as f64 / 2.0 - fast as f64).abs() <= 1.0);
        }
    }

    #[test]
    fn refusals_name_the_forms() {
        for text in ["", "gama:1", "poisson:2", "weibull", "gamma:x", "gamma:"] {
            let err = text.parse::<ArrivalProcess>().unwrap_err().to_string();
            assert!(err.contains("'gamma:SHAPE'"), "{text}: {err}");
        }
        let err = "gamma:-1"
            .parse::<ArrivalProcess>()
            .unwrap_err()
            .to_string();
        assert_eq!(
            err,
            "the shape of 'gamma' is -1, but must be from 0.01 to 1000"
        );
        assert!("gamma:NaN".parse::<ArrivalProcess>().is_err());
    }
}
