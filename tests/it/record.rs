//! Record and replay through the real commands: a live server that is killed, one that ends, a
//! simulated run of ten thousand requests.

use std::path::Path;
use std::process::{Command, Stdio};

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::serve::{Server, metric};
use crate::support::{command, root};

/// A command of ours that a test can start and leave running.
fn process(name: &str) -> Command {
    let known = command(name);
    let mut process = Command::new(known.get_program());
    for (name, value) in known.get_envs() {
        process.env(name, value.unwrap());
    }
    process.current_dir(root()).stderr(Stdio::null());
    process
}

/// What `elis-bench replay` says; the exit code must be that.
fn replay(log: &Path, arguments: &[&str], code: i32) -> String {
    let mut replay = command("elis-bench");
    let output = replay
        .arg("replay")
        .arg(log)
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let erred = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}{erred}");
    said + &erred
}

/// Sends requests, some at a time, and waits for all.
async fn burst(server: &Server, requests: std::ops::Range<u32>) {
    let all = stream::iter(requests).map(|number| {
        let tokens = 1 + number * 37 % 150;
        let body = json!({
            "prompt": vec![number % 200; 1 + number as usize % 90],
            "user": format!("tenant {}", number % 3),
            "max_tokens": tokens, "ignore_eos": true, "oracle_tokens": tokens,
        });
        async move {
            let answer = server.complete(&body).await;
            assert_eq!(answer["usage"]["completion_tokens"], tokens);
        }
    });
    all.buffer_unordered(32).count().await;
}

