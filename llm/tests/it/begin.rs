//! Models that want a token in front of every prompt get one, whatever says so.

use std::fs;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use elis_llm::Source;
use serde_json::json;
use tokenizers::Tokenizer;
use tokenizers::processors::template::TemplateProcessing;

use super::toy;

/// The first token of a prompt, of those that the model at this path makes of it.
fn prompt(path: &std::path::Path) -> Vec<u32> {
    Source::open(path).unwrap().vocabulary.prompt("ab").unwrap()
}

#[test]
fn files_say_so_or_are_of_a_kind_that_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("toy.gguf");
    let bos = ("tokenizer.ggml.bos_token_id", Value::U32(5));
    let add = |add| ("tokenizer.ggml.add_bos_token", Value::Bool(add));
    let kind = |kind: &str| ("tokenizer.ggml.pre", Value::String(kind.to_owned()));
    let cases: [(&[_], &[u32]); 6] = [
        (&[], &[0, 1]),
        (&[add(true)], &[0, 1]),
        (std::slice::from_ref(&bos), &[0, 1]),
        (&[bos.clone(), add(true)], &[5, 0, 1]),
        (&[bos.clone(), kind("llama-bpe")], &[5, 0, 1]),
        (&[bos.clone(), kind("llama-bpe"), add(false)], &[0, 1]),
    ];
    for (more, expected) in cases {
        toy::write_gguf_with(&path, &toy::weights(1), GgmlDType::Q8_0, more);
        assert_eq!(prompt(&path), expected, "{more:?}");
    }
}

#[test]
fn folders_say_so_or_have_a_tokenizer_that_does() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    toy::write_folder(folder.path(), &toy::weights(1));
    let say = |config: serde_json::Value| {
        fs::write(at("tokenizer_config.json"), config.to_string()).unwrap();
        prompt(folder.path())
    };
    assert_eq!(prompt(folder.path()), [0, 1]);
    assert_eq!(say(json!({"bos_token": "f"})), [0, 1]);
    assert_eq!(say(json!({"add_bos_token": true})), [0, 1], "none is named");
    let named = json!({"bos_token": {"content": "f"}, "add_bos_token": true});
    assert_eq!(say(named), [5, 0, 1]);
    let mut tokenizer = Tokenizer::from_file(at("tokenizer.json")).unwrap();
    let front = TemplateProcessing::builder()
        .try_single("f $A")
        .unwrap()
        .special_tokens(vec![("f", 5)])
        .build()
        .unwrap();
    tokenizer.with_post_processor(Some(front));
    tokenizer.save(at("tokenizer.json"), false).unwrap();
    assert_eq!(say(json!({"bos_token": "f"})), [5, 0, 1]);
    let not = json!({"bos_token": "f", "add_bos_token": false});
    assert_eq!(say(not), [0, 1]);
}
