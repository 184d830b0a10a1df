//! `elis-bench compare --suite` as a user runs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use expect_test::expect;
use serde_json::Value;

use crate::support::command;

/// Two cells that run, and one whose trace is nowhere.
const SUITE: &str = r#"
name = "small"
description = "a suite for tests"
baselines = ["fcfs", "isrtf"]

[[seeds]]
part = "report"
list = [1, 2, 3]

[[cell]]
id = "queue"
part = "report"
group = "both"
stream = { workload = "industrial", take = 60 }
worker = { max_num_seqs = 4 }

[[cell]]
id = "flood"
part = "report"
group = "both"
stream = { workload = "flood", take = 60 }
worker = { max_num_seqs = 4 }

[[cell]]
id = "far"
part = "report"
group = "a trace"
stream = { trace = "azure:nowhere.csv" }

[sweep]
mae_tokens = [0.0, 500.0]
cells = ["queue"]
seeds = 2
"#;

fn written(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("small.toml");
    fs::write(&path, text).unwrap();
    path
}

fn run(suite: &Path, arguments: &[&str]) -> Output {
    let mut command = command("elis-bench");
    let suite = ["compare", "--suite", suite.to_str().unwrap()];
    command.args(suite).args(arguments).output().unwrap()
}

#[track_caller]
fn fails(suite: &Path, arguments: &[&str], code: i32, says: &[&str]) {
    let output = run(suite, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    for part in says {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
}

#[test]
fn a_suite_gives_a_page_and_a_document_that_fits_its_schema() {
    let folder = tempfile::tempdir().unwrap();
    let suite = written(folder.path(), SUITE);
    let out = folder.path().join("out");
    let output = run(&suite, &["--policy", "sjf", "--out", out.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("cell far is left out") && said.contains("nowhere.csv"),
        "{said}"
    );
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        table.contains("simulated") && table.contains("left out: cell far"),
        "{table}"
    );
    let page = fs::read_to_string(out.join("suite.html")).unwrap();
    assert!(page.contains("Simulated") && page.contains("cell far"));
    let json = fs::read_to_string(out.join("suite.json")).unwrap();
    let document: Value = serde_json::from_str(&json).unwrap();
    let schema = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../bench-harness/schema/elis-suite-1.schema.json"
    );
    let schema: Value = serde_json::from_str(&fs::read_to_string(schema).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<_> = validator
        .iter_errors(&document)
        .map(|e| e.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    let names: Vec<&str> = document["policies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|policy| policy["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["fcfs", "isrtf", "sjf", "srpt (clairvoyant)"]);
    assert_eq!(document["cells"].as_array().unwrap().len(), 2);
    assert_eq!(document["groups"].as_array().unwrap().len(), 1);
    // fcfs reads no predictions, and isrtf is no better for bad ones.
    let gain = |curve: usize, point: usize| {
        let point = &document["sweep"][0]["curves"][curve]["points"][point];
        point["jct_mean_ms"].as_f64().unwrap()
    };
    assert_eq!(gain(0, 0), gain(0, 1));
    assert!(gain(1, 0) < gain(1, 1));
}

/// One line for each policy of each group: mean JCT, gain against fcfs with its interval, verdict.
fn figures(document: &Value) -> String {
    let number = |value: &Value| {
        value
            .as_f64()
            .map_or_else(|| "-".to_owned(), |v| format!("{v:.3}"))
    };
    let mut lines = String::new();
    for cell in document["cells"].as_array().unwrap() {
        for row in cell["results"].as_array().unwrap() {
            let versus = row["versus"].as_array().unwrap();
            let versus = versus
                .iter()
                .find(|v| v["measure"] == "jct-mean" && v["against"] == "fcfs");
            let versus = versus.unwrap_or(&Value::Null);
            lines += &format!(
                "{} {} jct {} gain {} [{}, {}] {}\n",
                cell["id"].as_str().unwrap(),
                row["policy"].as_str().unwrap(),
                number(&row["scores"][0]["value"]),
                number(&versus["gain"]),
                number(&versus["ci95"][0]),
                number(&versus["ci95"][1]),
                versus["verdict"].as_str().unwrap_or("-"),
            );
        }
    }
    lines
}

#[test]
fn a_small_suite_has_the_figures_that_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let suite = written(folder.path(), SUITE);
    let output = run(&suite, &["--policy", "sjf", "--json", "-"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    expect![[r#"
        queue fcfs jct 11004.358 gain - [-, -] -
        queue isrtf jct 4685.699 gain 0.574 [0.370, 0.779] better
        queue sjf jct 5724.896 gain 0.480 [0.229, 0.730] better
        queue srpt (clairvoyant) jct 4292.041 gain 0.610 [0.419, 0.801] better
        flood fcfs jct 14304.446 gain - [-, -] -
        flood isrtf jct 6006.545 gain 0.580 [0.325, 0.835] better
        flood sjf jct 6466.086 gain 0.548 [0.341, 0.755] better
        flood srpt (clairvoyant) jct 5342.037 gain 0.627 [0.425, 0.828] better
    "#]]
    .assert_eq(&figures(&document));
}

#[test]
fn equal_suites_are_equal_bytes_however_many_threads() {
    let folder = tempfile::tempdir().unwrap();
    let suite = written(folder.path(), SUITE);
    let once = |threads: &str| {
        let mut command = command("elis-bench");
        let arguments = ["--policy", "sjf", "--json", "-"];
        let output = command
            .args(["compare", "--suite", suite.to_str().unwrap()])
            .args(arguments)
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .unwrap();
        assert!(output.status.success());
        output.stdout
    };
    assert_eq!(once("1"), once("2"));
}

#[test]
fn the_small_form_of_the_shipped_suite_runs_with_every_policy_that_is_built() {
    let output = run(
        Path::new("siblings"),
        &["--smoke", "--seeds", "1", "--json", "-"],
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["smoke"], true);
    assert!(document["policies"].as_array().unwrap().len() >= 4);
    assert_eq!(document["left_out"], Value::Array(Vec::new()));
}

#[test]
fn the_gate_closes_where_a_policy_loses_a_cell() {
    let folder = tempfile::tempdir().unwrap();
    // Against isrtf, first come first served loses on every cell.
    let turned = SUITE.replace("[\"fcfs\", \"isrtf\"]", "[\"isrtf\"]");
    let suite = written(folder.path(), &turned);
    let arguments = ["--policy", "fcfs", "--cell", "queue", "--gate"];
    fails(
        &suite,
        &arguments,
        4,
        &["significantly worse than isrtf: fcfs on queue"],
    );
    fails(&suite, &arguments[..4], 0, &[]);
}

#[test]
fn what_is_wrong_with_a_suite_is_said_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let suite = written(folder.path(), SUITE);
    fails(
        &suite,
        &["--policy", "nosuch"],
        1,
        &["nosuch", "xtask policies"],
    );
    fails(
        &suite,
        &["--cell", "nosuch"],
        1,
        &["no cell or group 'nosuch'", "queue, flood"],
    );
    fails(
        &suite,
        &["--cell", "far"],
        1,
        &["no cell is left to run", "--data"],
    );
    fails(
        &suite,
        &["--workload", "burst"],
        2,
        &["--workload", "cannot be used with"],
    );
    fails(&suite, &["--smoke"], 1, &["has no [smoke]"]);
    fails(
        Path::new("nosuch"),
        &[],
        1,
        &["no suite 'nosuch'", "siblings"],
    );
    let broken = written(
        folder.path(),
        &SUITE.replace("group = \"a trace\"", "grup = 1"),
    );
    fails(
        &broken,
        &[],
        1,
        &["small.toml:27:1", "unknown field `grup`"],
    );
}
