//! The real server under many requests at once: none fails.

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

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_64_at_once_all_end_well() {
    let worker = ["--worker", "sim:llama2-13b-a100", "--speed", "100000"];
    // The clock of a busy machine is no fault of a policy's.
    let patient = ["--policy", "fcfs", "--decision-budget-ms", "1000"];
    let server = Server::start(&[&worker[..], &patient].concat());
    let all = stream::iter(0..1_000).map(|number| streamed(&server, number));
    assert_eq!(all.buffer_unordered(STREAMS).count().await, 1_000);
    let text = server.metrics().await;
    let finished = metric(&text, "elis_requests_total{outcome=\"finished\"}");
    assert_eq!(finished, 1_000.0);
    assert_eq!(metric(&text, "elis_requests_total"), 1_000.0, "{text}");
    let status = server.status().await;
    let left = (&status["running"], &status["waiting"]);
    assert_eq!(left, (&json!(0), &json!(0)));
}
