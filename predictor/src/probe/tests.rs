//! A probe whose weights are plain to see, on hidden states that are made up.

use std::path::Path;

use super::*;
use crate::constant::Constant;
use crate::head::{Bins, Head, Input, Layer, Shape, Spec};
use crate::latency::Latency;
use crate::predict::{HiddenState, LengthPredictor, Prediction, Request, Source};
use crate::service::{Options, Question, Service};

const DIM: usize = 2;

/// Four bins of 10 tokens; the first number of a state is the logit of the lowest bin, the second
/// that of the highest.
fn shape() -> Shape {
    Shape {
        spec: Spec {
            inputs: vec![Input::HiddenState],
            hidden: vec![],
            bins: 4,
            members: 1,
        },
        embedding: DIM,
        models: 0,
        bins: Bins::equal(4, 40.0),
    }
}

fn head() -> Head {
    let layer = Layer {
        outputs: 4,
        inputs: DIM,
        weights: vec![1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
        bias: vec![0.0; 4],
    };
    Head::new(shape(), vec![0.0; DIM], vec![1.0; DIM], vec![layer]).unwrap()
}

fn save(folder: &Path, change: impl FnOnce(&mut ProbeCard)) {
    let mut card = ProbeCard::of("m", 11, shape());
    change(&mut card);
    Probe::save(folder, &card, &head()).unwrap();
}

fn probe() -> Probe {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), |_| ());
    Probe::load(dir.path()).unwrap()
}

fn request(job: u64, generated_tokens: u32) -> Request<'static> {
    Request {
        job,
        prompt_tokens: 5,
        generated_tokens,
        max_new_tokens: 1000,
        true_total_tokens: None,
        text: None,
    }
}

fn state(job: u64, generated_tokens: u32, values: &[f32]) -> HiddenState<'_> {
    HiddenState {
        job,
        generated_tokens,
        values,
    }
}

fn tokens(probe: &Probe, job: u64, generated: u32) -> f32 {
    let said = probe.say(&request(job, generated));
    said.map_or(f32::NAN, |said| said.remaining_tokens)
}

#[test]
fn a_state_becomes_an_expectation_and_counts_down() {
    let mut probe = probe();
    assert!(
        probe.say(&request(1, 0)).is_none(),
        "nothing is known of it"
    );
    // All logits alike: the middles are 5, 15, 25 and 35, so 20 on average.
    probe.observe(&[state(1, 8, &[0.0, 0.0])]).unwrap();
    assert!((tokens(&probe, 1, 8) - 20.0).abs() < 1e-4);
    assert!((tokens(&probe, 1, 11) - 17.0).abs() < 1e-4);
    assert_eq!(tokens(&probe, 1, 500), 1.0);
    let said = probe.say(&request(1, 8)).unwrap();
    assert!((said.p90_tokens - 36.0).abs() < 1e-3, "{said:?}");
    assert_eq!(said.source, Source::Trained);
    probe.forget(1);
    assert!(probe.say(&request(1, 8)).is_none());
}

#[test]
fn answers_are_smoothed_as_the_formula_says() {
    let mut probe = probe();
    let said = |logits: [f32; 4]| {
        let weights = logits.map(libm::expf);
        weights.map(|weight| weight / weights.iter().sum::<f32>())
    };
    probe.observe(&[state(1, 0, &[0.0, 2.0])]).unwrap();
    probe.observe(&[state(1, 3, &[1.0, 0.0])]).unwrap();
    // T^3 of the first, times the second.
    let mut prior = said([0.0, 0.0, 0.0, 2.0]);
    for _ in 0..3 {
        let [a, b, c, d] = prior;
        prior = [a + 0.1 * b, 0.9 * b + 0.1 * c, 0.9 * c + 0.1 * d, 0.9 * d];
    }
    let second = said([1.0, 0.0, 0.0, 0.0]);
    let product: Vec<f32> = prior.iter().zip(second).map(|(p, q)| p * q).collect();
    let middles = [5.0, 15.0, 25.0, 35.0];
    let mean = product.iter().zip(middles).map(|(p, m)| p * m).sum::<f32>();
    let expected = mean / product.iter().sum::<f32>();
    let answer = tokens(&probe, 1, 3);
    assert!((answer - expected).abs() < 1e-3, "{answer} {expected}");

    // The same state again says nothing new; an earlier one is that of a job that began anew.
    probe.observe(&[state(1, 3, &[1.0, 0.0])]).unwrap();
    assert_eq!(tokens(&probe, 1, 3), answer);
    probe.observe(&[state(1, 1, &[0.0, 0.0])]).unwrap();
    assert!((tokens(&probe, 1, 1) - 20.0).abs() < 1e-4);
}

