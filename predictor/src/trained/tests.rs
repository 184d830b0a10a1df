//! A trained predictor in a folder: what it answers, and what it says is missing.

use std::path::Path;
use std::sync::mpsc;

use super::*;
use crate::encoder::tests::small::Small;
use crate::head::{Bins, Head, Input, Layer, Shape, Spec};
use crate::service::{Ending, Options, Question, Service};

/// Heads that need no encoder, with weights that make a longer prompt a longer response.
fn card(inputs: Vec<Input>) -> Card {
    let lengths: Vec<f32> = (1..=400u16).map(f32::from).collect();
    let shape = Shape {
        spec: Spec {
            inputs,
            hidden: vec![],
            bins: 8,
            members: 1,
        },
        embedding: 4,
        models: 1,
        bins: Bins::of(&lengths, 8),
    };
    Card {
        schema: "elis-predictor/1".to_owned(),
        encoder: "no-such-encoder".to_owned(),
        encoder_sha256: String::new(),
        models: vec!["m".to_owned()],
        arrival: shape.clone(),
        later: shape,
        provenance: Provenance::default(),
        figures: Figures::default(),
    }
}

fn head(shape: &Shape) -> Head {
    let (outputs, inputs) = shape.layers()[0];
    let layer = Layer {
        outputs,
        inputs,
        weights: (0..outputs * inputs)
            .map(|i| (i / inputs) as f32 * 0.02)
            .collect(),
        bias: vec![0.0; outputs],
    };
    let width = shape.width();
    Head::new(
        shape.clone(),
        vec![0.0; width],
        vec![1.0; width],
        vec![layer],
    )
    .unwrap()
}

fn save(folder: &Path, card: &Card) {
    Trained::save(folder, card, &head(&card.arrival), &head(&card.later)).unwrap();
}

fn ask(prompt: &str, generated: &str, tokens: u32, max: u32) -> Ask<'static> {
    Ask {
        job: 1,
        prompt: prompt.to_owned().leak(),
        prompt_tokens: 5,
        generated: generated.to_owned().leak(),
        generated_tokens: tokens,
        max_new_tokens: max,
        served_model: "",
    }
}

#[test]
fn a_saved_predictor_answers() {
    let dir = tempfile::tempdir().unwrap();
    let lexical = vec![
        Input::PromptLexical,
        Input::ResponseLexical,
        Input::ServedModel,
    ];
    save(dir.path(), &card(lexical));
    let mut trained = Trained::load(dir.path(), None).unwrap();
    assert!(trained.serve("m"));
    let asks = [
        ask("Hi", "", 0, 500),
        ask("Hi", "Hello there.", 50, 500),
        ask("Hi", "Hello there.", 50, 60),
    ];
    let answers = trained.ask(&asks).unwrap();
    assert!(
        answers
            .iter()
            .all(|a| a.remaining_tokens >= 1.0 && a.p90_tokens >= a.remaining_tokens)
    );
    assert!(answers[2].remaining_tokens <= 10.0, "{:?}", answers[2]);
    let card = std::fs::read_to_string(dir.path().join("MODEL_CARD.md")).unwrap();
    assert!(card.contains("Models that answered**: m"), "{card}");
}

#[test]
fn who_answers_may_be_said_once_or_with_each_question() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), &card(vec![Input::ServedModel]));
    let mut trained = Trained::load(dir.path(), None).unwrap();
    let question = ask("Hi", "", 0, 500);
    let named = Ask {
        served_model: "m",
        ..question
    };
    let mut first = |asks: &[Ask<'_>]| trained.ask(asks).unwrap()[0].remaining_tokens;
    let (unknown, with_question) = (first(&[question]), first(&[named]));
    assert!(!trained.serve("") && !trained.serve("n"));
    // As other places write it.
    assert!(trained.serve("owner/M"));
    let once = trained.ask(&[question]).unwrap()[0].remaining_tokens;
    assert_eq!(with_question, once);
    assert_ne!(unknown, once);
}

/// Heads over an encoder whose embeddings have 48 numbers.
fn card_with(encoder: &Path, arrival: Vec<Input>, later: Vec<Input>) -> Card {
    let mut card = card(arrival);
    card.encoder = encoder.display().to_string();
    card.later.spec.inputs = later;
    (card.arrival.embedding, card.later.embedding) = (48, 48);
    card
}

#[test]
fn only_what_a_head_looks_at_is_encoded() {
    let small = Small::default().write();
    let encoded = |later: Vec<Input>| {
        let dir = tempfile::tempdir().unwrap();
        let card = card_with(small.path(), vec![Input::PromptEmbedding], later);
        save(dir.path(), &card);
        let mut trained = Trained::load(dir.path(), None).unwrap();
        [
            ask("one", "", 0, 500),
            ask("one", "a b", 50, 500),
            ask("two", "a b c", 100, 500),
        ]
        .map(|ask| {
            let answer = trained.ask(&[ask]).unwrap()[0];
            assert!(answer.remaining_tokens.is_finite(), "{answer:?}");
            trained.memory.texts.len()
        })
    };
    let words = vec![Input::PromptLexical, Input::ResponseLexical];
    assert_eq!(encoded(words), [1, 1, 1]);
    assert_eq!(encoded(vec![Input::PromptEmbedding]), [1, 1, 2]);
    // The job is another one as soon as its prompt is, so its response is one window.
    assert_eq!(encoded(vec![Input::WindowEmbedding]), [1, 2, 4]);
}

