//! What clients get that ask for something that can be had.

use elis_host::engine::{Event, FinishReason};
use elis_host::http::ServerOptions;
use serde_json::{Value, json};

use crate::support::{Running, chat, completion, echoing, text};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

/// A template that is the last message and nothing else.
const BARE: &str = "{{ messages[-1].content }}";

async fn bare() -> Running {
    Running::with_template(BARE).await
}

#[tokio::test]
async fn a_chat_is_answered_whole() {
    let server = bare().await;
    let answer = server.ask(CHAT, &chat("Grüße!")).await;
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "double/echo");
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    let choice = json!({
        "index": 0, "message": {"role": "assistant", "content": "Grüße!"}, "logprobs": null,
        "finish_reason": "stop",
    });
    assert_eq!(answer["choices"], json!([choice]));
    let usage = json!({"prompt_tokens": 8, "completion_tokens": 8, "total_tokens": 16});
    assert_eq!(answer["usage"], usage);
}

#[tokio::test]
async fn a_chat_is_streamed() {
    let server = bare().await;
    let mut body = chat("né");
    let chunks = server.stream(CHAT, &body).await;
    let deltas: Vec<&Value> = chunks
        .iter()
        .map(|chunk| &chunk["choices"][0]["delta"])
        .collect();
    // The first byte of é completes no text, so no chunk has it.
    let expected = [
        json!({"role": "assistant", "content": ""}),
        json!({"content": "n"}),
        json!({"content": "é"}),
        json!({}),
    ];
    assert_eq!(deltas, expected.iter().collect::<Vec<_>>());
    let reasons = chunks
        .iter()
        .map(|chunk| &chunk["choices"][0]["finish_reason"]);
    assert_eq!(
        reasons.collect::<Vec<_>>(),
        [&Value::Null, &Value::Null, &Value::Null, &json!("stop")]
    );
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["object"] == "chat.completion.chunk")
    );
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
    body["stream_options"] = json!({"include_usage": true});
    let chunks = server.stream(CHAT, &body).await;
    let (last, others) = chunks.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 3);
    assert!(others.iter().all(|chunk| chunk["usage"] == Value::Null));
    body["stream_options"] = json!({"continuous_usage_stats": true});
    let chunks = server.stream(CHAT, &body).await;
    let counts = chunks
        .iter()
        .map(|chunk| chunk["usage"]["completion_tokens"].as_u64().unwrap());
    assert_eq!(counts.collect::<Vec<_>>(), [0, 1, 3, 3]);
}

#[tokio::test]
async fn a_completion_is_answered_whole_and_streamed() {
    let server = Running::echo().await;
    let answer = server.ask(COMPLETIONS, &completion("Once")).await;
    assert_eq!(answer["object"], "text_completion");
    let choice = json!({"index": 0, "text": "Once", "logprobs": null, "finish_reason": "stop"});
    assert_eq!(answer["choices"], json!([choice]));
    let chunks = server.stream(COMPLETIONS, &completion("Once")).await;
    assert_eq!(text(&chunks), "Once");
    assert_eq!(
        chunks.last().unwrap()["choices"][0]["finish_reason"],
        "stop"
    );
    // Sixteen tokens are what OpenAI gives where nothing is said.
    let answer = server
        .ask(COMPLETIONS, &json!({"prompt": "a long enough prompt"}))
        .await;
    assert_eq!(answer["choices"][0]["text"], "a long enough pr");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    let tokens = json!({"prompt": [79, 80, 81], "ignore_eos": true, "max_tokens": 7});
    let answer = server.ask(COMPLETIONS, &tokens).await;
    assert_eq!(answer["usage"]["completion_tokens"], 7);
}

#[tokio::test]
async fn the_conversation_goes_through_the_template() {
    let server = Running::echo().await;
    let answer = server.ask(CHAT, &chat("Hi")).await;
    let prompt = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(answer["choices"][0]["message"]["content"], prompt);
    let parts =
        json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]});
    assert_eq!(server.ask(CHAT, &parts).await["choices"], answer["choices"]);
}

