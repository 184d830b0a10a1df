//! `elis-bench load` from end to end.

use std::fs;
use std::process::{Command, Output, Stdio};

use axum::http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::{Behaviour, Server};

/// The command on a short and quick stream, in a folder of its own.
fn command(server: &Server, folder: &TempDir, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_elis-bench"));
    command
        .args(["load", "--url", &server.url, "--workload", "steady"])
        .args(["--settle", "0", "--max-prompt-tokens", "20"])
        .args(more)
        .current_dir(folder.path())
        .env_remove("ELIS_API_KEY")
        .env_remove("ELIS_ADMIN_TOKEN");
    command
}

/// Runs it while the server goes on answering.
async fn output(mut command: Command) -> (Output, String) {
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = run.await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, told)
}

fn words(text: &str) -> Vec<&str> {
    text.split(' ').collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_measured_valid_and_keeps_secrets() {
    let server = Server::start([]).await;
    let folder = tempfile::tempdir().unwrap();
    let options = "--requests 12 --rate 200 --max-output-tokens 5 --api chat --api-key sk-secret \
                   --out out --json - --warm-up 2";
    let (output, told) = output(command(&server, &folder, &words(options))).await;
    assert!(output.status.success(), "{told}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let schema = elis_bench_harness::report::schema_json().unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| error.to_string())
        .collect();
    assert_eq!(errors, Vec::<String>::new());
    let result = &document["results"][0];
    assert_eq!(document["simulated"], false);
    assert_eq!(
        (&result["requests"], &result["completed"]),
        (&json!(12), &json!(12))
    );
    assert_eq!(result["jct_ms"]["n"], 12);
    assert_eq!(result["client"]["send_lag_ms"]["n"], 12);
    assert!(result["queue_ms"]["mean"].is_null() && result["utilisation"].is_null());
    assert_eq!(document["worker"]["model"], "small");
    let bodies = server.inner.bodies.lock().unwrap();
    assert_eq!(bodies.len(), 14);
    for (body, key) in bodies.iter() {
        assert_eq!(key.as_deref(), Some("sk-secret"));
        assert_eq!(
            (&body["model"], &body["ignore_eos"]),
            (&json!("small"), &json!(true))
        );
    }
    let read = |name: &str| fs::read_to_string(folder.path().join("out").join(name)).unwrap();
    assert!(read("report.html").contains("Measured"));
    assert_eq!(read("requests.csv").lines().count(), 13);
    assert!(read("latencies.hlog").contains("Tag=server:ttft"));
    for name in ["report.html", "report.json"] {
        assert!(!read(name).contains("sk-secret"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_is_paired_and_switches_before_each_run() {
    let server = Server::start([]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut options =
        words("--requests 6 --rate 300 --max-output-tokens 4 --seeds 2 --json r.json");
    options.extend(["--compare", "fcfs,isrtf", "--switch-command"]);
    options.push("echo {policy} >> turns");
    let (output, told) = output(command(&server, &folder, &options)).await;
    assert!(output.status.success(), "{told}");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(
        table.starts_with("measured figures: 2 policies, 2 seeds, model small"),
        "{table}"
    );
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let document: Value = serde_json::from_str(&read("r.json")).unwrap();
    let pair = &document["paired"][0];
    assert_eq!(
        (&pair["policy"], &pair["against"]),
        (&json!("isrtf"), &json!("fcfs"))
    );
    assert_eq!(
        (&pair["requests"], &pair["unpaired"]),
        (&json!(12), &json!(0))
    );
    let turns = read("turns");
    let told_turns = document["worker"]["order"].as_array().unwrap();
    let told_turns = told_turns.iter().map(|line| line.as_str().unwrap());
    let told_turns = told_turns.flat_map(|line| line.split_once(": ").unwrap().1.split(", "));
    // The command may be what starts the server, so it ran once before anything was asked.
    assert!(
        turns.lines().eq(["fcfs"].into_iter().chain(told_turns)),
        "{turns}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_counted_and_told_by_the_exit_code() {
    let refuse = Behaviour::Refuse(StatusCode::TOO_MANY_REQUESTS);
    let server = Server::start([(5, refuse)]).await;
    let folder = tempfile::tempdir().unwrap();
    // Nearly all responses of the stream are longer than 5 tokens and so cut to it.
    let options = "--requests 10 --rate 300 --max-output-tokens 5 --json r.json";
    let (refused, told) = output(command(&server, &folder, &words(options))).await;
    assert_eq!(refused.status.code(), Some(3), "{told}");
    assert!(told.contains("http-429: not now"), "{told}");
    let document = fs::read_to_string(folder.path().join("r.json")).unwrap();
    let document: Value = serde_json::from_str(&document).unwrap();
    let result = &document["results"][0];
    assert_eq!(result["client"]["errors"]["http-429"], result["rejected"]);
    assert_eq!(result["lost"], 0);
    let allowed = format!("{options} --allow-errors 1");
    let (allowed, told) = output(command(&server, &folder, &words(&allowed))).await;
    assert!(allowed.status.success(), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_it_says_so() {
    let server = Server {
        url: "http://127.0.0.1:1".into(),
        ..Server::start([]).await
    };
    let folder = tempfile::tempdir().unwrap();
    let (output, told) = output(command(&server, &folder, &["--rate", "1"])).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told.contains("http://127.0.0.1:1/v1/models does not answer"),
        "{told}"
    );
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_interruption_reports_what_was_measured() {
    let server = Server::start([(5, Behaviour::Gated)]).await;
    let folder = tempfile::tempdir().unwrap();
    // One request comes at once, the others a quarter of an hour apart.
    let options = "--ramp 0.001:0.001:1 --requests 3 --max-output-tokens 5 --json -";
    let mut command = command(&server, &folder, &words(options));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = child.spawn().unwrap();
    server.has_seen(1).await;
    let pid = child.id().to_string();
    let killed = Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(killed.success());
    server.inner.gate.add_permits(3);
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let output = ended.await.unwrap();
    assert_eq!(output.status.code(), Some(130));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let result = &document["results"][0];
    assert_eq!(
        (&result["completed"], &result["client"]["unsent"]),
        (&json!(1), &json!(2))
    );
}
