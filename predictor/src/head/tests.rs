//! A head on rows, in a file, and with what is wrong.

use std::path::PathBuf;

use super::*;
use crate::features::PromptText;

fn shape(bins: Option<Bins>) -> Shape {
    Shape {
        spec: Spec {
            inputs: vec![Input::PromptEmbedding, Input::ServedModel],
            hidden: vec![3],
            bins: 0,
            members: 1,
        },
        embedding: 2,
        models: 2,
        bins,
    }
}

fn layers(shape: &Shape) -> Vec<Layer> {
    let sizes = shape.layers().into_iter();
    sizes
        .map(|(outputs, inputs)| Layer {
            outputs,
            inputs,
            weights: (0..outputs * inputs)
                .map(|i| 0.1 * i as f32 - 0.2)
                .collect(),
            bias: vec![0.5; outputs],
        })
        .collect()
}

fn head() -> Head {
    let shape = shape(None);
    let layers = layers(&shape);
    Head::new(shape, vec![0.0; 4], vec![1.0; 4], layers).unwrap()
}

fn row(shape: &Shape) -> Vec<f32> {
    let prompt = PromptText::new("hello", 1);
    let evidence = Evidence {
        prompt: &prompt,
        response: None,
        prompt_embedding: &[1.0, -2.0],
        windows_embedding: &[],
        windows: 0,
        window_embedding: &[],
        served_model: Some(1),
        hidden_state: &[],
    };
    let mut rows = Vec::new();
    shape.write_row(&evidence, &mut rows);
    rows
}

#[test]
fn a_row_is_what_the_inputs_say() {
    assert_eq!(row(&shape(None)), [1.0, -2.0, 0.0, 1.0]);
}

#[test]
fn layers_are_applied_with_relu_between_them() {
    let mut head = head();
    let mut rows = row(head.shape());
    let [a, b, c] = [0, 1, 2].map(|unit| {
        let w = |i: usize| 0.1 * (4 * unit + i) as f32 - 0.2;
        (w(0) - 2.0 * w(1) + w(3) + 0.5).max(0.0)
    });
    let expected = libm::expf(-0.2 * a - 0.1 * b + 0.5) - 1.0;
    let tokens = head.predict(&mut rows)[0].median_tokens;
    assert!((tokens - expected).abs() < 1e-4, "{tokens} {expected} {c}");
}

fn temp(name: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    (dir, path)
}

#[test]
fn a_saved_head_is_the_same_head() {
    let (_dir, path) = temp("head.safetensors");
    let mut head = head();
    head.save(&path).unwrap();
    let mut again = Head::load(&path, shape(None)).unwrap();
    let mut rows = [row(head.shape()), row(head.shape())];
    let tokens = |head: &mut Head, rows: &mut [f32]| head.predict(rows)[0].median_tokens;
    assert_eq!(
        tokens(&mut head, &mut rows[0]),
        tokens(&mut again, &mut rows[1])
    );
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let (_dir, path) = temp("head.safetensors");
    let missing = Head::load(&path, shape(None)).unwrap_err().to_string();
    assert!(missing.contains("head.safetensors"), "{missing}");
    std::fs::write(&path, b"not at all").unwrap();
    let damaged = Head::load(&path, shape(None)).unwrap_err().to_string();
    assert!(damaged.contains("no head is in it"), "{damaged}");

    head().save(&path).unwrap();
    let mut deeper = shape(None);
    deeper.spec.hidden = vec![3, 3];
    let missing = Head::load(&path, deeper).unwrap_err().to_string();
    assert!(
        missing.contains("tensor 2.weight: it is missing"),
        "{missing}"
    );
    let mut wider = shape(None);
    wider.embedding = 7;
    let other = Head::load(&path, wider).unwrap_err().to_string();
    assert!(other.contains("values where"), "{other}");
}

#[test]
fn a_weight_that_is_no_number_is_refused() {
    let shape = shape(None);
    let mut layers = layers(&shape);
    layers[1].weights[1] = f32::NAN;
    let error = Head::new(shape, vec![0.0; 4], vec![1.0; 4], layers).unwrap_err();
    assert!(error.to_string().contains("1.weight: value 1"), "{error}");
}
