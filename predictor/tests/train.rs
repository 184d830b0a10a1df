//! Training, judging and predicting through the real command.

#![expect(clippy::unwrap_used, reason = "a test that fails should panic")]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use assert_cmd::Command;
use elis_predictor::learn::{States, prompt_number};
use elis_predictor::probe::Probe;

/// So little is learned here that a second thread would do nothing but wait for the first, and
/// candle's wait by spinning.
const THREADS: (&str, &str) = ("CANDLE_NUM_THREADS", "1");

fn elis_predictor() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_elis-predictor"));
    command.env(THREADS.0, THREADS.1);
    command
}

/// Answers as long as their prompts ask for: so many items of 25 tokens each.
fn responses(path: &Path) {
    let mut text = String::new();
    for i in 0..300u32 {
        let items = 2 + i % 9;
        let line = serde_json::json!({
            "schema": "elis-responses/1", "id": i.to_string(), "source": "made", "licence": "MIT",
            "sample": 0, "model": "m", "prompt": format!("List {items} facts about number {i}."),
            "response": (1..=items).map(|n| format!("{n}. A fact about it.\n")).collect::<String>(),
            "prompt_tokens": 9, "output_tokens": 25 * items,
        });
        writeln!(text, "{line}").unwrap();
    }
    fs::write(path, text).unwrap();
}

fn said(command: &mut Command) -> (String, String, Option<i32>) {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        text(&output.stdout),
        text(&output.stderr),
        output.status.code(),
    )
}

#[test]
fn what_was_trained_is_judged_held_out_and_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (data, model) = (dir.path().join("r.jsonl"), dir.path().join("model"));
    responses(&data);
    let (_, log, code) = said(
        elis_predictor()
            .args(["train", "--head", "lexical", "--members", "1"])
            .args(["--epochs", "40", "--data"])
            .args([&data])
            .arg("--out")
            .arg(&model),
    );
    assert_eq!(code, Some(0), "{log}");
    let card = fs::read_to_string(model.join("MODEL_CARD.md")).unwrap();
    assert!(card.contains("made (300 responses)"), "{card}");

    let report = dir.path().join("report");
    let mut eval = elis_predictor();
    eval.args(["eval", "--predictor"]).arg(&model);
    eval.arg("--data").arg(&data).arg("--out").arg(&report);
    eval.args(["--seeds", "2"]);
    let (table, log, code) = said(&mut eval);
    assert_eq!(code, Some(0), "{log}");
    assert!(table.contains("| trained |"), "{table}");
    let json = fs::read_to_string(report.join("report.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let mae = |way: &str| {
        let rows = json["rows"].as_array().unwrap();
        let row = rows
            .iter()
            .find(|row| row["way"] == way && row["model"] == "all");
        row.unwrap()["mae_tokens"].as_f64().unwrap()
    };
    assert!(mae("trained") < 0.7 * mae("mean of the step"), "{table}");
    for way in ["one length, counted down", "words so far, trees"] {
        assert!(table.contains(&format!("| {way} |")), "{table}");
    }
    assert!(table.contains("2 seeds of training"), "{table}");
    let page = fs::read_to_string(report.join("report.html")).unwrap();
    assert!(page.contains("made: error by step"), "{page}");

    let unseen = dir.path().join("unseen.jsonl");
    let mut hold_out = elis_predictor();
    hold_out
        .args(["hold-out", "--data"])
        .arg(&data)
        .arg("--out")
        .arg(&unseen);
    assert_eq!(said(&mut hold_out).2, Some(0));
    let held = fs::read_to_string(&unseen).unwrap().lines().count();
    assert!((30..100).contains(&held), "{held} of 300 are held out");

    // Bytes that are no text, and no JSON: the lines after them are answered all the same.
    let lines = b"{\"prompt\": \"List 3 facts.\"}\n\xff\xfe\n{\"prompt\": 7}\n{\"prompt\": \"\"}\n";
    let mut predict = elis_predictor();
    predict
        .args(["predict", "--predictor"])
        .arg(&model)
        .write_stdin(&lines[..]);
    let (answers, log, code) = said(&mut predict);
    assert_eq!(code, Some(3), "{log}");
    assert_eq!(answers.lines().count(), 2, "{answers}");
    assert!(log.contains("line 2, column 1: not UTF-8"), "{log}");
    assert!(log.contains("line 3, column"), "{log}");
}

#[test]
fn training_that_was_killed_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (data, model) = (dir.path().join("r.jsonl"), dir.path().join("model"));
    responses(&data);
    let mut args = vec!["train", "--head", "lexical", "--members", "2"];
    args.extend(["--epochs", "40", "--data"]);
    let mut first = std::process::Command::new(env!("CARGO_BIN_EXE_elis-predictor"))
        .args(&args)
        .arg(&data)
        .arg("--out")
        .arg(&model)
        .env(THREADS.0, THREADS.1)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(first.stderr.take().unwrap());
    let mut lines = log.lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("Later, member 2: epoch 1,")));
    first.kill().unwrap();
    assert_eq!(
        first.wait().unwrap().code(),
        None,
        "it was over before it was killed"
    );
    assert!(!model.join("predictor.json").exists());

    let mut again = elis_predictor();
    again.args(&args).arg(&data).arg("--out").arg(&model);
    let (_, log, code) = said(&mut again);
    assert_eq!(code, Some(0), "{log}");
    assert!(
        !log.contains("Arrival, ") && !log.contains("Later, member 1"),
        "what was fitted is kept: {log}"
    );
    assert!(!log.contains("Later, member 2: epoch 1,"), "{log}");
    assert!(log.contains("Later, member 2: epoch "), "{log}");
    let card = fs::read_to_string(model.join("MODEL_CARD.md")).unwrap();
    assert!(
        card.contains("the head for later went on after epoch"),
        "{card}"
    );
    let files = fs::read_dir(&model).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert!(!names.into_iter().any(|name| name.contains("checkpoint")));
}

