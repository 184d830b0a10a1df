//! `elis-predictor collect` from end to end, against a small server.

#![expect(clippy::unwrap_used, reason = "a test that fails should panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use tempfile::TempDir;
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

/// A server, a folder, and prompts in it.
struct Bench {
    server: MockServer,
    folder: TempDir,
}

/// What a well-behaved server says: as many tokens as the prompt has letters.
fn answer(request: &Request) -> ResponseTemplate {
    let asked: Value = request.body_json().unwrap();
    let prompt = asked.pointer("/messages/0/content").unwrap();
    let prompt = prompt.as_str().unwrap();
    ResponseTemplate::new(200).set_body_json(json!({
        "choices": [{"message": {"content": format!("re {prompt}")}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": prompt.len()},
    }))
}

impl Bench {
    async fn new(prompts: usize) -> Self {
        let bench = Self {
            server: MockServer::start().await,
            folder: tempfile::tempdir().unwrap(),
        };
        let rows = (0..prompts).map(|i| {
            json!({"id": i, "source": "s", "licence": "MIT", "prompt": format!("p{i}")}).to_string()
                + "\n"
        });
        fs::write(bench.path("p.jsonl"), rows.collect::<String>()).unwrap();
        bench
    }

    /// The server answers as `respond` says, so many times, before what was told to it earlier.
    async fn responds(&self, respond: impl Respond + 'static, times: u64, priority: u8) {
        Mock::given(method("POST"))
            .and(path("/v1/chat/completions"))
            .respond_with(respond)
            .up_to_n_times(times)
            .with_priority(priority)
            .mount(&self.server)
            .await;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_elis-predictor"));
        command
            .args(["collect", "--model", "m", "--retry-wait-ms", "1", "--url"])
            .arg(format!("{}/v1/", self.server.uri()))
            .args(["--prompts", "p.jsonl", "--out", "r.jsonl"])
            .args(more)
            .current_dir(self.folder.path())
            .env_remove("ELIS_API_KEY")
            .env("NO_PROXY", "127.0.0.1");
        command
    }

    /// Runs the command while the server goes on answering.
    async fn run(&self, more: &[&str]) -> (ExitStatus, String) {
        let mut command = self.command(more);
        let run = tokio::task::spawn_blocking(move || command.output().unwrap());
        told(&run.await.unwrap())
    }

    async fn prompts_asked(&self) -> Vec<String> {
        let requests = self.server.received_requests().await.unwrap();
        let bodies = requests.iter().map(|r| r.body_json::<Value>().unwrap());
        bodies
            .map(|b| b["messages"][0]["content"].as_str().unwrap().to_owned())
            .collect()
    }

    fn responses(&self) -> Vec<Value> {
        rows(&self.path("r.jsonl"))
    }
}

fn told(output: &Output) -> (ExitStatus, String) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status, text)
}

