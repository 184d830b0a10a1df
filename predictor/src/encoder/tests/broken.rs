//! Folders that are wrong in one way each: what the message says, and that nothing panics.

use std::fs;

use serde_json::json;

use super::super::{Backend, Encoder, Options, Precision};
use super::small::{Folder, Small};

#[track_caller]
fn refused(folder: &Folder, options: Options, says: &str) {
    let text = Encoder::load(folder.path(), &options)
        .unwrap_err()
        .to_string();
    assert!(text.contains(says), "{text:?} does not say {says:?}");
}

#[track_caller]
fn refused_with(change: impl FnOnce(&mut Small), says: &str) {
    let mut small = Small::default();
    change(&mut small);
    refused(&small.write(), Options::default(), says);
}

#[test]
fn a_missing_file_is_named() {
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let folder = Small::default().write();
        fs::remove_file(folder.path().join(name)).unwrap();
        refused(&folder, Options::default(), name);
    }
}

#[test]
fn damaged_files_are_named() {
    let cases = [
        ("config.json", "{"),
        ("config.json", "[1, 2]"),
        ("tokenizer.json", "{}"),
        ("tokenizer.json", "\u{0}"),
        ("model.safetensors", ""),
        (
            "model.safetensors",
            "\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}{}",
        ),
        ("modules.json", "{}"),
        ("sentence_bert_config.json", "12"),
    ];
    for (name, text) in cases {
        let folder = Small::default().write();
        fs::write(folder.path().join(name), text).unwrap();
        refused(&folder, Options::default(), name);
    }
}

#[test]
fn weights_cut_short_are_refused() {
    let folder = Small::default().write();
    let path = folder.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    refused(&folder, Options::default(), "is no safetensors file");
}

#[test]
fn a_missing_tensor_is_named() {
    let name = "encoder.layer.1.output.dense.bias";
    let remove = |small: &mut Small| {
        small.tensors.remove(name);
    };
    refused_with(
        remove,
        "the weights have no tensor encoder.layer.1.output.dense.bias",
    );
}

#[test]
fn a_wrong_shape_is_shown() {
    let wider = |small: &mut Small| small.config["intermediate_size"] = json!(96);
    refused_with(wider, "has shape [80, 48] where config.json means [96, 48]");
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    for bad in [f32::NAN, f32::INFINITY] {
        let name = "encoder.layer.0.attention.self.key.weight";
        let spoil = |small: &mut Small| small.tensors.get_mut(name).unwrap().1[5] = bad;
        let says = format!("tensor {name} holds {bad} at 5");
        refused_with(spoil, &says);
    }
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let add = |small: &mut Small| {
        small.tokenizer["model"]["vocab"]["other"] = json!(64);
    };
    refused_with(
        add,
        "the tokenizer has a token 64, the model only 64 tokens",
    );
    let bare = |small: &mut Small| small.tokenizer["post_processor"] = json!(null);
    refused_with(bare, "it puts 0 tokens around a text, not 2");
}

#[test]
fn other_architectures_are_refused() {
    let cases = [
        ("model_type", json!("llama")),
        ("hidden_act", json!("silu")),
        ("position_embedding_type", json!("relative_key")),
        ("num_attention_heads", json!(0)),
        ("num_attention_heads", json!(5)),
        ("vocab_size", json!(0)),
    ];
    for (key, value) in cases {
        refused_with(|small| small.config[key] = value, "not supported");
    }
    for pooling in [
        "{}",
        r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}"#,
    ] {
        refused_with(
            |small| small.pooling = Some(pooling.to_owned()),
            "pooling by other than the first token or the mean",
        );
    }
}

#[test]
fn sizes_from_nowhere_allocate_nothing() {
    for key in ["vocab_size", "max_position_embeddings", "intermediate_size"] {
        let huge = |small: &mut Small| small.config[key] = json!(1u64 << 60);
        refused_with(huge, "where config.json means");
    }
    let deep = |small: &mut Small| small.config["num_hidden_layers"] = json!(u64::MAX);
    refused_with(deep, "no tensor encoder.layer.2");
}

#[test]
fn modules_stay_inside_their_folder() {
    for path in ["../elsewhere", "/etc"] {
        let folder = Small::default().write();
        let kind = "sentence_transformers.models.Pooling";
        let text = json!([{"path": path, "type": kind}]).to_string();
        fs::write(folder.path().join("modules.json"), text).unwrap();
        refused(&folder, Options::default(), "a pooling module at");
    }
}

#[test]
fn options_that_cannot_be_met_are_refused() {
    let folder = Small::default().write();
    for max_tokens in [0, 1, 41] {
        let options = Options {
            max_tokens: Some(max_tokens),
            ..Options::default()
        };
        refused(&folder, options, "a text can have 2 to 40 tokens");
    }
    let options = Options {
        backend: Backend::Candle,
        precision: Precision::Q8,
        ..Options::default()
    };
    refused(&folder, options, "candle");
    #[cfg(not(feature = "cuda"))]
    refused(
        &folder,
        Options {
            backend: Backend::Cuda(0),
            ..Options::default()
        },
        "this build has no",
    );
}