#[tokio::test]
async fn probabilities_come_in_the_words_of_each_api() {
    let server = bare().await;
    let mut body = chat("ab");
    body["logprobs"] = true.into();
    body["top_logprobs"] = 2.into();
    let answer = server.ask(CHAT, &body).await;
    let content = &answer["choices"][0]["logprobs"]["content"];
    assert_eq!(content[0]["token"], "a");
    assert_eq!(content[1]["bytes"], json!([98]));
    assert_eq!(content[1]["top_logprobs"].as_array().unwrap().len(), 2);
    let chunks = server.stream(CHAT, &body).await;
    assert_eq!(
        chunks[1]["choices"][0]["logprobs"]["content"][0]["logprob"],
        -0.5
    );
    let mut body = completion("ab");
    body["logprobs"] = 1.into();
    let answer = server.ask(COMPLETIONS, &body).await;
    let columns = &answer["choices"][0]["logprobs"];
    assert_eq!(columns["tokens"], json!(["a", "b"]));
    assert_eq!(columns["text_offset"], json!([0, 1]));
    assert_eq!(columns["token_logprobs"], json!([-0.5, -0.5]));
    let chunks = server.stream(COMPLETIONS, &body).await;
    assert_eq!(
        chunks[1]["choices"][0]["logprobs"]["text_offset"],
        json!([1])
    );
}

#[tokio::test]
async fn the_engine_is_told_everything() {
    let options = ServerOptions {
        api_keys: vec!["acme=one".parse().unwrap()],
        ..ServerOptions::default()
    };
    let (server, mut requests) = Running::held(options).await;
    let mut body = chat("Hi");
    let more = json!({
        "temperature": 0.5, "top_p": 0.9, "top_k": 4, "seed": 7, "stop": ["a", "b"],
        "user": "somebody", "priority": 3, "deadline_ms": 1000, "ttft_deadline_ms": 100,
        "max_completion_tokens": 9, "logprobs": true, "nobody knows": 1,
    });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let request = server.post(CHAT, &body).bearer_auth("one").send();
    let request = tokio::spawn(request);
    let held = requests.recv().await.unwrap();
    let asked = &held.request;
    assert_eq!(&*asked.prompt, "Hi");
    assert_eq!(asked.prompt_tokens.len(), 52);
    assert_eq!((asked.max_new_tokens, asked.priority), (9, 3));
    assert_eq!((asked.tenant.as_str(), asked.logprobs), ("acme", Some(0)));
    assert_eq!(asked.stop, ["a", "b"]);
    assert_eq!(asked.sampling.seed, 7);
    assert_eq!(asked.deadline.unwrap().as_millis(), 1000);
    assert_eq!(asked.ttft_deadline.unwrap().as_millis(), 100);
    let events = [
        Event::Token {
            text: String::new(),
            logprobs: None,
        },
        Event::Finished {
            text: "kept back".to_owned(),
            reason: FinishReason::Length,
            completion_tokens: 2,
        },
    ];
    for event in events {
        held.events.send(event).unwrap();
    }
    let answer: Value = request.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "kept back");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 2);
    held.dropped.await.unwrap();
}

#[tokio::test]
async fn the_model_is_listed() {
    let server = Running::echo().await;
    let get = async |path: &str| -> Value {
        server.get(path).send().await.unwrap().json().await.unwrap()
    };
    let list = get("/v1/models").await;
    assert_eq!(list["data"][0]["id"], "double/echo");
    assert_eq!(list["data"][0]["max_model_len"], 2048);
    assert_eq!(get("/v1/models/double/echo").await, list["data"][0]);
}

#[tokio::test]
async fn health_and_metrics_need_no_key() {
    let options = ServerOptions {
        api_keys: vec!["acme=one".parse().unwrap()],
        ..ServerOptions::default()
    };
    let server = Running::new(echoing(), options).await;
    for path in ["/health", "/ready"] {
        assert_eq!(
            server.get(path).send().await.unwrap().status(),
            200,
            "{path}"
        );
    }
    let metrics = server.get("/metrics").send().await.unwrap();
    let expected = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(metrics.headers()["content-type"], expected);
    assert!(metrics.text().await.unwrap().ends_with("# EOF\n"));
}

#[tokio::test]
async fn requests_have_an_id() {
    let server = Running::echo().await;
    let made = server.get("/v1/models").send().await.unwrap();
    assert!(
        made.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .starts_with("req-")
    );
    let given = server.get("/v1/models").header("x-request-id", "mine-1");
    assert_eq!(
        given.send().await.unwrap().headers()["x-request-id"],
        "mine-1"
    );
}

#[tokio::test]
async fn web_pages_may_ask_where_the_operator_says_so() {
    let origin = "https://chat.example.org";
    let page = async |options: ServerOptions| {
        let server = Running::new(echoing(), options).await;
        let request = server.get("/v1/models").header("origin", origin);
        let response = request.send().await.unwrap();
        response
            .headers()
            .get("access-control-allow-origin")
            .cloned()
    };
    assert_eq!(page(ServerOptions::default()).await, None);
    let options = ServerOptions {
        cors: vec![origin.to_owned()],
        ..ServerOptions::default()
    };
    assert_eq!(page(options).await.unwrap(), origin);
}
