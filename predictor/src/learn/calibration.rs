//! How far what is said can be believed: quantiles beside the share of lengths below them, said
//! lengths beside true ones, and the spread of errors at each step.

use serde::Serialize;

use super::corpus::Corpus;
use super::judge::{Only, Outcome, outcomes};
use super::sampling::Sample;
use super::ways::{LEVELS, Way};

/// What a stated quantile comes to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct QuantileShare {
    /// The share of lengths that should be below it.
    pub level: f32,
    /// The share that is.
    pub share: f32,
}

/// A tenth of the predictions, the shortest tenth first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Decile {
    /// The mean of what was said.
    pub said_tokens: f32,
    /// The mean of what it came to.
    pub true_mean_tokens: f32,
    /// The median of what it came to.
    pub true_median_tokens: f32,
    /// Lengths in it.
    pub samples: usize,
}

/// What was said less what it came to, at one step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StepError {
    /// Windows done.
    pub step: usize,
    /// Their mean: the bias.
    pub mean_tokens: f32,
    /// One error in ten is below this: far too short.
    pub p10_tokens: f32,
    /// The one in the middle.
    pub median_tokens: f32,
    /// Nine in ten are below this: far too long.
    pub p90_tokens: f32,
    /// Lengths judged.
    pub samples: usize,
}

/// How far a way can be believed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// One for each level; empty where the way states no quantiles.
    pub quantiles: Vec<QuantileShare>,
    /// Ten tenths of the predictions.
    pub deciles: Vec<Decile>,
    /// One for each step that occurs.
    pub errors: Vec<StepError>,
}

/// Holds what a way says of some of the responses against what they came to.
pub fn calibrate(
    corpus: &Corpus,
    samples: &[Sample],
    way: &Way,
    only: Only,
    cap_tokens: u32,
) -> Calibration {
    let mut outcomes = outcomes(corpus, samples, way, only, cap_tokens);
    let quantiles = quantiles(way, &outcomes);
    let errors = errors(&outcomes);
    outcomes.sort_by(|a, b| a.said.total_cmp(&b.said));
    let tenth = outcomes.len().div_ceil(10).max(1);
    Calibration {
        quantiles,
        deciles: outcomes.chunks(tenth).map(decile).collect(),
        errors,
    }
}

fn quantiles(way: &Way, outcomes: &[Outcome]) -> Vec<QuantileShare> {
    let share = |(i, &level): (usize, &f32)| {
        let (mut below, mut asked) = (0u32, 0u32);
        for outcome in outcomes {
            let stated = way.quantiles_tokens.get(outcome.sample).map(|q| q[i]);
            if let Some(stated) = stated.filter(|stated| !stated.is_nan()) {
                asked += 1;
                below += u32::from(outcome.truth <= stated);
            }
        }
        (asked > 0).then(|| QuantileShare {
            level,
            share: below as f32 / asked as f32,
        })
    };
    LEVELS.iter().enumerate().filter_map(share).collect()
}

fn decile(of: &[Outcome]) -> Decile {
    let mean = |get: fn(&Outcome) -> f32| {
        let sum: f64 = of.iter().map(|outcome| f64::from(get(outcome))).sum();
        (sum / of.len() as f64) as f32
    };
    let mut truths: Vec<f32> = of.iter().map(|outcome| outcome.truth).collect();
    truths.sort_unstable_by(f32::total_cmp);
    Decile {
        said_tokens: mean(|outcome| outcome.said),
        true_mean_tokens: mean(|outcome| outcome.truth),
        true_median_tokens: at(&truths, 0.5),
        samples: of.len(),
    }
}

fn errors(outcomes: &[Outcome]) -> Vec<StepError> {
    let mut by_step: Vec<Vec<f32>> = Vec::new();
    for outcome in outcomes {
        by_step.resize(by_step.len().max(outcome.step + 1), Vec::new());
        by_step[outcome.step].push(outcome.said - outcome.truth);
    }
    let of_step = |(step, mut errors): (usize, Vec<f32>)| {
        errors.sort_unstable_by(f32::total_cmp);
        let sum: f64 = errors.iter().map(|&error| f64::from(error)).sum();
        StepError {
            step,
            mean_tokens: (sum / errors.len() as f64) as f32,
            p10_tokens: at(&errors, 0.1),
            median_tokens: at(&errors, 0.5),
            p90_tokens: at(&errors, 0.9),
            samples: errors.len(),
        }
    };
    let by_step = by_step.into_iter().enumerate();
    let met = by_step.filter(|(_, errors)| !errors.is_empty());
    met.map(of_step).collect()
}

/// A quantile of sorted values, by nearest rank.
fn at(sorted: &[f32], level: f32) -> f32 {
    let rank = (level * sorted.len() as f32).ceil() as usize;
    let last = sorted.len() - 1;
    sorted[rank.saturating_sub(1).min(last)]
}

#[cfg(test)]
mod tests {
    use elis_workloads::responses::Response;

    use super::super::corpus::Split;
    use super::super::sampling::samples;
    use super::*;

    /// A hundred responses of 1 to 100 tokens.
    fn corpus() -> Corpus {
        let response = |i: u32| Response {
            id: i.to_string(),
            source: "s".to_owned(),
            licence: String::new(),
            model: "m".to_owned(),
            prompt: format!("prompt {i}").into(),
            text: "word ".repeat(i as usize).into(),
            prompt_tokens: 3,
            output_tokens: i,
            samples_tokens: vec![i],
        };
        Corpus::new((1..=100).map(response).collect())
    }

    #[test]
    fn shares_deciles_and_errors_are_those_of_the_samples() {
        let corpus = corpus();
        let samples = samples(&corpus, Split::ByPrompt, 0, 2048);
        // Everybody is told 10 tokens too many, and the quantiles of the whole.
        let said = samples.iter().map(|sample| sample.remaining_tokens + 10.0);
        let way = Way {
            name: "w".to_owned(),
            remaining_tokens: said.collect(),
            quantiles_tokens: vec![LEVELS.map(|level| 100.0 * level + 0.5); samples.len()],
        };
        let said = calibrate(&corpus, &samples, &way, Only::default(), 2048);
        assert_eq!(said.quantiles.len(), LEVELS.len());
        let close = |q: &QuantileShare| (q.share - q.level).abs() < 0.011;
        assert!(said.quantiles.iter().all(close), "{:?}", said.quantiles);
        assert_eq!(said.deciles.len(), 10);
        let first = said.deciles[0];
        assert_eq!((first.said_tokens, first.true_mean_tokens), (15.5, 5.5));
        assert_eq!((first.true_median_tokens, first.samples), (5.0, 10));
        assert_eq!(said.errors.len(), 1);
        let error = said.errors[0];
        assert_eq!((error.mean_tokens, error.median_tokens), (10.0, 10.0));
        assert_eq!(
            (error.p10_tokens, error.p90_tokens, error.samples),
            (10.0, 10.0, 100)
        );
    }

    #[test]
    fn of_nothing_nothing_is_said() {
        let corpus = corpus();
        let nobody = Way::of_lengths("w", vec![]);
        let said = calibrate(&corpus, &[], &nobody, Only::default(), 2048);
        assert!(said.quantiles.is_empty() && said.deciles.is_empty() && said.errors.is_empty());
    }
}
