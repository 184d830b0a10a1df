//! The real binaries as a user runs them: reports, exit codes, errors that help.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::support::{command, data};

fn run(binary: &str, arguments: &[&str]) -> Output {
    command(binary).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn fails(arguments: &[&str], code: i32, says: &[&str]) {
    let output = run("elis-bench", arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for part in says {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
}

fn small() -> Vec<&'static str> {
    vec![
        "compare", "--take", "150", "--seeds", "3", "--policy", "fcfs", "--policy", "isrtf",
    ]
}

#[test]
fn compare_writes_a_page_a_document_and_a_row_for_each_request() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let output = run("elis-bench", &[small(), vec!["--out", out]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("simulated"));
    let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("Simulated") && !page.contains("src=\"http"));
    let json = fs::read_to_string(folder.path().join("report.json")).unwrap();
    let document: Value = serde_json::from_str(&json).unwrap();
    let schema = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../bench-harness/schema/elis-bench-1.schema.json"
    );
    let schema: Value = serde_json::from_str(&fs::read_to_string(schema).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<_> = validator
        .iter_errors(&document)
        .map(|e| e.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(document["schema"], "elis-bench/1");
    assert_eq!(document["simulated"], true);
    let rows = fs::read_to_string(folder.path().join("requests.csv")).unwrap();
    // fcfs, isrtf and the clairvoyant reference, three seeds of 150 requests, and the header.
    assert_eq!(rows.lines().count(), 3 * 3 * 150 + 1);
}

#[test]
fn equal_runs_are_equal_bytes_however_many_threads() {
    let arguments = [small(), vec!["--deterministic", "--json", "-"]].concat();
    let once = |threads: &str| {
        let mut command = command("elis-bench");
        let output = command
            .args(&arguments)
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        output.stdout
    };
    assert_eq!(once("1"), once("2"));
}

#[test]
fn the_gate_closes_where_a_policy_is_worse() {
    let backwards = [
        "--baseline",
        "isrtf",
        "--no-bound",
        "--gate",
        "--seeds",
        "6",
    ];
    let stream = [
        "compare", "--policy", "isrtf", "--policy", "fcfs", "--take", "400",
    ];
    fails(
        &[&stream[..], &backwards[..]].concat(),
        4,
        &["significantly worse than isrtf: fcfs"],
    );
}

#[test]
fn what_is_wrong_is_said_and_what_to_do() {
    fails(&["compare", "--nonsense"], 2, &["--nonsense", "--help"]);
    fails(
        &["compare", "--policy", "nosuch"],
        1,
        &["nosuch", "fcfs, ", "isrtf, ", "xtask policies"],
    );
    fails(
        &["compare", "--worker", "sim:nosuch"],
        1,
        &["nosuch", "llama2-13b-a100"],
    );
    fails(
        &["compare", "--predictor", "nosuch"],
        1,
        &["nosuch", "elis-paper"],
    );
    fails(
        &["compare", "--max-num-seqs", "0"],
        1,
        &["max_num_seqs is 0"],
    );
    fails(
        &["compare", "--workload", "csv:x"],
        1,
        &["azure", "mooncake"],
    );
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.csv");
    let lines = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.97,48x,10\n";
    fs::write(&bad, lines).unwrap();
    let workload = format!("azure:{}", bad.display());
    fails(
        &["compare", "--workload", &workload],
        1,
        &["bad.csv:2:2", "'48x'"],
    );
}

#[test]
fn a_profile_that_was_shown_runs_and_one_can_be_fitted() {
    let folder = tempfile::tempdir().unwrap();
    let shown = run("elis-bench", &["worker", "show", "sim:llama2-7b-a100"]);
    let mine = folder.path().join("mine.toml");
    fs::write(&mine, &shown.stdout).unwrap();
    let worker = mine.to_str().unwrap();
    let output = run("elis-bench", &[small(), vec!["--worker", worker]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let csv = folder.path().join("measured.csv");
    let mut rows = "decode_seqs,decode_kv_tokens,prefill_tokens,latency_ms\n".to_owned();
    for (b, k, p) in [
        (1, 100, 0),
        (8, 4_000, 0),
        (8, 4_000, 512),
        (32, 9_000, 64),
        (64, 99_000, 0),
    ] {
        let ms = 10.0 + 0.02 * f64::from(b) + 0.0003 * f64::from(k) + 0.05 * f64::from(p);
        rows += &format!("{b},{k},{p},{ms}\n");
    }
    fs::write(&csv, rows).unwrap();
    let fitted = run(
        "elis-bench",
        &["worker", "fit", "--data", csv.to_str().unwrap()],
    );
    assert!(
        text(&fitted.stdout).contains("base_us = 10000"),
        "{}",
        text(&fitted.stdout)
    );
}

#[test]
fn a_real_trace_is_inspected() {
    let trace = format!(
        "azure:{}",
        data("traces/AzureLLMInferenceTrace_conv.csv").display()
    );
    let output = run(
        "elis-bench",
        &["workload", "inspect", &trace, "--json", "-"],
    );
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let shape = document["inspection"]["gaps"]["fits"]["gamma"]["shape"]
        .as_f64()
        .unwrap();
    assert!((shape - 0.871).abs() < 0.005, "{shape}");
}

#[test]
fn a_file_of_responses_is_inspected_and_compared_on() {
    let folder = data("responses");
    let file = folder.join("castillo_responses_meta-llama--Llama-3.1-8B-Instruct.jsonl.gz");
    let stream = format!("responses:{}", file.display());
    let inspect = ["workload", "inspect", &stream, "--rate", "2", "--json", "-"];
    let output = run("elis-bench", &inspect);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["inspection"]["rows"], 2 * 4707);
    assert_eq!(document["provenance"]["inputs"][0]["rows_read"], 7898);
    fails(&inspect[..3], 1, &["give a rate"]);
    let other = data("prompts/prompts_all.jsonl.gz");
    let other = other.to_str().unwrap();
    let output = run(
        "elis-bench",
        &[&inspect[..], &["--prompts", other]].concat(),
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let stream = ["--workload", &stream, "--rate", "2"];
    let output = run("elis-bench", &[&small()[..], &stream].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    fails(&["compare", "--prompts", other], 1, &["left out"]);
}

#[test]
fn a_policy_is_checked_before_it_is_trusted() {
    let good = run("elis", &["policy", "check", "isrtf", "--json"]);
    assert!(good.status.success(), "{}", text(&good.stderr));
    let document: Value = serde_json::from_slice(&good.stdout).unwrap();
    assert!(
        document
            .to_string()
            .contains("job-predicted-remaining-tokens"),
        "{document}"
    );
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let bad = run("elis", &["policy", "check", readme]);
    assert_eq!(bad.status.code(), Some(1));
    assert!(
        text(&bad.stderr).contains("not a WebAssembly binary"),
        "{}",
        text(&bad.stderr)
    );
}