fn start(log: &Path) -> Server {
    let log = log.display().to_string();
    Server::start(
        &[
            &["--worker", "sim:llama2-13b-a100", "--speed", "300"][..],
            &["--policy", "isrtf", "--predictor", "oracle"],
            // The clock of a busy machine is no fault of a policy's.
            &["--decision-budget-ms", "1000", "--record", &log],
        ]
        .concat(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_recorded_reproduces_up_to_the_cut() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, part) = (
        folder.path().join("whole.elog"),
        folder.path().join("part.elog"),
    );
    let mut server = start(&whole);
    burst(&server, 0..120).await;
    let mut client = process("elis")
        .args([
            "record",
            "--for",
            "1h",
            "--from",
            &server.admin_url,
            "--out",
        ])
        .arg(&part)
        .spawn()
        .unwrap();
    server
        .until("elis_recordings", |active| active >= 2.0)
        .await;
    burst(&server, 120..200).await;
    assert_eq!(server.set_policy("sjf").await.0, 200);
    burst(&server, 200..300).await;
    // A request is in the midst of its response when the server is gone.
    let body = json!({"prompt": "x", "max_tokens": 8000, "ignore_eos": true, "stream": true});
    let url = format!("{}/v1/completions", server.url);
    let response = server.client.post(url).json(&body).send().await.unwrap();
    let mut chunks = response.bytes_stream();
    assert!(chunks.next().await.unwrap().is_ok());
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    assert!(
        !client.wait().unwrap().success(),
        "a log without an end is no success"
    );
    for (log, requests) in [(&whole, 300), (&part, 180)] {
        let said = replay(log, &["--verify"], 0);
        let proven = said.contains("bit for bit") && said.contains("the log was cut off");
        assert!(proven && !said.contains("missing, where"), "{said}");
        // A killed server keeps its last moments to itself, which may hold many requests.
        let (before, _) = said.split_once(" requests,").unwrap();
        let read: u32 = before.rsplit(' ').next().unwrap().parse().unwrap();
        assert!((1..=requests + 1).contains(&read), "{said}");
        let equal = said.lines().filter(|line| line.ends_with("plans equal"));
        assert!((1..=2).contains(&equal.count()), "{said}");
    }
    // A file that ends within a frame says how much of it is lost.
    let bytes = std::fs::read(&whole).unwrap();
    std::fs::write(&part, &bytes[..bytes.len() - 5]).unwrap();
    assert!(replay(&part, &["--verify"], 0).contains("are of an unfinished frame"));
    let mut damaged = bytes;
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&part, damaged).unwrap();
    let said = replay(&part, &["--verify"], 1);
    assert!(said.contains("the log is damaged at byte "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_ends_when_its_time_is_over_or_the_server_drains() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, part) = (
        folder.path().join("whole.elog"),
        folder.path().join("part.elog"),
    );
    let server = start(&whole);
    let mut client = process("elis")
        .args([
            "record",
            "--for",
            "50ms",
            "--from",
            &server.admin_url,
            "--out",
        ])
        .arg(&part)
        .spawn()
        .unwrap();
    burst(&server, 0..60).await;
    assert!(client.wait().unwrap().success());
    server
        .until("elis_recordings", |active| active == 1.0)
        .await;
    let text = server.metrics().await;
    assert_eq!(metric(&text, "elis_recorded_lost_inputs_total"), 0.0);
    assert!(metric(&text, "elis_recorded_bytes_total") > 0.0);
    // What exists is not overwritten.
    let again = process("elis")
        .args([
            "record",
            "--for",
            "50ms",
            "--from",
            &server.admin_url,
            "--out",
        ])
        .arg(&part)
        .status();
    assert!(!again.unwrap().success());
    assert_eq!(server.terminate(), 0);
    for log in [&whole, &part] {
        let said = replay(log, &["--verify"], 0);
        assert!(said.contains("the log is complete"), "{said}");
    }
}

#[test]
fn ten_thousand_requests_reproduce_and_say_what_would_have_been() {
    let folder = tempfile::tempdir().unwrap();
    let mut compare = command("elis-bench");
    compare
        .args([
            "compare",
            "--requests",
            "10000",
            "--seeds",
            "1",
            "--no-bound",
            "--record",
        ])
        .arg(folder.path())
        .args([
            "--policy",
            "isrtf",
            "--baseline",
            "isrtf",
            "--json",
            "/dev/null",
        ]);
    compare.assert().success();
    let log = folder.path().join("isrtf-0.elog");
    let said = replay(&log, &["--verify"], 0);
    assert!(
        said.contains("bit for bit") && said.contains("the log is complete"),
        "{said}"
    );
    assert!(
        said.contains(" 10000 requests,") && said.contains("plans equal"),
        "{said}"
    );
    let each = said.split_once(" bytes per job per decision").unwrap().0;
    let each: f64 = each.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(each < 200.0, "{each}");
    // The same policy decides the same; another one does not, and arrives later on the whole.
    let json = ["--policy", "isrtf", "--policy", "fcfs", "--json", "-"];
    let mut other = command("elis-bench");
    let output = other.arg("replay").arg(&log).args(json).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["simulated"], true);
    let calibration = document["worker"]["calibration_error"].as_f64().unwrap();
    // The fit is linear in what the modelled worker is not.
    assert!(calibration.abs() < 0.2, "{calibration}");
    let divergence = &document["workload"]["divergence"];
    let zero = json!(0);
    assert_eq!(
        (&divergence[0]["other_jobs"], &divergence[0]["tau_mean"]),
        (&zero, &json!(1.0))
    );
    assert!(
        divergence[1]["other_jobs"].as_u64().unwrap() > 100,
        "{divergence}"
    );
    let paired = &document["paired"];
    assert_eq!(paired[0]["jct_reduction"]["ratio_of_sums"], 0.0);
    let verdict = paired[1]["jct_reduction"]["ratio_of_sums"]
        .as_f64()
        .unwrap();
    assert!(verdict < 0.0, "{paired}");
}

#[test]
fn predictions_that_nobody_made_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut compare = command("elis-bench");
    compare
        .args([
            "compare",
            "--requests",
            "300",
            "--seeds",
            "1",
            "--no-bound",
            "--record",
        ])
        .arg(folder.path())
        .args(["--policy", "fcfs", "--json", "/dev/null"]);
    compare.assert().success();
    let log = folder.path().join("fcfs-0.elog");
    let said = replay(&log, &["--policy", "isrtf"], 1);
    assert!(said.contains("give --predictor"), "{said}");
    let said = replay(&log, &["--policy", "isrtf", "--predictor", "elis-paper"], 0);
    assert!(
        said.contains("simulated") && said.contains("Kendall's tau"),
        "{said}"
    );
}
