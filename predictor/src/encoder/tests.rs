//! The encoder on small models with random weights that the tests write, and on real weights where
//! `models/` has them.

use elis_ragged::Cpu;

use super::*;
use small::Small;

mod broken;
#[cfg(feature = "candle")]
mod real;
pub(crate) mod small;

const TEXTS: [&str; 6] = [
    "",
    "a",
    "hello world",
    "the quick brown fox jumps over the lazy dog",
    "Ünïcode, punctuation; and CAPITALS!",
    "zzzz 漢字 \u{1F980} \0 \u{202e}x",
];

/// Candle on the device that `ELIS_TEST_DEVICE` names, which is the processor unless `cargo xtask
/// test --cuda` sets it.
#[cfg(feature = "candle")]
pub(crate) fn candle() -> Backend {
    std::env::var("ELIS_TEST_DEVICE").map_or(Backend::Candle, |name| name.parse().unwrap())
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| {
        let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
        products.sum::<f64>()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn least_cosine(a: &Embeddings, b: &Embeddings) -> f64 {
    assert_eq!((a.rows(), a.dim()), (b.rows(), b.dim()));
    let cosines = a.iter().zip(b.iter()).map(|(a, b)| cosine(a, b));
    cosines.fold(1.0, f64::min)
}

/// A text of so many words, each a token of the small vocabulary.
fn words(count: usize) -> String {
    let letters = (0..count).map(|i| char::from(b'a' + (i * i % 26) as u8));
    letters.map(|letter| format!("{letter} ")).collect()
}

#[cfg(feature = "candle")]
#[test]
fn floats_agree_with_candle() {
    for (hidden, heads) in [(48, 4), (64, 1), (70, 7)] {
        let small = Small::with(hidden, heads).write();
        let mut ours = small.load(Options::default());
        let mut stock = small.load(Options {
            backend: candle(),
            ..Options::default()
        });
        let ours = ours.encode(&TEXTS).unwrap();
        let stock = stock.encode(&TEXTS).unwrap();
        let least = least_cosine(&ours, &stock);
        assert!(least > 0.9999, "hidden {hidden}: {least}");
    }
}

#[test]
fn bytes_are_close_to_floats() {
    let small = Small::default().write();
    let mut floats = small.load(Options::default());
    let mut bytes = small.load(Options {
        precision: Precision::Q8,
        ..Options::default()
    });
    let (floats, bytes) = (
        floats.encode(&TEXTS).unwrap(),
        bytes.encode(&TEXTS).unwrap(),
    );
    assert!(least_cosine(&floats, &bytes) > 0.99);
    assert_ne!(floats, bytes);
}

#[test]
fn company_changes_nothing() {
    let small = Small::default().write();
    for precision in [Precision::F32, Precision::Q8] {
        for threads in [1, 3] {
            let mut encoder = small.load(Options {
                precision,
                threads,
                ..Options::default()
            });
            let together = encoder.encode(&TEXTS).unwrap();
            for (text, together) in TEXTS.iter().zip(together.iter()) {
                let alone = encoder.encode(&[text]).unwrap();
                for (a, b) in alone.row(0).iter().zip(together) {
                    assert!((a - b).abs() < 1e-5, "{precision:?}, {threads}: {text:?}");
                }
            }
        }
    }
}

#[test]
fn many_texts_pass_in_groups() {
    let small = Small::default().write();
    let mut encoder = small.load(Options::default());
    let texts: Vec<String> = (0..100).map(words).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let all = encoder.encode(&texts).unwrap();
    let last = encoder.encode(&texts[95..]).unwrap();
    for (a, b) in all.iter().skip(95).zip(last.iter()) {
        assert!(cosine(a, b) > 0.999_999);
    }
    assert_eq!(encoder.encode(&[]).unwrap().rows(), 0);
}

#[test]
fn portable_kernels_agree_with_the_best() {
    let small = Small::default().write();
    let settings = Settings::read(small.path()).unwrap();
    let path = small.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let weights = Weights::parse(&path, &bytes).unwrap();
    let ids: Vec<u32> = (0..40).map(|i| i * 7 % 57).collect();
    for precision in [Precision::F32, Precision::Q8] {
        let run = |cpu| {
            let mut bert = Bert::new(&settings.config, &weights, precision, cpu, 1).unwrap();
            let mut out = vec![0.0; 2 * settings.config.hidden_size];
            bert.encode(&[&ids, &ids[..7]], Pooling::Mean, &mut out);
            out
        };
        let best = run(Cpu::detect());
        for cpu in Cpu::all() {
            assert!(cosine(&run(cpu), &best) > 0.9999, "{}", cpu.name());
        }
    }
}

#[test]
fn the_folder_says_how_to_pool() {
    let pooling = |file: Option<&str>| {
        let small = Small {
            pooling: file.map(str::to_owned),
            ..Small::default()
        };
        small.write().load(Options::default()).pooling()
    };
    let cls = r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#;
    let mean = r#"{"pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true}"#;
    assert_eq!(pooling(Some(cls)), Pooling::Cls);
    assert_eq!(pooling(Some(mean)), Pooling::Mean);
    assert_eq!(pooling(None), Pooling::Mean);
}

#[test]
fn vectors_have_length_one_only_if_the_folder_says_so() {
    for normalise in [true, false] {
        let small = Small {
            normalise,
            ..Small::default()
        };
        let small = small.write();
        let mut encoder = small.load(Options::default());
        assert_eq!(encoder.normalises(), normalise);
        let embeddings = encoder.encode(&["hello"]).unwrap();
        let length: f32 = embeddings.row(0).iter().map(|x| x * x).sum();
        assert_eq!((length - 1.0).abs() < 1e-4, normalise, "{length}");
    }
}

#[test]
fn long_texts_lose_the_end_that_is_said() {
    let small = Small::default().write();
    let ids = |keep, text: &str| {
        let encoder = small.load(Options {
            keep,
            max_tokens: Some(12),
            ..Options::default()
        });
        encoder.tokenize(text)
    };
    let whole = small.load(Options::default());
    for length in [9, 10, 11, 30, 200, 3000] {
        let text = words(length);
        let head = whole.tokenize(&words(length.min(10)));
        let end = &text[text.len() - length.min(10) * 2..];
        let tail = whole.tokenize(end);
        assert_eq!(ids(Keep::Head, &text), head);
        assert_eq!(ids(Keep::Tail, &text), tail);
        let both = ids(Keep::HeadAndTail, &text);
        assert_eq!(both.len(), length.min(10) + 2);
        assert_eq!(both[..6], head[..6]);
        assert_eq!(both[both.len() - 6..], tail[tail.len() - 6..]);
    }
    assert_eq!(whole.token_counts(&["", "a b", "ab"]), [2, 4, 4]);
}

#[test]
fn a_megabyte_is_a_text_like_another() {
    let small = Small::default().write();
    for keep in [Keep::Head, Keep::Tail, Keep::HeadAndTail] {
        let mut encoder = small.load(Options {
            keep,
            ..Options::default()
        });
        let texts = [
            "x".repeat(1 << 20),
            " ".repeat(1 << 20),
            "漢".repeat(1 << 19),
            words(1 << 19),
        ];
        for text in &texts {
            let tokens = encoder.tokenize(text).len();
            assert!((2..=encoder.max_tokens()).contains(&tokens));
            encoder.encode(&[text]).unwrap();
        }
        assert_eq!(encoder.tokenize(&texts[3]).len(), encoder.max_tokens());
    }
}

#[test]
fn tokens_are_checked_before_they_are_used() {
    let small = Small::default().write();
    let mut encoder = small.load(Options::default());
    let long = vec![1; 41];
    let mut fails = |ids: &[u32]| {
        encoder
            .encode_tokens(&[&[1, 2], ids])
            .unwrap_err()
            .to_string()
    };
    assert_eq!(fails(&[]), "text 1 has 0 tokens; this model takes 1 to 40");
    assert_eq!(
        fails(&long),
        "text 1 has 41 tokens; this model takes 1 to 40"
    );
    assert_eq!(fails(&[3, 64]), "text 1 has token 64; this model has 64");
    assert!(encoder.encode_tokens(&[&[63; 40]]).is_ok());
}
