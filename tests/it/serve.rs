//! The real server, driven by real clients: on a modelled worker, and on the real model where
//! `models/` has it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{StreamExt as _, stream};
use reqwest::Client;
use serde_json::{Value, json};

use crate::support::{command, root, target};

/// A running `elis serve`, killed when the test is over.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) client: Client,
    pub(crate) url: String,
    pub(crate) admin_url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        // The first of the crates that speak TLS takes ring, and none of them speaks it here.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let known = command("elis");
        let mut serve = Command::new(known.get_program());
        for (name, value) in known.get_envs() {
            serve.env(name, value.unwrap());
        }
        serve
            .args(["serve", "--port", "0", "--admin-port", "0"])
            .args(arguments);
        let child = serve.current_dir(root()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut address = |before: &str| loop {
            let line = lines.next().expect("the server ended").unwrap();
            if let Some((_, address)) = line.split_once(before) {
                return address.trim().to_owned();
            }
        };
        let url = address("listening on ");
        let admin_url = address("admin API on ");
        // Somebody must read on, or the server would wait to write.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            // No connection is used twice: one that the server closes after a refusal might be.
            client: Client::builder()
                .no_proxy()
                .pool_max_idle_per_host(0)
                .build()
                .unwrap(),
            url,
            admin_url,
        }
    }

    pub(crate) async fn complete(&self, body: &Value) -> Value {
        let sent = self
            .client
            .post(format!("{}/v1/completions", self.url))
            .json(body);
        let response = sent.send().await.unwrap();
        let status = response.status();
        let answer: Value = response.json().await.unwrap();
        assert!(status.is_success(), "{status}: {answer}");
        answer
    }

    pub(crate) async fn set_policy(&self, policy: &str) -> (u16, Value) {
        let url = format!("{}/admin/policy", self.admin_url);
        let sent = self.client.post(url).json(&json!({ "policy": policy }));
        let response = sent.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub(crate) async fn status(&self) -> Value {
        let sent = self.client.get(format!("{}/admin/status", self.admin_url));
        sent.send().await.unwrap().json().await.unwrap()
    }

    pub(crate) async fn metrics(&self) -> String {
        let sent = self.client.get(format!("{}/metrics", self.url));
        sent.send().await.unwrap().text().await.unwrap()
    }

    /// Waits for a metric.
    pub(crate) async fn until(&self, name: &str, reached: impl Fn(f64) -> bool) {
        while !reached(metric(&self.metrics().await, name)) {
            a_moment().await;
        }
    }

    /// Asks it to go, as an operator does, and waits.
    pub(crate) fn terminate(mut self) -> i32 {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.child.wait().unwrap().code().unwrap()
    }
}

/// Between two looks at a server: whoever looks on without one takes the processor that it needs.
pub(crate) async fn a_moment() {
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
}

