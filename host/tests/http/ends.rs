//! How responses end early: clients that hang up, workers that break, servers that go.

use std::time::Duration;

use elis_host::engine::{Event, FinishReason, GenerateError};
use elis_host::http::{Ending, ServerOptions};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::support::{Running, chat, client, completion, data, echoing, refusal};

const CHAT: &str = "/v1/chat/completions";

fn token(text: &str) -> Event {
    Event::Token {
        text: text.to_owned(),
        logprobs: None,
    }
}

fn finished() -> Event {
    Event::Finished {
        text: String::new(),
        reason: FinishReason::Stop,
        completion_tokens: 1,
    }
}

fn streaming(content: &str) -> Value {
    let mut body = chat(content);
    body["stream"] = true.into();
    body
}

/// Lets time pass without waiting for it.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// Returns when the drain has begun; there is nothing to wait on from outside.
async fn draining(server: &Running) {
    while server.get("/ready").send().await.unwrap().status() != 503 {}
}

#[tokio::test]
async fn a_client_that_hangs_up_on_a_stream_cancels_it() {
    let (server, mut requests) = Running::held(ServerOptions::default()).await;
    let response = server.post(CHAT, &streaming("Hi")).send();
    let response = tokio::spawn(response);
    let held = requests.recv().await.unwrap();
    held.events.send(token("one")).unwrap();
    let mut chunks = response.await.unwrap().unwrap().bytes_stream();
    assert!(chunks.next().await.unwrap().unwrap().starts_with(b"data: "));
    // No further token comes: the server has to notice by itself.
    drop(chunks);
    held.dropped.await.unwrap();
    assert_eq!(server.running(), 0);
}

#[tokio::test]
async fn a_client_that_hangs_up_while_it_waits_cancels_too() {
    let (server, mut requests) = Running::held(ServerOptions::default()).await;
    let response = tokio::spawn(server.post(CHAT, &chat("Hi")).send());
    let held = requests.recv().await.unwrap();
    response.abort();
    held.dropped.await.unwrap();
    assert_eq!(server.running(), 0);
}

#[tokio::test]
async fn a_failure_in_the_middle_of_a_stream_is_told_in_it() {
    let (server, mut requests) = Running::held(ServerOptions::default()).await;
    let response = tokio::spawn(server.post(CHAT, &streaming("Hi")).send());
    let held = requests.recv().await.unwrap();
    held.events.send(token("one")).unwrap();
    let failure = Event::Failed(GenerateError::Worker("out of memory".to_owned()));
    held.events.send(failure).unwrap();
    let text = response.await.unwrap().unwrap().text().await.unwrap();
    let lines = data(&text);
    // No [DONE], since it is not.
    let last: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    assert_eq!(last["error"]["message"], "the worker failed: out of memory");
    held.dropped.await.unwrap();
}

#[tokio::test]
async fn an_engine_that_lets_go_is_a_failure() {
    let (server, mut requests) = Running::held(ServerOptions::default()).await;
    let response = tokio::spawn(server.post(CHAT, &chat("Hi")).send());
    drop(requests.recv().await.unwrap());
    assert_eq!(refusal(response.await.unwrap().unwrap()).await.0, 500);
}

#[tokio::test]
async fn a_request_has_an_end() {
    let options = ServerOptions {
        request_timeout_s: 5,
        ..ServerOptions::default()
    };
    let (server, mut requests) = Running::held(options).await;
    let response = tokio::spawn(server.post(CHAT, &chat("Hi")).send());
    let held = requests.recv().await.unwrap();
    pass(Duration::from_secs(6)).await;
    let (status, error) = refusal(response.await.unwrap().unwrap()).await;
    assert_eq!((status, &error["code"]), (504, &json!("timeout")));
    held.dropped.await.unwrap();
}

#[tokio::test]
async fn a_drain_waits_for_a_stream_and_takes_no_request() {
    let (server, mut requests) = Running::held(ServerOptions::default()).await;
    let response = tokio::spawn(server.post(CHAT, &streaming("Hi")).send());
    let held = requests.recv().await.unwrap();
    held.events.send(token("one")).unwrap();
    let response = response.await.unwrap().unwrap();
    server.stop.send(()).unwrap();
    draining(&server).await;
    let ready: Value = server
        .get("/ready")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(ready["status"], "draining");
    assert_eq!(server.get("/health").send().await.unwrap().status(), 200);
    let refused = server.post(CHAT, &chat("Hi")).send().await.unwrap();
    assert!(refused.headers().contains_key("retry-after"));
    let (status, error) = refusal(refused).await;
    assert_eq!((status, &error["code"]), (503, &json!("shutting_down")));
    held.events.send(token("two")).unwrap();
    held.events.send(finished()).unwrap();
    let text = response.text().await.unwrap();
    assert_eq!(data(&text).last().unwrap(), "[DONE]");
    assert!(text.contains("two"));
    assert_eq!(server.ending.await.unwrap().unwrap(), Ending::Drained);
    let gone = client().get(format!("{}/health", server.url)).send().await;
    assert!(gone.unwrap_err().is_connect());
}

#[tokio::test]
async fn a_second_stop_cuts_responses_off_and_tells_them() {
    let (server, mut requests) = Running::held(ServerOptions::default()).await;
    let streamed = tokio::spawn(server.post(CHAT, &streaming("Hi")).send());
    let first = requests.recv().await.unwrap();
    let whole = tokio::spawn(server.post(CHAT, &chat("Hi")).send());
    let second = requests.recv().await.unwrap();
    server.stop.send(()).unwrap();
    server.stop.send(()).unwrap();
    let text = streamed.await.unwrap().unwrap().text().await.unwrap();
    assert!(text.contains("could not finish the response"), "{text}");
    assert_eq!(refusal(whole.await.unwrap().unwrap()).await.0, 503);
    first.dropped.await.unwrap();
    second.dropped.await.unwrap();
    assert_eq!(server.ending.await.unwrap().unwrap(), Ending::CutOff);
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let (server, mut requests) = Running::held(ServerOptions::default()).await;
    let whole = tokio::spawn(server.post(CHAT, &chat("Hi")).send());
    let held = requests.recv().await.unwrap();
    server.stop.send(()).unwrap();
    draining(&server).await;
    pass(Duration::from_secs(31)).await;
    assert_eq!(refusal(whole.await.unwrap().unwrap()).await.0, 503);
    held.dropped.await.unwrap();
    assert_eq!(server.ending.await.unwrap().unwrap(), Ending::CutOff);
}

#[tokio::test]
async fn an_idle_server_goes_at_once() {
    let server = Running::new(echoing(), ServerOptions::default()).await;
    server.ask("/v1/completions", &completion("a")).await;
    server.stop.send(()).unwrap();
    assert_eq!(server.ending.await.unwrap().unwrap(), Ending::Drained);
}
