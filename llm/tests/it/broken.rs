//! Files that are no models: each a clear error.

use std::fs;

use candle_core::quantized::GgmlDType;
use elis_llm::{Cpu, Model, Source};
use proptest::prelude::*;

use super::toy;

/// What is said about a path.
fn said(path: &std::path::Path) -> String {
    let loaded = Source::open(path)
        .and_then(|mut source| Model::load(&mut source, Cpu::detect(), None, |_| ()).map(|_| ()));
    loaded.unwrap_err().to_string()
}

#[test]
fn what_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    assert!(said(&at("nothing")).contains("no model here"));
    assert!(said(folder.path()).contains("no model here"));
    fs::write(at("config.json"), "{\"model_type\": ").unwrap();
    assert!(said(folder.path()).contains("config.json"));
    toy::write_folder(folder.path(), &toy::weights(1));
    let config = fs::read_to_string(at("config.json")).unwrap();
    fs::write(at("config.json"), config.replace("llama", "mamba")).unwrap();
    assert!(said(folder.path()).contains("\"mamba\" are not supported"));
    fs::write(
        at("config.json"),
        config.replace("\"vocab_size\":64", "\"vocab_size\":9"),
    )
    .unwrap();
    assert!(said(folder.path()).contains("belongs to another model"));
    fs::write(at("config.json"), &config).unwrap();
    let mut weights = toy::weights(1);
    weights.remove("model.layers.1.mlp.up_proj.weight");
    toy::write_folder(folder.path(), &weights);
    let text = said(folder.path());
    assert_eq!(text, "tensor model.layers.1.mlp.up_proj.weight is missing");
    let odd = weights["model.norm.weight"].affine(f64::NAN, 0.0).unwrap();
    let mut weights = toy::weights(1);
    weights.insert("model.norm.weight".to_owned(), odd);
    toy::write_folder(folder.path(), &weights);
    assert!(said(folder.path()).contains("no numbers"));
    let bytes = fs::read(at("model.safetensors")).unwrap();
    fs::write(at("model.safetensors"), &bytes[..bytes.len() / 2]).unwrap();
    assert!(said(folder.path()).contains("model.safetensors"));
    fs::remove_file(at("tokenizer.json")).unwrap();
    assert!(said(folder.path()).contains("tokenizer.json"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_end_in_an_error_or_a_model(
        cut in 0.0f64..1.2, flips in prop::collection::vec((0.0f64..1.0, any::<u8>()), 0..6),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("toy.gguf");
        toy::write_gguf(&path, &toy::weights(1), GgmlDType::Q8_0);
        let mut bytes = fs::read(&path).unwrap();
        // The description lies in front, and damage there is what matters.
        let front = bytes.len().min(6000) as f64;
        for (at, value) in flips {
            bytes[(front * at) as usize] = value;
        }
        bytes.truncate((bytes.len() as f64 * cut) as usize);
        fs::write(&path, &bytes).unwrap();
        if let Ok(mut source) = Source::open(&path) {
            let _ = Model::load(&mut source, Cpu::portable(), None, |_| ());
        }
    }
}
