//! Real weights, which `cargo xtask models` brings, against candle's own model.

use std::path::{Path, PathBuf};

use super::super::{Embeddings, Encoder, Options, Precision};
use super::{candle, least_cosine};

/// The folder of all-MiniLM-L6-v2. Where it is absent the test says so and passes, except where
/// `ELIS_NEEDS_MODELS=1` is set.
fn folder() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models");
    let folder = root.join("all-minilm-l6-v2");
    if folder.is_dir() {
        return Some(folder);
    }
    let needed = std::env::var("ELIS_NEEDS_MODELS").is_ok_and(|value| value == "1");
    assert!(!needed, "models/ is not there: run `cargo xtask models`");
    eprintln!("skipped: models/ is not there; `cargo xtask models` brings it");
    None
}

fn texts() -> Vec<String> {
    let sentences = [
        "How do I reverse a linked list in Rust without unsafe code?",
        "Write a poem about the sea.",
        "",
        "42",
        "Explain the difference between preemptive and cooperative scheduling, with an example \
         of each, and say which one a server that answers many short questions should take.",
        "Übersetze: the weather is fine today, but tomorrow it will rain.",
        "select name, count(*) from orders group by name having count(*) > 3;",
    ];
    let short = sentences.iter().map(|&sentence| sentence.to_owned());
    let long = [3, 10, 40].map(|times| sentences.join(" ").repeat(times));
    short.chain(long).collect()
}

fn encode(folder: &Path, options: Options) -> Embeddings {
    let mut encoder = Encoder::load(folder, &options).unwrap();
    assert_eq!((encoder.dim(), encoder.max_tokens()), (384, 256));
    let texts = texts();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    encoder.encode(&texts).unwrap()
}

#[test]
fn real_weights_give_what_candle_gives() {
    let Some(folder) = folder() else { return };
    let stock = encode(
        &folder,
        Options {
            backend: candle(),
            ..Options::default()
        },
    );
    for (precision, bound) in [(Precision::F32, 0.9999), (Precision::Q8, 0.999)] {
        let ours = encode(
            &folder,
            Options {
                precision,
                ..Options::default()
            },
        );
        let least = least_cosine(&ours, &stock);
        eprintln!("{precision:?}: least cosine {least:.7}");
        assert!(least > bound, "{precision:?}: {least}");
    }
}

#[test]
fn alike_texts_are_near() {
    let Some(folder) = folder() else { return };
    let mut encoder = Encoder::load(&folder, &Options::default()).unwrap();
    let texts = [
        "A cat sits on the mat.",
        "A kitten is on the rug.",
        "Interest rates rose.",
    ];
    let embeddings = encoder.encode(&texts).unwrap();
    let near = super::cosine(embeddings.row(0), embeddings.row(1));
    let far = super::cosine(embeddings.row(0), embeddings.row(2));
    assert!(near > 0.5 && far < 0.2, "{near} {far}");
}
