//! Tests of the watch: on streams whose bias and noise are known.

use super::*;
use crate::noise::standard_normal;
use crate::predict::Source;

/// A stream of jobs with one prediction each: the model says `truth * factor * exp(noise * z)`.
struct Stream {
    factor: f64,
    noise: f64,
    seed: u64,
}

impl Stream {
    /// Feeds so many jobs, correcting as a host would; returns the mean error of what was given in
    /// the last half, in tokens.
    fn feed(&self, drift: &mut Drift, jobs: u64, step: u32, tag: &str) -> f64 {
        let mut late = (0.0, 0_u64);
        for job in 0..jobs {
            let z = standard_normal(self.seed, job, 0);
            let truth = 100.0 + (job * 7919 % 400) as f64;
            let said = truth * self.factor * (self.noise * z).exp();
            let raw = Prediction::gaussian(said, truth * self.noise, Source::Trained);
            let told = Told {
                step,
                generated_tokens: 50 * step,
                raw_tokens: raw.remaining_tokens,
                given: drift.correct(step, raw),
            };
            let output_tokens = truth as u32 + 50 * step;
            if job >= jobs / 2 {
                late.0 += f64::from(told.given.remaining_tokens) - truth;
                late.1 += 1;
            }
            drift.finished(&FinishedJob {
                tag,
                output_tokens,
                told: &[told],
            });
        }
        late.0 / late.1.max(1) as f64
    }
}

fn watch(correction: Correction) -> Drift {
    Drift::new(DriftOptions {
        card_mae_tokens: vec![60.0, 30.0],
        correction,
        ..DriftOptions::default()
    })
    .unwrap()
}

#[test]
fn figures_are_those_of_a_small_example() {
    let mut drift = Drift::new(DriftOptions {
        window: 2,
        enough: 2,
        alpha: 0.5,
        card_mae_tokens: vec![5.0],
        ..DriftOptions::default()
    })
    .unwrap();
    let told = |said: f64| Told {
        step: 0,
        generated_tokens: 10,
        raw_tokens: said as f32,
        given: Prediction::gaussian(said, 0.0, Source::Trained),
    };
    let unknown = Told {
        given: Prediction::UNKNOWN,
        ..told(1.0)
    };
    // The truth is 100: errors of 900, -40, then 20.
    for said in [told(1000.0), told(60.0), told(120.0), unknown] {
        drift.finished(&FinishedJob {
            tag: "a",
            output_tokens: 110,
            told: &[said],
        });
    }
    let report = drift.report();
    assert_eq!((report.jobs, report.unanswered), (4, 1));
    let live = report.overall;
    assert_eq!((live.samples, live.window_samples), (3, 2));
    let window = Errors {
        mae_tokens: Some(30.0),
        bias_tokens: Some(-10.0),
        p90_coverage: Some(0.5),
    };
    assert_eq!(live.window, window);
    // Weights 1/8, 1/4, 1/2 over their sum of 7/8.
    let weighted = (900.0 / 8.0 + 40.0 / 4.0 + 20.0 / 2.0) / (7.0 / 8.0);
    assert!((live.weighted.mae_tokens.unwrap() - weighted).abs() < 1e-9);
    assert_eq!(live.verdict, Verdict::Drifting);
    assert_eq!(report.tags["a"], live);
    assert_eq!((report.steps[0], report.steps[1].samples), (live, 0));
    assert_eq!(report.steps[1].window.mae_tokens, None);
}

#[test]
fn a_biased_stream_is_put_right() {
    for (correction, factor) in [
        (Correction::Log, 1.5),
        (Correction::Log, 0.5),
        (Correction::Ratio, 1.5),
        (Correction::Ratio, 0.5),
    ] {
        let stream = Stream {
            factor,
            noise: 0.2,
            seed: 5,
        };
        let mut off = watch(Correction::Off);
        let before = stream.feed(&mut off, 1000, 0, "t").abs();
        let mut drift = watch(correction);
        let after = stream.feed(&mut drift, 1000, 0, "t").abs();
        assert!(
            after < before * 0.1,
            "{correction:?} {factor}: {before} -> {after}"
        );
        let wanted = 1.0 / factor;
        let learnt = drift.factor(0);
        assert!(
            (learnt / wanted - 1.0).abs() < 0.08,
            "{learnt} for {wanted}"
        );
        assert_eq!(drift.factor(1), 1.0, "each step has its own");
    }
}