#[test]
fn a_state_that_cannot_be_read_is_refused_and_nothing_is_taken_in() {
    let mut probe = probe();
    let both = [state(1, 0, &[0.0, 0.0]), state(2, 0, &[0.0])];
    let said = probe.observe(&both).unwrap_err().to_string();
    assert!(
        said.contains("job 2 has 1 numbers and the probe reads 2"),
        "{said}"
    );
    let both = [state(1, 0, &[0.0, 0.0]), state(2, 0, &[0.0, f32::NAN])];
    let said = probe.observe(&both).unwrap_err().to_string();
    assert!(said.contains("job 2 is not finite at 1"), "{said}");
    assert!(probe.say(&request(1, 0)).is_none());
}

#[test]
fn another_predictor_answers_before_the_first_state() {
    let first = Box::new(Constant::new("constant:100", 100, Latency::default()));
    let mut probing = Probing::new("probe", probe(), first, Latency::default());
    let wanted = probing.hidden_wanted().unwrap();
    assert_eq!((wanted.layer, wanted.dim), (11, DIM));
    let ask = |probing: &mut Probing| {
        let mut out: Vec<Prediction> = Vec::new();
        let batch = [request(1, 8), request(2, 8), request(3, 8)];
        LengthPredictor::predict(probing, &batch, &mut out).unwrap();
        [0, 1, 2].map(|i| out[i].remaining_tokens.round())
    };
    LengthPredictor::observe(&mut probing, &[state(2, 8, &[0.0, 0.0])]).unwrap();
    assert_eq!(ask(&mut probing), [92.0, 20.0, 92.0]);
    let wrong = LengthPredictor::observe(&mut probing, &[state(3, 8, &[])]).unwrap_err();
    assert!(wrong.to_string().contains("'probe'"), "{wrong}");
    LengthPredictor::forget(&mut probing, 2);
    assert_eq!(ask(&mut probing), [92.0; 3]);
}

#[test]
fn behind_the_service_states_are_seen_before_the_question() {
    let first = Box::new(Constant::new("constant:100", 100, Latency::default()));
    let probing = Probing::new("probe", probe(), first, Latency::default());
    let (tell, told) = std::sync::mpsc::channel();
    let service = Service::start(probing, Options::default(), move || {
        let _ = tell.send(());
    });
    let service = service.unwrap();
    let question = |job| Question {
        job,
        prompt: "".into(),
        generated: "".into(),
        prompt_tokens: 5,
        generated_tokens: 8,
        max_new_tokens: 1000,
        step: 1,
    };
    let ask = |job| {
        service.submit(question(job));
        told.recv().unwrap();
        service
            .try_recv()
            .unwrap()
            .prediction
            .remaining_tokens
            .round()
    };
    assert_eq!(ask(1), 92.0);
    service.observe(1, 8, [0.0, 0.0].into());
    assert_eq!(ask(1), 20.0, "the same question has another answer now");
    service.shutdown();
}

#[test]
fn what_is_wrong_with_a_folder_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let said = || Probe::load(dir.path()).unwrap_err().to_string();
    assert!(said().contains("a probe is a folder with a probe.json"));
    save(dir.path(), |card| card.schema = "elis-probe/9".to_owned());
    assert!(said().contains("elis-probe/9"));
    save(dir.path(), |card| {
        card.shape.bins = Bins::of(&[1.0, 5.0, 9.0, 30.0, 90.0], 4);
    });
    assert!(said().contains("not of one width"), "{}", said());
    save(dir.path(), |card| card.shape.bins = Bins::equal(4, 2.0));
    assert!(said().contains("of a token or more"));
    save(dir.path(), |card| {
        card.shape.spec.inputs.push(Input::PromptLexical);
    });
    assert!(said().contains("more than hidden states"));
    save(dir.path(), |card| card.shape.embedding = 3);
    assert!(said().contains("values where"), "{}", said());
    save(dir.path(), |card| card.rows = 7);
    let text = std::fs::read_to_string(dir.path().join("MODEL_CARD.md")).unwrap();
    assert!(text.contains("layer 11 of m, every 8 tokens"), "{text}");
    assert_eq!(Probe::load(dir.path()).unwrap().card().rows, 7);
    std::fs::remove_file(dir.path().join("probe.safetensors")).unwrap();
    assert!(said().contains("probe.safetensors"));
}