/// An encoder of real weights learns from a few prompts and is what heads are trained with.
#[test]
fn an_encoder_is_fitted_and_read() {
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/all-minilm-l6-v2");
    if !real.is_dir() {
        eprintln!("left out: no encoder; `cargo xtask models` brings it");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (data, tuned) = (dir.path().join("r.jsonl"), dir.path().join("tuned"));
    responses(&data);
    let few: Vec<String> = fs::read_to_string(&data)
        .unwrap()
        .lines()
        .take(80)
        .map(str::to_owned)
        .collect();
    fs::write(&data, few.join("\n")).unwrap();
    let fine_tune = |from: &Path, out: &Path| {
        let mut command = elis_predictor();
        command.args(["fine-tune", "--epochs", "1", "--batch", "64", "--encoder"]);
        command.arg(from).arg("--data").arg(&data);
        said(command.arg("--out").arg(out))
    };
    let (_, log, code) = fine_tune(&real, &tuned);
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("epoch 1, loss"), "{log}");
    let card = fs::read_to_string(tuned.join("fine_tuned.json")).unwrap();
    assert!(
        card.contains("\"MIT\"") && card.contains("r.jsonl"),
        "{card}"
    );
    let weights = |folder: &Path| fs::read(folder.join("model.safetensors")).unwrap();
    assert_ne!(weights(&tuned), weights(&real));

    let model = dir.path().join("model");
    let mut train = elis_predictor();
    train.args(["train", "--members", "1", "--epochs", "1", "--encoder"]);
    train.arg(&tuned).arg("--data").arg(&data);
    let (_, log, code) = said(train.arg("--out").arg(&model));
    assert_eq!(code, Some(0), "{log}");
    let card = fs::read_to_string(model.join("MODEL_CARD.md")).unwrap();
    assert!(
        card.contains("the encoder was fitted to how long 1 models"),
        "{card}"
    );

    let before = weights(&tuned);
    let (_, log, code) = fine_tune(&tuned, &tuned);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("give another --out"), "{log}");
    assert_eq!(weights(&tuned), before);
}

#[test]
fn a_probe_is_trained_on_the_states_of_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("s.safetensors"), dir.path().join("probe"));
    let states = States {
        model: "m".to_owned(),
        layer: 11,
        dim: 2,
        // The length itself, and its square.
        hidden: (0..600u16)
            .map(|i| f32::from(i % 500) / 500.0)
            .flat_map(|length| [length, length * length])
            .collect(),
        remaining_tokens: (0..600).map(|i| i % 500).collect(),
        prompts: (0..600).map(|i| prompt_number(&i.to_string())).collect(),
    };
    states.write(&data).unwrap();
    let mut train = elis_predictor();
    train.args(["train-probe", "--licence", "MIT", "--states"]);
    train.arg(&data).arg("--out").arg(&out);
    let (_, log, code) = said(&mut train);
    assert_eq!(code, Some(0), "{log}");
    let probe = Probe::load(&out).unwrap();
    assert_eq!((probe.wanted().layer, probe.wanted().dim), (11, 2));
    // The best constant misses by 125 tokens.
    let mae = probe.card().validation_mae_tokens.unwrap();
    assert!(mae < 80.0, "{log}");
    let card = fs::read_to_string(out.join("MODEL_CARD.md")).unwrap();
    assert!(
        card.contains("MIT") && card.contains("s.safetensors"),
        "{card}"
    );

    fs::write(&data, "no states").unwrap();
    let (_, log, code) = said(&mut train);
    assert_eq!(code, Some(1));
    assert!(log.contains("s.safetensors"), "{log}");
}

#[test]
fn what_cannot_be_done_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("r.jsonl"), dir.path().join("out"));
    responses(&data);
    let mut unknown = elis_predictor();
    unknown
        .args(["train", "--head", "huge", "--data"])
        .arg(&data)
        .arg("--out")
        .arg(&out);
    let (_, log, code) = said(&mut unknown);
    assert_eq!(code, Some(1));
    assert!(log.contains("no head is called 'huge'"), "{log}");

    let mut later = elis_predictor();
    later.args(["train", "--head", "lexical", "--later-head", "wide"]);
    later.arg("--data").arg(&data).arg("--out").arg(&out);
    let (_, log, code) = said(&mut later);
    assert_eq!(code, Some(1));
    assert!(log.contains("no head is called 'wide'"), "{log}");

    let mut nobody = elis_predictor();
    nobody
        .args(["train", "--source", "elsewhere", "--data"])
        .arg(&data)
        .arg("--out")
        .arg(&out);
    assert!(said(&mut nobody).1.contains("no response is left"));

    let mut nowhere = elis_predictor();
    nowhere.args(["predict", "--predictor"]).arg(&out);
    let (_, log, _) = said(&mut nowhere);
    assert!(log.contains("predictor.json"), "{log}");

    fs::write(&data, "{\"schema\":\"elis-responses/1\",\n").unwrap();
    let mut broken = elis_predictor();
    broken
        .args(["train", "--data"])
        .arg(&data)
        .arg("--out")
        .arg(&out);
    let (_, log, code) = said(&mut broken);
    assert_eq!(code, Some(1));
    assert!(log.contains("r.jsonl:1:"), "{log}");
}
