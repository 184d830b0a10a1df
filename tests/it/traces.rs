//! Traces of the real server, as a collector gets them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use crate::serve::Server;

/// A collector: its address, and the bodies that it gets.
fn collector() -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, bodies) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut length = 0;
            let mut head = String::new();
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                if line.trim().is_empty() {
                    break;
                }
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head += &line;
            }
            assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            // Before the answer, upon which the server may be gone.
            if sender.send(serde_json::from_slice(&body).unwrap()).is_err() {
                return;
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
            stream.get_mut().write_all(answer).unwrap();
        }
    });
    (url, bodies)
}

/// The value of an attribute, whatever its kind.
fn attribute<'a>(span: &'a Value, key: &str) -> Option<&'a Value> {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes
        .iter()
        .find(|attribute| attribute["key"] == key)?;
    found["value"].as_object().unwrap().values().next()
}

fn number(span: &Value, key: &str) -> u64 {
    span[key].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_a_span_for_each_request_and_each_decision() {
    let (url, bodies) = collector();
    let worker = [
        "--worker",
        "sim:llama2-13b-a100",
        "--speed",
        "300",
        "--decision-budget-ms",
        "1000",
    ];
    let traces = ["--otlp-endpoint", &url, "--otlp-decisions", "--log", "info"];
    let server = Server::start(&[&worker[..], &traces].concat());
    let ask = |body: Value| {
        let url = format!("{}/v1/completions", server.url);
        let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        server
            .client
            .post(url)
            .header("traceparent", caller)
            .json(&body)
            .send()
    };
    let fine = ask(json!({"prompt": "abc", "max_tokens": 7, "ignore_eos": true, "user": "ada"}));
    let fine: Value = fine.await.unwrap().json().await.unwrap();
    assert_eq!(fine["usage"]["completion_tokens"], 7);
    let wrong = ask(json!({"prompt": "abc", "model": "no-such-model"}))
        .await
        .unwrap();
    assert_eq!(wrong.status().as_u16(), 404);
    assert_eq!(server.terminate(), 0, "it drained");

    // What was not out yet went with the end of the server.
    let spans: Vec<Value> = bodies.try_iter().flat_map(|body| spans_of(&body)).collect();
    let named = |name: &str| {
        let found = spans.iter().filter(|span| span["name"] == name);
        found.collect::<Vec<_>>()
    };
    let [fine] = named("text_completion llama2-13b-a100")[..] else {
        panic!("{spans:#?}");
    };
    assert_served(fine);
    let [wrong] = named("text_completion")[..] else {
        panic!("{spans:#?}");
    };
    assert_eq!(attribute(wrong, "error.type"), Some(&json!("404")));
    assert_eq!(wrong["status"]["code"], 2);
    let decisions = named("decide fcfs");
    assert!(!decisions.is_empty(), "{spans:#?}");
    assert_eq!(
        attribute(decisions[0], "elis.decision.outcome"),
        Some(&json!("plan"))
    );
    assert_eq!(spans.len(), 2 + decisions.len());
}

/// The spans of what a collector was sent.
fn spans_of(body: &Value) -> Vec<Value> {
    let resource = &body["resourceSpans"][0];
    let service = attribute(&resource["resource"], "service.name");
    assert_eq!(service, Some(&json!("elis")));
    let spans = resource["scopeSpans"][0]["spans"].as_array();
    spans.unwrap().clone()
}

/// The request that was served, as its caller and the conventions want its span.
fn assert_served(fine: &Value) {
    assert_eq!(fine["traceId"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(fine["parentSpanId"], "b7ad6b7169203331");
    assert_eq!(fine["kind"], 2);
    assert!(number(fine, "startTimeUnixNano") < number(fine, "endTimeUnixNano"));
    for (key, value) in [
        ("gen_ai.operation.name", json!("text_completion")),
        ("gen_ai.request.model", json!("llama2-13b-a100")),
        ("gen_ai.usage.input_tokens", json!("3")),
        ("gen_ai.usage.output_tokens", json!("7")),
        (
            "gen_ai.response.finish_reasons",
            json!({"values": [{"stringValue": "length"}]})["values"].clone(),
        ),
        ("http.response.status_code", json!("200")),
        ("elis.tenant", json!("ada")),
    ] {
        let found = attribute(fine, key);
        let found = found.map(|found| found.get("values").unwrap_or(found));
        assert_eq!(found, Some(&value), "{key}");
    }
    assert!(fine.get("status").is_none());
    let first = attribute(fine, "gen_ai.latency.time_to_first_token").unwrap();
    assert!(first.as_f64().unwrap() > 0.0);
}
