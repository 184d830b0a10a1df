//! The real server under many requests: none fails, and what is served is forgotten.

use std::fs;

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::serve::{Server, metric};

/// Responses at once.
const STREAMS: usize = 64;

/// Asks for a response, streamed, and counts the tokens that came, one a chunk.
async fn streamed(server: &Server, number: usize) {
    let tokens = 1 + number * 7 % 12;
    let body = json!({
        "prompt": format!("Request {number} of many."), "max_tokens": tokens, "ignore_eos": true,
        "stream": true, "stream_options": {"include_usage": true},
    });
    let url = format!("{}/v1/completions", server.url);
    let response = server.client.post(url).json(&body).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200, "request {number}");
    let text = response.text().await.unwrap();
    let mut events = text.lines().filter_map(|line| line.strip_prefix("data: "));
    assert_eq!(events.next_back(), Some("[DONE]"), "{text}");
    let chunks: Vec<Value> = events
        .map(|json| serde_json::from_str(json).unwrap())
        .collect();
    let (usage, chunks) = chunks.split_last().unwrap();
    assert_eq!(usage["usage"]["completion_tokens"], tokens, "{text}");
    let said = chunks.iter().map(|chunk| &chunk["choices"][0]);
    let given = said.clone().filter(|choice| choice["text"] != "");
    assert_eq!(given.count(), tokens, "{text}");
    let finish: Vec<_> = said
        .filter(|choice| !choice["finish_reason"].is_null())
        .collect();
    assert_eq!(finish.len(), 1, "{text}");
    assert_eq!(finish[0]["finish_reason"], "length");
}

/// The memory of the server's process that is in use, where the system tells.
fn resident_kib(server: &Server) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", server.child.id())).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_streams_end_well_and_leave_no_memory_behind() {
    let worker = ["--worker", "sim:llama2-13b-a100", "--speed", "100000"];
    // The clock of a busy machine is no fault of a policy's.
    let patient = [
        "--policy",
        "isrtf",
        "--predictor",
        "oracle",
        "--decision-budget-ms",
        "1000",
    ];
    let server = Server::start(&[&worker[..], &patient].concat());
    let ask = |numbers: std::ops::Range<usize>| {
        let all = stream::iter(numbers).map(|number| streamed(&server, number));
        all.buffer_unordered(STREAMS).count()
    };
    assert_eq!(ask(0..1_000).await, 1_000);
    let early = resident_kib(&server);
    assert_eq!(ask(1_000..10_000).await, 9_000);
    let late = resident_kib(&server);
    let text = server.metrics().await;
    let finished = metric(&text, "elis_requests_total{outcome=\"finished\"}");
    assert_eq!(
        (finished, metric(&text, "elis_requests_total")),
        (10_000.0, 10_000.0)
    );
    let status = server.status().await;
    assert_eq!(
        (&status["running"], &status["waiting"]),
        (&json!(0), &json!(0))
    );
    let (Some(early), Some(late)) = (early, late) else {
        eprintln!("skipped: this system does not tell how much memory a process has");
        return;
    };
    assert!(
        late <= early * 1.05,
        "{early} KiB after 1,000 requests, {late} after 10,000"
    );
}
