//! A small BERT folder with random weights.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::{Encoder, Options};

/// What the folder is written from; tests change what they are about.
pub(crate) struct Small {
    pub(crate) config: Value,
    pub(crate) tokenizer: Value,
    pub(crate) tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    pub(crate) pooling: Option<String>,
    pub(crate) normalise: bool,
}

impl Default for Small {
    fn default() -> Self {
        Self::with(48, 4)
    }
}

impl Small {
    pub(crate) fn with(hidden: usize, heads: usize) -> Self {
        let (vocab, positions, wide) = (64, 40, 80);
        let config = json!({
            "model_type": "bert", "hidden_act": "gelu", "vocab_size": vocab,
            "hidden_size": hidden, "num_hidden_layers": 2, "num_attention_heads": heads,
            "intermediate_size": wide, "max_position_embeddings": positions,
            "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0,
            "hidden_dropout_prob": 0.1, "initializer_range": 0.02,
        });
        let mut shapes = vec![
            (
                "embeddings.word_embeddings.weight".to_owned(),
                vec![vocab, hidden],
            ),
            (
                "embeddings.position_embeddings.weight".to_owned(),
                vec![positions, hidden],
            ),
            (
                "embeddings.token_type_embeddings.weight".to_owned(),
                vec![2, hidden],
            ),
            ("embeddings.LayerNorm.weight".to_owned(), vec![hidden]),
            ("embeddings.LayerNorm.bias".to_owned(), vec![hidden]),
        ];
        for layer in 0..2 {
            let mut add = |part: &str, n: usize, k: Option<usize>| {
                let name = format!("encoder.layer.{layer}.{part}");
                let shape = std::iter::once(n).chain(k).collect();
                shapes.push((format!("{name}.weight"), shape));
                shapes.push((format!("{name}.bias"), vec![n]));
            };
            for part in ["self.query", "self.key", "self.value", "output.dense"] {
                add(&format!("attention.{part}"), hidden, Some(hidden));
            }
            add("attention.output.LayerNorm", hidden, None);
            add("intermediate.dense", wide, Some(hidden));
            add("output.dense", hidden, Some(wide));
            add("output.LayerNorm", hidden, None);
        }
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let tensors = shapes.into_iter().map(|(name, shape)| {
            let middle = if name.ends_with("Norm.weight") {
                1.0
            } else {
                0.0
            };
            let count = shape.iter().product();
            let values = (0..count).map(|_| middle + random.random_range(-0.4f32..0.4));
            let values = values.collect();
            (name, (shape, values))
        });
        Self {
            tensors: tensors.collect(),
            config,
            tokenizer: tokenizer(),
            pooling: None,
            normalise: true,
        }
    }

    pub(crate) fn write(&self) -> Folder {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let put = |name: &str, text: &str| fs::write(path.join(name), text).unwrap();
        put("config.json", &self.config.to_string());
        put("tokenizer.json", &self.tokenizer.to_string());
        if self.normalise {
            let kind = "sentence_transformers.models.Normalize";
            put(
                "modules.json",
                &json!([{"path": "2_Normalize", "type": kind}]).to_string(),
            );
        }
        if let Some(pooling) = &self.pooling {
            fs::create_dir(path.join("1_Pooling")).unwrap();
            put("1_Pooling/config.json", pooling);
        }
        let bytes: BTreeMap<&String, (&Vec<usize>, Vec<u8>)> = self
            .tensors
            .iter()
            .map(|(name, (shape, values))| {
                let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                (name, (shape, bytes))
            })
            .collect();
        let views = bytes.iter().map(|(name, (shape, bytes))| {
            let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap();
            (*name, view)
        });
        let bytes = safetensors::serialize(views, None).unwrap();
        fs::write(path.join("model.safetensors"), bytes).unwrap();
        Folder(folder)
    }
}

/// WordPiece over single letters.
fn tokenizer() -> Value {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let letters = ('a'..='z').map(String::from);
    let inner = ('a'..='z').map(|letter| format!("##{letter}"));
    let all = special
        .iter()
        .map(|&s| s.to_owned())
        .chain(letters)
        .chain(inner);
    let vocab: BTreeMap<String, usize> = all.zip(0..).collect();
    let added = special.iter().zip(0..).map(|(content, id)| {
        json!({
            "id": id, "content": content, "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false,
        })
    });
    json!({
        "version": "1.0",
        "truncation": {
            "max_length": 5, "strategy": "LongestFirst", "stride": 0, "direction": "Right",
        },
        "padding": {
            "strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]",
        },
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": null,
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab,
        },
    })
}

/// A written folder, removed when it goes.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    #[track_caller]
    pub(crate) fn load(&self, options: Options) -> Encoder {
        Encoder::load(self.path(), &options).unwrap()
    }
}