#[test]
fn an_unbiased_stream_is_left_alone() {
    for seed in 0..5 {
        for correction in [Correction::Off, Correction::Log, Correction::Ratio] {
            let mean = if correction == Correction::Ratio {
                // So that the mean, and not the mean logarithm, is right.
                (-0.5_f64 * 0.4 * 0.4).exp()
            } else {
                1.0
            };
            let stream = Stream {
                factor: mean,
                noise: 0.4,
                seed,
            };
            let mut drift = watch(correction);
            stream.feed(&mut drift, 2000, 2, "t");
            assert_eq!(drift.factor(2), 1.0, "{correction:?} {seed}");
            let p = Prediction::gaussian(70.0, 5.0, Source::Trained);
            assert_eq!(drift.correct(2, p), p);
        }
    }
}

#[test]
fn a_correction_scales_all_lengths_and_keeps_what_is_unknown() {
    let mut drift = watch(Correction::Ratio);
    let stream = Stream {
        factor: 0.5,
        noise: 0.0,
        seed: 1,
    };
    stream.feed(&mut drift, 50, 0, "t");
    let p = drift.correct(0, Prediction::gaussian(100.0, 10.0, Source::Trained));
    assert!((p.remaining_tokens - 200.0).abs() < 0.5, "{p:?}");
    assert!(
        (p.sigma_tokens - 20.0).abs() < 0.1 && p.p90_tokens > 225.0,
        "{p:?}"
    );
    let unknown = drift.correct(0, Prediction::UNKNOWN);
    assert!(unknown.remaining_tokens.is_nan() && unknown.p90_tokens.is_nan());
    let absurd = Stream {
        factor: 0.01,
        ..stream
    };
    absurd.feed(&mut drift, 3000, 0, "t");
    assert_eq!(drift.factor(0), 4.0, "there is an end to it");
}

#[test]
fn a_verdict_needs_samples_and_a_card() {
    let good = Stream {
        factor: 1.0,
        noise: 0.2,
        seed: 2,
    };
    let bad = Stream {
        factor: 2.0,
        ..good
    };
    let mut drift = watch(Correction::Off);
    good.feed(&mut drift, 299, 0, "t");
    assert_eq!(drift.verdict(), Verdict::Unknown);
    good.feed(&mut drift, 1, 0, "t");
    assert_eq!(drift.verdict(), Verdict::Steady);
    // A tag of its own can drift while the whole does not yet.
    bad.feed(&mut drift, 300, 1, "new");
    let report = drift.report();
    assert_eq!(report.tags["new"].verdict, Verdict::Drifting);
    assert_eq!(report.tags["t"].verdict, Verdict::Steady);
    assert_eq!(report.tags["new"].card_mae_tokens, Some(30.0));
    assert_eq!(
        report.overall.card_mae_tokens,
        Some(45.0),
        "half of each step"
    );
    // The correction helps policies, and the verdict is about what they get.
    let mut corrected = watch(Correction::Ratio);
    bad.feed(&mut corrected, 2000, 0, "t");
    assert_eq!(corrected.verdict(), Verdict::Steady);
    let mut blind = Drift::new(DriftOptions::default()).unwrap();
    bad.feed(&mut blind, 1000, 0, "t");
    assert_eq!(blind.verdict(), Verdict::Unknown);
}

#[test]
fn tags_are_bounded_and_the_same_jobs_give_the_same_report() {
    let run = || {
        let mut drift = watch(Correction::Log);
        for tag in 0..100 {
            let stream = Stream {
                factor: 1.2,
                noise: 0.3,
                seed: tag,
            };
            stream.feed(&mut drift, 3, (tag % 12) as u32, &format!("tag {tag}"));
        }
        drift.report()
    };
    let report = run();
    assert_eq!(report.tags.len(), TAGS_MAX + 1);
    assert_eq!(report.tags[OTHER_TAGS].samples, 3 * 36);
    assert_eq!(report, run());
}

#[test]
fn options_that_cannot_work_are_refused() {
    let refused = |options| Drift::new(options).unwrap_err().to_string();
    let usual = DriftOptions::default;
    let alpha = DriftOptions {
        alpha: 0.0,
        ..usual()
    };
    let told = "drift watch: alpha is 0; give more than 0 and at most 1";
    assert_eq!(refused(alpha), told);
    let enough = DriftOptions {
        enough: 2000,
        ..usual()
    };
    assert!(refused(enough).contains("at most the window"));
    let card = DriftOptions {
        card_mae_tokens: vec![1.0, f64::NAN],
        ..usual()
    };
    assert!(refused(card).contains("a card's error is NaN"));
}
