//! Models of toy size with random weights, as folders and as GGUF files, against candle's own.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama;
use elis_llm::{Cache, Cpu, Model, Precision, Sequence, Source, Workspace};
use serde_json::json;
use tokenizers::Tokenizer;
use tokenizers::models::bpe::{BPE, Vocab};

pub(crate) const WIDTH: usize = 64;
pub(crate) const HEADS: usize = 4;
pub(crate) const KV_HEADS: usize = 2;
pub(crate) const INNER: usize = 96;
pub(crate) const TOKENS: usize = 64;
pub(crate) const LAYERS: usize = 2;
const DIM: usize = WIDTH / HEADS;

/// Weights under the names of Hugging Face.
pub(crate) fn weights(seed: u64) -> HashMap<String, Tensor> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut tensor = |shape: &[usize], scale: f32, around: f32| {
        let count = shape.iter().product();
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale + around
        };
        let values: Vec<f32> = (0..count).map(|_| next()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    };
    let mut all = HashMap::new();
    all.insert(
        "model.embed_tokens.weight".to_owned(),
        tensor(&[TOKENS, WIDTH], 1.0, 0.0),
    );
    all.insert("model.norm.weight".to_owned(), tensor(&[WIDTH], 0.2, 1.0));
    for layer in 0..LAYERS {
        let mut put = |name: &str, shape: &[usize]| {
            let (scale, around) = if shape.len() == 1 {
                (0.2, 1.0)
            } else {
                (0.2, 0.0)
            };
            let name = format!("model.layers.{layer}.{name}.weight");
            all.insert(name, tensor(shape, scale, around));
        };
        put("input_layernorm", &[WIDTH]);
        put("post_attention_layernorm", &[WIDTH]);
        put("self_attn.q_proj", &[WIDTH, WIDTH]);
        put("self_attn.k_proj", &[KV_HEADS * DIM, WIDTH]);
        put("self_attn.v_proj", &[KV_HEADS * DIM, WIDTH]);
        put("self_attn.o_proj", &[WIDTH, WIDTH]);
        put("mlp.gate_proj", &[INNER, WIDTH]);
        put("mlp.up_proj", &[INNER, WIDTH]);
        put("mlp.down_proj", &[WIDTH, INNER]);
    }
    all
}

fn alphabet() -> Vec<String> {
    let letters = ('a'..='z').chain('A'..='Z').chain('0'..='9');
    letters.map(String::from).collect()
}