#[test]
fn an_encoder_of_another_width_is_refused() {
    let small = Small::default().write();
    let dir = tempfile::tempdir().unwrap();
    let embeddings = || vec![Input::PromptEmbedding];
    let mut card = card_with(small.path(), vec![Input::PromptLexical], embeddings());
    card.later.embedding = 49;
    save(dir.path(), &card);
    let error = Trained::load(dir.path(), None).unwrap_err().to_string();
    assert!(
        error.contains("gives 48 numbers and the heads take 49"),
        "{error}"
    );
}

#[test]
fn the_one_that_ships_knows_the_small_model_by_its_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shipped");
    let mut trained = Trained::load(&folder, None).unwrap();
    assert!(trained.serve("SmolLM2-135M-Instruct.Q4_1"));
}

#[test]
fn nothing_and_a_megabyte_are_texts_too() {
    let dir = tempfile::tempdir().unwrap();
    save(
        dir.path(),
        &card(vec![Input::PromptLexical, Input::ResponseLexical]),
    );
    let mut trained = Trained::load(dir.path(), None).unwrap();
    let long = "word ".repeat(200_000);
    let answers = trained.ask(&[ask("", "", 0, 100), ask(&long, &long, 200_000, 300_000)]);
    assert!(
        answers
            .unwrap()
            .iter()
            .all(|answer| answer.remaining_tokens.is_finite())
    );
}

#[test]
fn odd_prompts_do_not_stop_the_service() {
    let small = Small::default().write();
    let dir = tempfile::tempdir().unwrap();
    let words = vec![Input::PromptLexical, Input::ResponseLexical];
    let card = card_with(small.path(), vec![Input::PromptEmbedding], words);
    save(dir.path(), &card);
    let trained = Trained::load(dir.path(), None).unwrap();
    let options = Options {
        max_age_ns: u64::MAX,
        ..Options::default()
    };
    let (sender, answered) = mpsc::channel();
    let notify = move || sender.send(()).unwrap_or_default();
    let service = Service::start(trained, options, notify).unwrap();
    let long = "word ".repeat(200_000);
    let mut answers = Vec::new();
    for (job, prompt) in (0..).zip(["", &long, "\0 \u{fffd}\u{202e}", "List three."]) {
        for generated_tokens in [0, 50] {
            service.submit(Question {
                job,
                prompt: prompt.into(),
                generated: "a b".repeat(generated_tokens as usize).into(),
                prompt_tokens: 5,
                generated_tokens,
                max_new_tokens: 500,
                step: generated_tokens / 50,
            });
            answered.recv().unwrap();
            service.drain(&mut answers);
        }
    }
    assert_eq!(answers.len(), 8);
    for answer in answers {
        assert_eq!(answer.ending, Ending::Answered { cached: false });
        assert!(answer.prediction.remaining_tokens >= 1.0, "{answer:?}");
    }
}

#[test]
fn an_encoder_that_was_changed_since_is_refused() {
    let (small, other) = (Small::default().write(), Small::default().write());
    let weights = other.path().join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let inputs = vec![Input::PromptEmbedding];
    let mut card = card_with(small.path(), inputs.clone(), inputs);
    card.encoder_sha256 = crate::encoder::weights_sha256(small.path()).unwrap();
    save(dir.path(), &card);
    Trained::load(dir.path(), None).unwrap();
    // One that is asked for is taken.
    let asked = other.path().to_str().unwrap();
    Trained::load(dir.path(), Some(asked)).unwrap();
    card.encoder = asked.to_owned();
    save(dir.path(), &card);
    let error = Trained::load(dir.path(), None).unwrap_err().to_string();
    assert!(error.contains("other weights"), "{error}");
}

#[test]
fn what_is_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let none = Trained::load(dir.path(), None).unwrap_err().to_string();
    assert!(none.contains("predictor.json"), "{none}");
    save(dir.path(), &card(vec![Input::PromptEmbedding]));
    let encoder = Trained::load(dir.path(), None).unwrap_err().to_string();
    assert!(encoder.contains("no-such-encoder"), "{encoder}");
    std::fs::remove_file(dir.path().join("later.safetensors")).unwrap();
    let head = Trained::load(dir.path(), None).unwrap_err().to_string();
    assert!(head.contains("later.safetensors"), "{head}");
    std::fs::write(dir.path().join("predictor.json"), "{}").unwrap();
    let card = Trained::load(dir.path(), None).unwrap_err().to_string();
    assert!(card.contains("missing field"), "{card}");
}
