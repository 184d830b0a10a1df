//! Models over candle's tensors, beside the processor's kernels: on the device that
//! `ELIS_TEST_DEVICE` names, which is the processor unless `cargo xtask test --cuda` sets it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::Tensor;
use candle_core::quantized::GgmlDType;
use elis_llm::device::{Device, DeviceBackend, DeviceModel, Floats, Place};
use elis_llm::{Backend, CpuBackend, DeviceError, Part, Precision, Sequence, Source};

use super::toy::{self, HEADS, KV_HEADS, LAYERS, WIDTH};

const DIM: usize = WIDTH / HEADS;

/// The device of these tests.
fn device() -> Device {
    let place = std::env::var("ELIS_TEST_DEVICE").map_or(Place::Cpu, |name| name.parse().unwrap());
    Device::open(place).unwrap()
}

/// A model on it, with so many blocks, of which all can be swapped out.
pub(crate) fn backend(path: &Path, floats: Floats, blocks: u32) -> DeviceBackend {
    let mut source = Source::open(path).unwrap();
    let model = DeviceModel::load(&mut source, &device(), floats, |_| ()).unwrap();
    DeviceBackend::new(Arc::new(model), blocks, blocks).unwrap()
}

/// The logits of a batch of chunks of different lengths at different places, twice over the same
/// blocks: what the first pass leaves there must not show.
fn logits(backend: &mut impl Backend) -> Vec<f32> {
    let prompts: [Vec<u32>; 5] = [
        (0..70).map(|i| i * 7 % 61).collect(),
        vec![5],
        (0..33).map(|i| i * i % 61).collect(),
        vec![1, 2, 3, 4],
        (0..64).collect(),
    ];
    let mut all = Vec::new();
    for _ in 0..2 {
        let mut sequences: Vec<Sequence> = prompts.iter().map(|p| Sequence::new(p)).collect();
        // The first chunk of each, then what is left of it: one token where there is one.
        for last in [1, 0] {
            let counts: Vec<usize> = sequences.iter().map(|s| (s.left() - last).max(1)).collect();
            for (sequence, &count) in sequences.iter_mut().zip(&counts) {
                let count = count.min(sequence.left());
                sequence.prepare(count, backend.cache()).unwrap();
            }
            let running = sequences.iter().zip(&counts).filter(|(s, _)| s.left() > 0);
            let parts: Vec<Part<'_>> = running.map(|(s, &count)| s.part(count)).collect();
            all.extend_from_slice(backend.forward(&parts).unwrap());
            for (sequence, &count) in sequences.iter_mut().zip(&counts) {
                sequence.advance(count);
            }
        }
        for sequence in &mut sequences {
            sequence.evict(backend.cache());
        }
    }
    all
}

/// How far logits on the device are from the processor's, as a share of the largest.
fn apart(path: &Path, floats: Floats) -> f32 {
    let model = Arc::new(toy::load(path, Some(Precision::F32)));
    let expected = logits(&mut CpuBackend::new(model, 16, 0));
    let found = logits(&mut backend(path, floats, 16));
    let largest = expected.iter().fold(0.0f32, |most, l| most.max(l.abs()));
    toy::apart(&found, &expected) / largest
}

#[track_caller]
fn alike(path: &Path) {
    let error = apart(path, Floats::F32);
    assert!(error < 1e-4, "{error}");
    // A bf16 has 8 bits, so that what it rounds away is up to 0.4 % of a number.
    let error = apart(path, Floats::Bf16);
    assert!((1e-4..0.05).contains(&error), "{error}");
}

/// Weights with what Qwen2 has beside Llama, biases, and Qwen3, norms of heads.
fn with_extras(mut weights: HashMap<String, Tensor>) -> HashMap<String, Tensor> {
    for layer in 0..LAYERS {
        let mut put = |name: &str, len: usize, from: f32| {
            let values: Vec<f32> = (0..len)
                .map(|i| from + (i as f32 * 0.7).sin() / 2.0)
                .collect();
            let tensor = Tensor::new(values, &candle_core::Device::Cpu).unwrap();
            weights.insert(format!("model.layers.{layer}.self_attn.{name}"), tensor);
        };
        put("q_proj.bias", WIDTH, 0.0);
        put("k_proj.bias", KV_HEADS * DIM, 0.1);
        put("v_proj.bias", KV_HEADS * DIM, -0.1);
        put("q_norm.weight", DIM, 1.0);
        put("k_norm.weight", DIM, 1.2);
    }
    weights
}

#[test]
fn devices_compute_what_the_processor_does() {
    let folder = tempfile::tempdir().unwrap();
    toy::write_folder(folder.path(), &toy::weights(1));
    alike(folder.path());
    toy::write_folder(folder.path(), &with_extras(toy::weights(4)));
    alike(folder.path());
    // In a GGUF file neighbours turn together, and weights may be blocks of bytes.
    for kind in [GgmlDType::F32, GgmlDType::Q4_1, GgmlDType::Q8_0] {
        let path = folder.path().join("toy.gguf");
        toy::write_gguf(&path, &toy::weights(2), kind);
        alike(&path);
    }
}

#[test]
fn an_iteration_without_logits_gives_nothing() {
    let folder = tempfile::tempdir().unwrap();
    toy::write_folder(folder.path(), &toy::weights(1));
    let mut backend = backend(folder.path(), Floats::F32, 2);
    assert_eq!(backend.forward(&[]), Ok([].as_mut_slice()));
    // A chunk of a prompt, of which nobody wants logits: the driver launches nothing over no row.
    let mut sequence = Sequence::new(&[1, 2, 3]);
    sequence.prepare(2, backend.cache()).unwrap();
    let chunk = [sequence.part(2)];
    assert_eq!(backend.forward(&chunk), Ok([].as_mut_slice()));
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let DeviceError(text) = Device::open(Place::Cuda(99)).unwrap_err();
    assert!(
        text.contains("CUDA") || text.contains("NVIDIA") || text.contains("cuda:99"),
        "{text}"
    );
}
