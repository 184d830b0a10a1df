//! Builds a predictor from the text a user writes.

use std::path::Path;

use crate::constant::Constant;
use crate::error::PredictError;
use crate::latency::Latency;
use crate::noisy::NoisyOracle;
use crate::none::NoPrediction;
use crate::oracle::Oracle;
use crate::predict::LengthPredictor;
use crate::profile::{ELIS_LATENCY_MS, ErrorProfile};
use crate::trained::Reader;

/// The forms [`parse`] takes, for help texts and errors.
pub const FORMS: &str = "'none', 'oracle', 'constant:N' (tokens in all), 'noisy:MAE' (tokens), \
                         'elis-paper', or the folder of a trained one, each but 'none' \
                         with an optional '@Nms' (cost of a batch)";

/// Builds the predictor that `text` names; `seed` feeds the noise of those that have any.
///
/// # Errors
///
/// [`PredictError::Unknown`] for a name that is none of [`FORMS`], [`PredictError::BadNumber`] for
/// a number that is missing, malformed or out of range.
pub fn parse(text: &str, seed: u64) -> Result<Box<dyn LengthPredictor>, PredictError> {
    let bad = |problem: String| PredictError::BadNumber {
        given: text.to_owned(),
        problem,
    };
    let (body, latency) = match text.split_once('@') {
        Some((body, cost)) => (body, Some(latency_of(cost).map_err(bad)?)),
        None => (text, None),
    };
    let (kind, number) = match body.split_once(':') {
        Some((kind, number)) => (kind, Some(number)),
        None => (body, None),
    };
    let free = latency.unwrap_or_default();
    match (kind, number) {
        ("none", None) if latency.is_none() => Ok(Box::new(NoPrediction)),
        ("oracle", None) => Ok(Box::new(Oracle::new(text, free))),
        ("elis-paper", None) => {
            let own = Latency::from_ms(ELIS_LATENCY_MS).unwrap_or_default();
            Ok(Box::new(ErrorProfile::elis_paper(
                text,
                latency.unwrap_or(own),
                seed,
            )))
        }
        ("constant", Some(n)) => {
            let total = n
                .parse::<u32>()
                .ok()
                .filter(|n| *n > 0)
                .ok_or_else(|| bad(format!("'{n}' is not a whole number of tokens above 0")))?;
            Ok(Box::new(Constant::new(text, total, free)))
        }
        ("noisy", Some(n)) => {
            let mae = n
                .parse::<f64>()
                .ok()
                .filter(|m| (0.0..=1e9).contains(m))
                .ok_or_else(|| {
                    bad(format!(
                        "'{n}' is not a mean absolute error in tokens, 0 or more"
                    ))
                })?;
            Ok(Box::new(NoisyOracle::new(text, mae, free, seed)))
        }
        ("constant" | "noisy", None) => Err(bad("the number after ':' is missing".to_owned())),
        ("none" | "oracle" | "elis-paper", Some(n)) => Err(bad(format!(
            "'{kind}' takes no number, but ':{n}' was given"
        ))),
        ("none", None) => Err(bad("'none' costs nothing and takes no '@'".to_owned())),
        _ if Path::new(body).is_dir() => Ok(Box::new(Reader::load(text, Path::new(body), free)?)),
        _ => Err(PredictError::Unknown {
            given: text.to_owned(),
        }),
    }
}

