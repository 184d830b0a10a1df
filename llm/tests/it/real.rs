//! The real small model, which `cargo xtask models` brings.

use std::path::PathBuf;
use std::sync::Arc;

use elis_llm::device::Floats;
use elis_llm::{Cpu, CpuBackend, Decoder, Model, Precision, Source};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde::Deserialize;

use super::device;
use super::schedules::{BLOCKS, Fate, alone, calm_fate, read, scheduled};

fn path() -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/smollm2-135m-instruct");
    if path.is_dir() {
        return Some(path);
    }
    let needed = std::env::var_os("ELIS_MODELS").is_some();
    assert!(!needed, "models/ is not there: run `cargo xtask models`");
    eprintln!("skipped: models/ is not there; `cargo xtask models` brings it");
    None
}

/// A text, and its tokens.
#[derive(Debug, Deserialize)]
struct Case {
    text: String,
    special: bool,
    tokens: Vec<u32>,
}

/// As the model's template writes it.
fn chat(question: &str) -> String {
    format!(
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging \
         Face<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    )
}

const QUESTIONS: [&str; 20] = [
    "What is the capital of France?",
    "Write a haiku about rain.",
    "Count to twenty.",
    "Explain recursion to a child.",
    "Who was Ada Lovelace?",
    "List three prime numbers.",
    "Translate 'good morning' to Spanish.",
    "Why is the sky blue?",
    "Write a Python function that reverses a list.",
    "What is 17 times 3?",
    "Tell me a joke.",
    "Summarise the plot of Hamlet.",
    "How do plants make food?",
    "Give me a recipe for pancakes.",
    "What does HTTP stand for?",
    "Name the planets of the solar system.",
    "What is a hash table?",
    "Write a short story about a fox.",
    "How far away is the moon?",
    "What causes tides?",
];

#[test]
fn tokens_are_those_of_llama_cpp() {
    let Some(path) = path() else { return };
    let vocabulary = Source::open(&path).unwrap().vocabulary;
    // What llama.cpp's own tokenizer gives for this file; written by `cargo run --release -- tokens
    // --write` in `cross-checks/llama-cpp`.
    let cases: Vec<Case> = serde_json::from_str(include_str!("llama_cpp_tokens.json")).unwrap();
    assert!(cases.len() > 80);
    for Case {
        text,
        special,
        tokens,
    } in cases
    {
        assert_eq!(
            vocabulary.encode(&text, special).unwrap(),
            tokens,
            "{text:?}"
        );
        if !special {
            assert_eq!(vocabulary.decode(&tokens).unwrap(), text);
        }
    }
    assert_eq!(
        vocabulary.prompt("Hello").unwrap(),
        [19556],
        "the model wants nothing in front"
    );
}

/// Ten at a time, so that two cores share the work.
#[test]
fn ten_responses_are_the_same_under_any_schedule() {
    let said = same_under_any_schedule(&QUESTIONS[..10]);
    assert!(said.is_none_or(|text| text.starts_with("L'Étoile, la Marseillaise")),);
}

#[test]
fn ten_more_responses_are_the_same_under_any_schedule() {
    same_under_any_schedule(&QUESTIONS[10..]);
}

/// What is said to the first question; nothing where there is no model.
fn same_under_any_schedule(questions: &[&str]) -> Option<String> {
    let path = path()?;
    let mut source = Source::open(&path).unwrap();
    let model = Model::load(&mut source, Cpu::detect(), None, |_| ()).unwrap();
    let vocabulary = &source.vocabulary;
    let encode = |question: &&str| vocabulary.encode(&chat(question), true).unwrap();
    let prompts: Vec<Vec<u32>> = questions.iter().map(encode).collect();
    let mut runner = TestRunner::deterministic();
    let strategy =
        proptest::collection::vec(proptest::collection::vec(calm_fate(), prompts.len()), 120);
    let schedule: Vec<Vec<Fate>> = strategy.new_tree(&mut runner).unwrap().current();
    let tokens = 200;
    let blocks = BLOCKS * prompts.len() as u32;
    let mut backend = CpuBackend::new(Arc::new(model), blocks, blocks);
    let together = scheduled(&mut backend, &prompts, tokens, &schedule);
    for (prompt, response) in prompts.iter().zip(&together) {
        assert_eq!(response.len(), tokens);
        assert_eq!(response, &read(&mut backend, prompt, response));
    }
    // Reading a response is the same as saying it, token by token, which takes longer.
    for (prompt, response) in prompts.iter().zip(&together).step_by(7) {
        assert_eq!(response, &alone(&mut backend, prompt, tokens));
    }
    let mut decoder = Decoder::new(vocabulary);
    let pieces = together[0]
        .iter()
        .map(|&token| decoder.push(token).unwrap());
    Some(pieces.collect())
}

#[test]
fn floats_know_the_capital_of_france() {
    let Some(path) = path() else { return };
    let mut source = Source::open(&path).unwrap();
    let precision = Some(Precision::F32);
    let model = Model::load(&mut source, Cpu::detect(), precision, |_| ()).unwrap();
    let prompt = source.vocabulary.encode(&chat(QUESTIONS[0]), true).unwrap();
    let mut backend = CpuBackend::new(Arc::new(model), BLOCKS, 0);
    let response = alone(&mut backend, &prompt, 7);
    let text = source.vocabulary.decode(&response).unwrap();
    assert_eq!(text, "The capital of France is Paris.");
    let on_device = alone(&mut device::backend(&path, Floats::F32, BLOCKS), &prompt, 7);
    assert_eq!(on_device, response);
    // The first token is nearly a tie, which bf16 tips as weights of bytes do: the other beginning
    // is "L'Étoile", as above. What comes after it is not.
    let mut rounded = device::backend(&path, Floats::Bf16, BLOCKS);
    assert_eq!(read(&mut rounded, &prompt, &response)[1..], response[1..]);
}