fn rows(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_prompt_is_asked_in_order_and_kept() {
    let bench = Bench::new(3).await;
    Mock::given(method("POST"))
        .and(header("authorization", "Bearer secret"))
        .respond_with(answer)
        .mount(&bench.server)
        .await;
    let options = "--api-key secret --samples 2 --seed 5 --top-p 0.9 --rate 1000 --concurrency 1";
    let options: Vec<&str> = options.split(' ').collect();
    let (status, text) = bench.run(&options).await;
    assert!(status.success(), "{text}");
    assert!(text.contains("6 answered (12 tokens)"), "{text}");
    let asked = bench.prompts_asked().await;
    assert_eq!(asked, ["p0", "p1", "p2", "p0", "p1", "p2"]);
    let rows = bench.responses();
    let first = json!({
        "schema": "elis-responses/1", "id": "0", "source": "s", "licence": "MIT", "sample": 0,
        "model": "m", "prompt": "p0", "response": "re p0", "prompt_tokens": 3,
        "output_tokens": 2, "finish_reason": "stop", "temperature": 1.0, "top_p": 0.9,
        "max_tokens": 1024, "seed": 5,
    });
    assert_eq!(rows[0], first);
    assert_eq!(
        (&rows[5]["sample"], &rows[5]["seed"]),
        (&json!(1), &json!(6))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_cut_is_continued() {
    let bench = Bench::new(5).await;
    bench.responds(answer, 100, 5).await;
    bench.run(&["--limit", "4"]).await;
    let whole = fs::read(bench.path("r.jsonl")).unwrap();
    fs::write(bench.path("r.jsonl"), &whole[..whole.len() - 7]).unwrap();
    bench.server.reset().await;
    bench.responds(answer, 100, 5).await;
    let (status, text) = bench.run(&[]).await;
    assert!(status.success(), "{text}");
    assert!(text.contains("cut a torn last line"), "{text}");
    assert!(
        text.contains("2 answered") && text.contains("3 there before"),
        "{text}"
    );
    assert_eq!(bench.prompts_asked().await.len(), 2);
    let mut ids: Vec<String> = bench
        .responses()
        .iter()
        .map(|r| r["id"].to_string())
        .collect();
    ids.sort();
    assert_eq!(ids, ["\"0\"", "\"1\"", "\"2\"", "\"3\"", "\"4\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_asked_again() {
    let bench = Bench::new(1).await;
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "0");
    bench.responds(busy, 1, 1).await;
    bench.responds(ResponseTemplate::new(503), 2, 2).await;
    bench.responds(answer, 1, 3).await;
    let (status, text) = bench.run(&[]).await;
    assert!(status.success(), "{text}");
    assert_eq!(bench.prompts_asked().await.len(), 4);
    assert_eq!(bench.responses().len(), 1);
    assert!(!bench.path("r.failures.jsonl").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_kept_apart_and_asked_by_the_next_run() {
    let bench = Bench::new(3).await;
    let refusal = ResponseTemplate::new(400).set_body_string("too long");
    bench.responds(refusal, 1, 1).await;
    let broken = ResponseTemplate::new(200).set_body_string("{\"choices\": []}");
    bench.responds(broken, 1, 2).await;
    bench.responds(answer, 100, 3).await;
    let (status, text) = bench.run(&["--concurrency", "1"]).await;
    assert_eq!(status.code(), Some(3), "{text}");
    assert!(text.contains("1 answered (2 tokens), 2 failed"), "{text}");
    let failures = rows(&bench.path("r.failures.jsonl"));
    assert_eq!(failures[0]["status"], 400);
    assert!(failures[0]["error"].as_str().unwrap().ends_with("too long"));
    assert_eq!(
        (&failures[1]["id"], &failures[1]["status"]),
        (&json!("1"), &json!(null))
    );
    assert!(
        failures[1]["error"]
            .as_str()
            .unwrap()
            .contains("missing field")
    );
    let (status, text) = bench.run(&[]).await;
    assert!(
        status.success() && text.contains("1 there before"),
        "{text}"
    );
    assert_eq!(bench.responses().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_is_not_pressed_on() {
    let bench = Bench::new(50).await;
    let (status, text) = bench
        .run(&["--give-up-after", "3", "--concurrency", "1"])
        .await;
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("gave up after 3 failures in a row"), "{text}");
    assert_eq!(bench.prompts_asked().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_of_prompts_is_named() {
    let bench = Bench::new(1).await;
    let text = fs::read_to_string(bench.path("p.jsonl")).unwrap();
    fs::write(
        bench.path("p.jsonl"),
        text + "{\"prompt\": \"a\", \"id\": }\n",
    )
    .unwrap();
    let (status, text) = bench.run(&[]).await;
    assert_eq!(status.code(), Some(1));
    assert!(text.contains("p.jsonl:2:23: expected value"), "{text}");
    assert!(!bench.path("r.jsonl").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_is_the_servers_own_where_none_is_named() {
    let bench = Bench::new(1).await;
    Mock::given(method("GET"))
        .and(path("/v1/models"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"data": [{"id": "own"}]})))
        .mount(&bench.server)
        .await;
    let completion = json!({
        "choices": [{"text": "on", "finish_reason": "length"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    });
    Mock::given(path("/v1/completions"))
        .respond_with(ResponseTemplate::new(200).set_body_json(completion))
        .mount(&bench.server)
        .await;
    let url = format!("{}/v1", bench.server.uri());
    let mut command = Command::new(env!("CARGO_BIN_EXE_elis-predictor"));
    command
        .args([
            "collect",
            "--completions",
            "--url",
            &url,
            "--prompts",
            "p.jsonl",
        ])
        .args(["--out", "r.jsonl"])
        .current_dir(bench.folder.path());
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    let (status, text) = told(&run.await.unwrap());
    assert!(status.success(), "{text}");
    let row = &bench.responses()[0];
    assert_eq!(
        (&row["model"], &row["response"]),
        (&json!("own"), &json!("on"))
    );
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_stopped_keeps_what_was_under_way() {
    let bench = Bench::new(20).await;
    let process: Arc<OnceLock<u32>> = Arc::default();
    let seen = Arc::clone(&process);
    let stopping = move |request: &Request| {
        let kill = Command::new("kill").arg(seen.wait().to_string()).status();
        assert!(kill.unwrap().success());
        answer(request)
    };
    bench.responds(stopping, 1, 1).await;
    bench.responds(answer, 100, 2).await;
    let child = bench
        .command(&["--concurrency", "1", "--rate", "20"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process.set(child.id()).unwrap();
    let run = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let (status, text) = told(&run.await.unwrap());
    assert_eq!(status.code(), Some(130), "{text}");
    assert!(
        text.contains("1 answered") && text.contains("19 left"),
        "{text}"
    );
    assert_eq!(bench.responses().len(), 1);
}
