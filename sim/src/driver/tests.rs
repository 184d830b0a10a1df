//! Predictors that read: the text of a workload reaches them and grows.

use std::sync::Arc;

use elis_predictor::{Prediction, Source};
use elis_scheduler::plan::Interest;
use elis_scheduler::snapshot::Snapshot;
use elis_workloads::responses::Response;

use super::*;
use crate::decider::Answer;
use elis_cost::Profile;

/// Leaves every decision to the core's own arrival order, but wants predictions.
struct ArrivalOrder;

impl Decider for ArrivalOrder {
    fn interest(&self) -> Interest {
        Interest {
            predictions: true,
            ..Interest::default()
        }
    }

    fn decide(&mut self, _: &Snapshot<'_>) -> Answer {
        Answer {
            plan: Ok(Plan::default()),
            fuel: 0,
            wall_ns: 0,
        }
    }
}

/// Knows that all responses are 380 characters of 190 tokens, and counts what it has read.
#[derive(Default)]
struct Reader {
    /// Job, tokens generated, prompt and characters read, in the order of the questions.
    seen: Vec<(u64, u32, String, usize)>,
    /// How long responses may be, in the same order.
    limits_tokens: Vec<u32>,
}

impl LengthPredictor for Reader {
    fn name(&self) -> &'static str {
        "reader"
    }

    fn predict(
        &mut self,
        batch: &[elis_predictor::Request<'_>],
        out: &mut Vec<Prediction>,
    ) -> Result<(), PredictError> {
        out.clear();
        for request in batch {
            let text = request.need_text("reader")?;
            let read = text.generated.len();
            let (job, tokens) = (request.job, request.generated_tokens);
            self.limits_tokens.push(request.max_new_tokens);
            self.seen.push((job, tokens, text.prompt.to_owned(), read));
            out.push(Prediction::gaussian(
                (380.0 - read as f64) / 2.0,
                f64::NAN,
                Source::Trained,
            ));
        }
        Ok(())
    }

    fn latency_ns(&self, _: usize) -> u64 {
        0
    }
}

fn arrivals(with_text: bool) -> Vec<Arrival> {
    let response = |id: u64| Response {
        id: id.to_string(),
        source: "test".to_owned(),
        licence: String::new(),
        model: "m".to_owned(),
        prompt: format!("question {id}").into(),
        text: "ab ".repeat(134)[..380].into(),
        prompt_tokens: 3,
        output_tokens: 190,
        samples_tokens: vec![190],
    };
    let arrival = |id: u64| Arrival {
        text: with_text.then(|| Arc::new(response(id))),
        ..Arrival::new(id, id * 1_000_000, 3, 190)
    };
    (0..3).map(arrival).collect()
}

fn options() -> Options {
    Options::new(Profile::resolve("sim:llama2-13b-a100").unwrap())
}

#[test]
fn a_reading_predictor_sees_the_text_grow() {
    let mut reader = Reader::default();
    let outcome = simulate(&options(), &arrivals(true), &mut ArrivalOrder, &mut reader);
    assert_eq!(outcome.unwrap().summary.completed, 3);
    for job in 0..3 {
        let of_job = reader.seen.iter().filter(|seen| seen.0 == job);
        let seen: Vec<(u32, usize)> = of_job
            .map(|(_, tokens, prompt, read)| {
                assert_eq!(*prompt, format!("question {job}"));
                (*tokens, *read)
            })
            .collect();
        // Every 50 tokens, as the paper has it, two characters a token.
        assert_eq!(seen, [(0, 0), (50, 100), (100, 200), (150, 300)]);
    }
}

#[test]
fn nobody_is_told_how_long_a_response_will_be() {
    let limits_tokens = |limit_tokens: Option<u32>| {
        let mut arrivals = arrivals(true);
        for arrival in &mut arrivals {
            arrival.limit_tokens = limit_tokens.unwrap_or(arrival.limit_tokens);
        }
        let mut reader = Reader::default();
        simulate(&options(), &arrivals, &mut ArrivalOrder, &mut reader).unwrap();
        reader.limits_tokens
    };
    assert_eq!(limits_tokens(Some(256)), [256; 12]);
    // What fits beside the prompt, where the client says nothing.
    let room = options().profile.worker_config().room_tokens();
    assert_eq!(limits_tokens(None), [room as u32 - 3; 12]);
}

#[test]
fn a_reading_predictor_refuses_lengths_alone() {
    let mut reader = Reader::default();
    let refused = simulate(&options(), &arrivals(false), &mut ArrivalOrder, &mut reader);
    let expected = PredictError::NoText {
        predictor: "reader".to_owned(),
        job: 0,
    };
    match refused {
        Err(SimError::Predict(error)) => assert_eq!(error, expected),
        other => panic!("{other:?}"),
    }
}