/// A folder as it comes from the hub.
pub(crate) fn write_folder(folder: &Path, weights: &HashMap<String, Tensor>) {
    let config = json!({
        "model_type": "llama", "num_hidden_layers": LAYERS, "hidden_size": WIDTH,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
        "intermediate_size": INNER, "vocab_size": TOKENS, "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "eos_token_id": [63],
        "tie_word_embeddings": true,
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let vocab: Vocab = alphabet().into_iter().zip(0..).collect();
    let bpe = BPE::builder()
        .vocab_and_merges(vocab, Vec::new())
        .build()
        .unwrap();
    Tokenizer::new(bpe)
        .save(folder.join("tokenizer.json"), false)
        .unwrap();
    candle_core::safetensors::save(weights, folder.join("model.safetensors")).unwrap();
}

/// Rows of queries and keys as GGUF has them: pairs that turn together beside one another.
fn permuted(tensor: &Tensor, heads: usize) -> Tensor {
    let (rows, width) = tensor.dims2().unwrap();
    let halves = tensor.reshape((heads, 2, rows / heads / 2, width)).unwrap();
    let swapped = halves.transpose(1, 2).unwrap().contiguous().unwrap();
    swapped.reshape((rows, width)).unwrap()
}

/// One GGUF file; the matrices of layers in `kind`.
pub(crate) fn write_gguf(path: &Path, weights: &HashMap<String, Tensor>, kind: GgmlDType) {
    write_gguf_with(path, weights, kind, &[]);
}

/// The same, which says more of itself.
pub(crate) fn write_gguf_with(
    path: &Path,
    weights: &HashMap<String, Tensor>,
    kind: GgmlDType,
    more: &[(&str, Value)],
) {
    let number = |n: usize| Value::U32(n as u32);
    let strings = |all: Vec<String>| Value::Array(all.into_iter().map(Value::String).collect());
    let metadata = [
        ("general.architecture", Value::String("llama".to_owned())),
        ("llama.block_count", number(LAYERS)),
        ("llama.embedding_length", number(WIDTH)),
        ("llama.attention.head_count", number(HEADS)),
        ("llama.attention.head_count_kv", number(KV_HEADS)),
        ("llama.feed_forward_length", number(INNER)),
        ("llama.context_length", number(512)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("tokenizer.ggml.model", Value::String("gpt2".to_owned())),
        ("tokenizer.ggml.tokens", strings(alphabet())),
        ("tokenizer.ggml.merges", strings(Vec::new())),
        ("tokenizer.ggml.eos_token_id", number(61)),
    ];
    let names = [
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
    ];
    let mut tensors = vec![
        (
            "token_embd.weight".to_owned(),
            weights["model.embed_tokens.weight"].clone(),
        ),
        (
            "output_norm.weight".to_owned(),
            weights["model.norm.weight"].clone(),
        ),
    ];
    for layer in 0..LAYERS {
        for (hub, gguf) in names {
            let tensor = &weights[&format!("model.layers.{layer}.{hub}.weight")];
            let tensor = match gguf {
                "attn_q" => permuted(tensor, HEADS),
                "attn_k" => permuted(tensor, KV_HEADS),
                _ => tensor.clone(),
            };
            tensors.push((format!("blk.{layer}.{gguf}.weight"), tensor));
        }
    }
    let quantised: Vec<(String, QTensor)> = tensors
        .into_iter()
        .map(|(name, tensor)| {
            let in_layer = name.starts_with("blk") && tensor.rank() == 2;
            let kind = if in_layer { kind } else { GgmlDType::F32 };
            (name, QTensor::quantize(&tensor, kind).unwrap())
        })
        .collect();
    let metadata = metadata.iter().chain(more).map(|(k, v)| (*k, v));
    let metadata: Vec<(&str, &Value)> = metadata.collect();
    let tensors: Vec<(&str, &QTensor)> = quantised.iter().map(|(n, t)| (n.as_str(), t)).collect();
    gguf_file::write(&mut File::create(path).unwrap(), &metadata, &tensors).unwrap();
}

/// The logits after the last of some tokens.
pub(crate) fn logits(model: &Model, tokens: &[u32]) -> Vec<f32> {
    let mut cache = Cache::new(model.config().kv_layout(), 16);
    let mut sequence = Sequence::new(tokens);
    sequence.prepare(tokens.len(), &mut cache).unwrap();
    let parts = [sequence.part(tokens.len())];
    model
        .forward(&parts, &mut cache, &mut Workspace::default())
        .to_vec()
}

pub(crate) fn load(path: &Path, precision: Option<Precision>) -> Model {
    let mut source = Source::open(path).unwrap();
    Model::load(&mut source, Cpu::detect(), precision, |_| ()).unwrap()
}

fn prompt(tokens: usize) -> Vec<u32> {
    (0..tokens).map(|i| (i * i % 61) as u32).collect()
}

fn stock(weights: &HashMap<String, Tensor>, tokens: &[u32]) -> Vec<f32> {
    let config = llama::Config {
        hidden_size: WIDTH,
        intermediate_size: INNER,
        vocab_size: TOKENS,
        num_hidden_layers: LAYERS,
        num_attention_heads: HEADS,
        num_key_value_heads: KV_HEADS,
        use_flash_attn: false,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling: None,
        max_position_embeddings: 512,
        tie_word_embeddings: true,
    };
    let device = Device::Cpu;
    let vars = VarBuilder::from_tensors(weights.clone(), DType::F32, &device);
    let model = llama::Llama::load(vars, &config).unwrap();
    let mut cache = llama::Cache::new(true, DType::F32, &config, &device).unwrap();
    let input = Tensor::new(tokens, &device).unwrap().unsqueeze(0).unwrap();
    let logits = model.forward(&input, 0, &mut cache).unwrap();
    logits.flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest difference.
pub(crate) fn apart(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

#[test]
fn folders_and_files_compute_what_candle_does() {
    let weights = weights(1);
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &weights);
    let gguf = folder.path().join("toy.gguf");
    write_gguf(&gguf, &weights, GgmlDType::F32);
    let file = load(&gguf, None);
    std::fs::remove_file(&gguf).unwrap();
    let hub = load(folder.path(), None);
    for tokens in [1, 7, 100] {
        let prompt = prompt(tokens);
        let truth = stock(&weights, &prompt);
        let largest = truth.iter().fold(0.0f32, |most, l| most.max(l.abs()));
        for model in [&hub, &file] {
            let error = apart(&logits(model, &prompt), &truth);
            assert!(
                error < 1e-4 * largest,
                "{tokens} tokens: {error} of {largest}"
            );
        }
    }
}

#[test]
fn quantised_weights_come_close() {
    let weights = weights(2);
    let folder = tempfile::tempdir().unwrap();
    let truth = stock(&weights, &prompt(40));
    let largest = truth.iter().fold(0.0f32, |most, l| most.max(l.abs()));
    let kinds = [
        (GgmlDType::Q8_0, 0.03),
        (GgmlDType::Q4_1, 0.3),
        (GgmlDType::F16, 0.01),
    ];
    for (kind, allowed) in kinds {
        let path = folder.path().join(format!("{kind:?}.gguf"));
        write_gguf(&path, &weights, kind);
        let error = apart(&logits(&load(&path, None), &prompt(40)), &truth);
        assert!(error < allowed * largest, "{kind:?}: {error} of {largest}");
        let floats = logits(&load(&path, Some(Precision::F32)), &prompt(40));
        assert!(
            apart(&floats, &truth) < allowed * largest,
            "{kind:?} as floats"
        );
    }
}