/// As many numbers as a metric has labels, summed.
pub(crate) fn metric(text: &str, name: &str) -> f64 {
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_change_under_load_and_no_request_notices() {
    let worker = ["--worker", "sim:llama2-13b-a100", "--speed", "300"];
    // The clock of a busy machine is no fault of a policy's.
    let patient = ["--predictor", "oracle", "--decision-budget-ms", "1000"];
    let server = Server::start(&[&worker[..], &patient].concat());
    for policy in ["isrtf", "sjf", "fcfs"] {
        // Compiled once; from here on a change is a fresh instance.
        assert_eq!(server.set_policy(policy).await.0, 200);
    }
    let over = Arc::new(AtomicBool::new(false));
    let swaps = async {
        let mut swaps = 0;
        for policy in ["isrtf", "sjf", "fcfs"].iter().cycle() {
            let (status, answer) = server.set_policy(policy).await;
            assert_eq!(status, 200, "{answer}");
            swaps += 1;
            if over.load(Ordering::Relaxed) {
                break;
            }
        }
        swaps
    };
    let requests = async {
        let all = stream::iter(0..400u32).map(|number| {
            let tokens = 1 + number * 37 % 150;
            let body = json!({
                "prompt": vec![number % 200; 1 + number as usize % 90],
                "max_tokens": tokens, "ignore_eos": true, "oracle_tokens": tokens,
                "user": format!("tenant {}", number % 3),
            });
            let server = &server;
            async move {
                let answer = server.complete(&body).await;
                assert_eq!(answer["usage"]["completion_tokens"], tokens);
                assert_eq!(answer["choices"][0]["finish_reason"], "length");
            }
        });
        let answered = all.buffer_unordered(48).count().await;
        over.store(true, Ordering::Relaxed);
        answered
    };
    let (answered, swaps) = tokio::join!(requests, swaps);
    assert_eq!(answered, 400);
    assert!(swaps > 20, "{swaps}");
    let status = server.status().await;
    assert_eq!(
        (&status["running"], &status["waiting"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(status["kv_blocks_used"], 0);
    let (refused, why) = server.set_policy("no-such-policy").await;
    assert_eq!(refused, 404, "{why}");
    let text = server.metrics().await;
    assert_eq!(
        metric(&text, "elis_requests_total{outcome=\"finished\"}"),
        400.0
    );
    assert_eq!(metric(&text, "elis_fallbacks_total"), 0.0, "{text}");
    assert_eq!(metric(&text, "elis_request_duration_seconds_count"), 400.0);
    assert!(metric(&text, "elis_decisions_applied_total") > 0.0);
    assert_eq!(server.terminate(), 0, "it drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn real_clients_complete_a_session() {
    let server = Server::start(&["--worker", "sim:llama2-13b-a100", "--speed", "50"]);
    let mut session = Command::new("bash");
    session
        .arg(root().join("tests/clients/run.sh"))
        .arg(&server.url);
    let output = session.env("CARGO_TARGET_DIR", target()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let erred = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{erred}");
    eprintln!("{said}");
    let text = server.metrics().await;
    let asked = metric(&text, "elis_requests_total{outcome=\"finished\"}");
    assert!(asked > 0.0 || said.contains("left out"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_modelled_worker_counts_tokens_of_any_vocabulary() {
    let server = Server::start(&["--worker", "sim:llama2-13b-a100", "--speed", "300"]);
    let body = json!({ "prompt": [29_999, 4_000_000_000_u32], "max_tokens": 3 });
    let usage = &server.complete(&body).await["usage"];
    assert_eq!(usage["prompt_tokens"], 2);
    assert_eq!(usage["completion_tokens"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_frees_its_memory() {
    let server = Server::start(&["--worker", "sim:llama2-13b-a100"]);
    let body = json!({"prompt": "x", "max_tokens": 8000, "ignore_eos": true, "stream": true});
    let url = format!("{}/v1/completions", server.url);
    let response = server.client.post(url).json(&body).send().await.unwrap();
    let mut chunks = response.bytes_stream();
    assert!(chunks.next().await.unwrap().is_ok());
    assert_eq!(server.status().await["running"], 1);
    drop(chunks);
    // The server notices when it writes the next token, some 30 ms later.
    while server.status().await["running"] != 0 {
        a_moment().await;
    }
    assert_eq!(server.status().await["kv_blocks_used"], 0);
    let text = server.metrics().await;
    assert_eq!(
        metric(&text, "elis_requests_total{outcome=\"cancelled\"}"),
        1.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_queue_holds_is_told_to_come_back() {
    let server = Server::start(&["--worker", "sim:llama2-13b-a100", "--queue", "2"]);
    let body = json!({"prompt": "x", "max_tokens": 500, "ignore_eos": true, "stream": true});
    let url = format!("{}/v1/completions", server.url);
    let ask = || server.client.post(&url).json(&body).send();
    let (one, two) = (ask().await.unwrap(), ask().await.unwrap());
    assert!(one.status().is_success() && two.status().is_success());
    let three = ask().await.unwrap();
    assert_eq!(three.status().as_u16(), 429);
    assert!(three.headers().contains_key("retry-after"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_model_says_the_same_alone_and_in_a_crowd() {
    let model = root().join("models/smollm2-135m-instruct");
    if !model.is_dir() {
        eprintln!("skipped: models/ is not there; `cargo xtask models` brings it");
        return;
    }
    let model = model.display().to_string();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("iterations.csv").display().to_string();
    let server = Server::start(&[
        "--model",
        &model,
        "--policy",
        "isrtf",
        "--predictor",
        "predictor/shipped",
        "--kv-memory-mib",
        "256",
        "--max-num-seqs",
        "4",
        "--window-tokens",
        "10",
        "--repredict-tokens",
        "10",
        "--iteration-log",
        &log,
    ]);
    let url = format!("{}/v1/chat/completions", server.url);
    let question = |i: usize| {
        let subjects = [
            "rain", "a fox", "the sea", "Paris", "numbers", "bread", "the moon", "trees",
        ];
        let text = format!("Write one sentence about {}.", subjects[i]);
        json!({
            "messages": [{"role": "user", "content": text}], "max_tokens": 24 + 4 * i, "seed": i,
            "temperature": if i.is_multiple_of(2) { 0.0 } else { 0.9 },
        })
    };
    let ask = |i: usize| {
        let sent = server.client.post(&url).json(&question(i)).send();
        async move {
            let answer: Value = sent.await.unwrap().json().await.unwrap();
            let said = answer["choices"][0]["message"]["content"].as_str();
            said.unwrap_or_else(|| panic!("{answer}")).to_owned()
        }
    };
    let mut alone = Vec::new();
    for i in 0..8 {
        alone.push(ask(i).await);
    }
    let crowd: Vec<String> = stream::iter(0..8).map(ask).buffered(8).collect().await;
    assert_eq!(alone, crowd);
    let text = server.metrics().await;
    assert!(
        metric(&text, "elis_predictions_asked_total") >= 16.0,
        "{text}"
    );
    assert!(
        metric(&text, "elis_prediction_error_tokens_count") > 0.0,
        "{text}"
    );
    assert_eq!(server.terminate(), 0);
    assert!(std::fs::read_to_string(log).unwrap().lines().count() > 50);
}