/// Reads the part after the '@', such as `11.04ms`.
fn latency_of(cost: &str) -> Result<Latency, String> {
    cost.strip_suffix("ms")
        .and_then(|number| number.parse::<f64>().ok())
        .and_then(Latency::from_ms)
        .ok_or_else(|| format!("'@{cost}' is not a cost in milliseconds such as '@5ms'"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::predict::{Prediction, Request, Source};

    fn request(job: u64, generated_tokens: u32, truth: u32) -> Request<'static> {
        Request {
            job,
            prompt_tokens: 20,
            generated_tokens,
            max_new_tokens: 4096,
            true_total_tokens: Some(truth),
            text: None,
        }
    }

    fn ask(text: &str, batch: &[Request<'_>]) -> Vec<Prediction> {
        let mut out = vec![];
        parse(text, 1).unwrap().predict(batch, &mut out).unwrap();
        out
    }

    fn refusal(text: &str) -> String {
        match parse(text, 0) {
            Ok(p) => panic!("'{text}' was taken for {}", p.name()),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn every_form_answers_with_its_source() {
        let batch = [request(1, 30, 100), request(2, 120, 100)];
        let cases = [
            ("none", Source::None),
            ("oracle", Source::Oracle),
            ("constant:80", Source::Constant),
            ("noisy:0", Source::NoisyOracle),
            ("elis-paper", Source::ErrorProfile),
        ];
        for (text, source) in cases {
            let out = ask(text, &batch);
            assert_eq!(out.len(), 2, "{text}");
            assert!(out.iter().all(|p| p.source == source), "{text}");
        }
        for (text, first) in [("oracle", 70.0), ("constant:80", 50.0), ("noisy:0", 70.0)] {
            let out = ask(text, &batch);
            assert_eq!(
                (out[0].remaining_tokens, out[1].remaining_tokens),
                (first, 1.0),
                "{text}"
            );
        }
        assert!(ask("none", &batch)[0].p90_tokens.is_nan());
    }

    #[test]
    fn latencies_are_the_papers_unless_overridden() {
        let cost = |text| parse(text, 0).unwrap().latency_ns(16);
        assert_eq!(cost("elis-paper"), 11_040_000);
        assert_eq!(cost("elis-paper@2.5ms"), 2_500_000);
        assert_eq!(cost("oracle"), 0);
        assert_eq!(cost("noisy:20@1ms"), 1_000_000);
        assert_eq!(parse("noisy:20@1ms", 0).unwrap().name(), "noisy:20@1ms");
    }

    #[test]
    fn refusals_say_what_to_write() {
        for text in [
            "",
            "orcale",
            "oracle:3",
            "constant",
            "constant:0",
            "constant:1.5",
        ] {
            assert!(refusal(text).contains("'noisy:MAE'"), "{text}");
        }
        assert!(refusal("noisy:-1").contains("'-1' is not a mean absolute error"));
        assert!(refusal("noisy:NaN").contains("'NaN'"));
        assert!(refusal("oracle@5s").contains("'@5s' is not a cost in milliseconds"));
        assert!(refusal("none@5ms").contains("costs nothing"));
    }

    #[test]
    fn clairvoyants_refuse_without_the_truth() {
        let blind = Request {
            true_total_tokens: None,
            ..request(9, 0, 0)
        };
        for text in ["oracle", "noisy:5", "elis-paper"] {
            let err = parse(text, 0)
                .unwrap()
                .predict(&[blind], &mut vec![])
                .unwrap_err();
            assert_eq!(
                err,
                PredictError::NoTruth {
                    predictor: text.to_owned(),
                    job: 9
                }
            );
        }
    }

    #[test]
    fn the_seed_matters() {
        let batch = [request(1, 0, 1000)];
        let mut one = vec![];
        parse("noisy:50", 2)
            .unwrap()
            .predict(&batch, &mut one)
            .unwrap();
        assert_ne!(one, ask("noisy:50", &batch));
    }

    proptest! {
        #[test]
        fn answers_depend_on_neither_order_nor_batching(
            jobs in prop::collection::vec((0_u64..50, 0_u32..900, 1_u32..2000), 1..40),
            noisy in any::<bool>(),
        ) {
            let text = if noisy { "noisy:34" } else { "elis-paper" };
            let batch: Vec<_> = jobs.iter().map(|j| request(j.0, j.1, j.2)).collect();
            let together = ask(text, &batch);
            let mut backwards: Vec<_> = batch.iter().rev().copied().collect();
            let mut reversed = ask(text, &backwards);
            reversed.reverse();
            prop_assert_eq!(&together, &reversed);
            backwards.reverse();
            let mut one = parse(text, 1).unwrap();
            let mut out = vec![];
            for (request, expected) in backwards.iter().zip(&together) {
                one.predict(&[*request], &mut out).unwrap();
                prop_assert_eq!(&out[0], expected);
                prop_assert!(out[0].remaining_tokens >= 1.0);
                prop_assert!(out[0].p90_tokens >= out[0].remaining_tokens);
            }
        }
    }
}
