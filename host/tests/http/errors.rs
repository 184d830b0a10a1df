//! What clients get that ask for something that cannot be had.

use elis_host::engine::GenerateError;
use elis_host::http::ServerOptions;
use serde_json::{Value, json};

use crate::support::{Running, chat, completion, echoing, refusing};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

fn message(error: &Value) -> &str {
    error["message"].as_str().unwrap()
}

async fn refused(error: GenerateError) -> (u16, Value, Option<String>) {
    let options = ServerOptions {
        retry_after_s: 3,
        ..ServerOptions::default()
    };
    let server = Running::new(refusing(error), options).await;
    let response = server.post(CHAT, &chat("Hi")).send().await.unwrap();
    let after = response.headers().get("retry-after");
    let after = after.map(|value| value.to_str().unwrap().to_owned());
    let (status, error) = crate::support::refusal(response).await;
    (status, error, after)
}

#[tokio::test]
async fn bad_json_is_located() {
    let server = Running::echo().await;
    let send = async |body: &'static str| {
        let request = server.client.post(format!("{}{CHAT}", server.url));
        server.refusal(request.body(body)).await
    };
    let (status, error) = send("{\"messages\":\n [}").await;
    assert_eq!(status, 400);
    assert!(message(&error).contains("line 2 column 3"), "{error}");
    let (status, error) = send("{\"messages\": [{\"role\": \"user\", \"content\": 5}]}").await;
    assert_eq!(
        (status, &error["param"]),
        (400, &json!("messages[0].content"))
    );
    let (status, error) = send("{}").await;
    assert_eq!(status, 400);
    assert!(
        message(&error).contains("missing field `messages`"),
        "{error}"
    );
    let (_, error) = send("{\"messages\": [], \"max_tokens\": \"many\"}").await;
    assert_eq!(error["param"], "max_tokens");
}

#[tokio::test]
async fn a_wrong_key_and_none_are_refused() {
    let options = ServerOptions {
        api_keys: vec!["acme=one".parse().unwrap()],
        ..ServerOptions::default()
    };
    let server = Running::new(echoing(), options).await;
    let (status, error) = server.refusal(server.post(CHAT, &chat("Hi"))).await;
    assert_eq!((status, &error["code"]), (401, &json!("invalid_api_key")));
    let wrong = server.post(CHAT, &chat("Hi")).bearer_auth("two");
    assert_eq!(server.refusal(wrong).await.0, 401);
    assert_eq!(server.refusal(server.get("/v1/models")).await.0, 401);
    let right = server.post(CHAT, &chat("Hi")).bearer_auth("one");
    assert_eq!(right.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_unknown_model_path_or_method_is_said_to_be_one() {
    let server = Running::echo().await;
    let mut body = chat("Hi");
    body["model"] = "gpt-9".into();
    let (status, error) = server.refusal(server.post(CHAT, &body)).await;
    assert_eq!((status, &error["code"]), (404, &json!("model_not_found")));
    assert!(message(&error).contains("this server has `double/echo`"));
    assert_eq!(server.refusal(server.get("/v1/models/gpt-9")).await.0, 404);
    let (status, error) = server.refusal(server.get("/v1/responses")).await;
    assert_eq!((status, &error["code"]), (404, &json!("unknown_url")));
    let response = server.get(CHAT).send().await.unwrap();
    assert_eq!(response.headers()["allow"], "POST");
    assert_eq!(crate::support::refusal(response).await.0, 405);
    let (status, error) = server
        .refusal(server.post("/v1/embeddings", &json!({})))
        .await;
    assert_eq!(
        (status, &error["code"]),
        (400, &json!("unsupported_endpoint"))
    );
}

#[tokio::test]
async fn an_oversized_body_is_refused_and_the_client_gets_to_know() {
    let options = ServerOptions {
        max_body_bytes: 1000,
        ..ServerOptions::default()
    };
    let server = Running::new(echoing(), options).await;
    let body = completion(&"a".repeat(5000));
    let (status, error) = server.refusal(server.post(COMPLETIONS, &body)).await;
    assert_eq!((status, &error["code"]), (413, &json!("request_too_large")));
    assert_eq!(
        server.ask(COMPLETIONS, &completion("a")).await["usage"]["prompt_tokens"],
        1
    );
}

#[tokio::test]
async fn what_is_too_long_is_refused_with_all_numbers() {
    let options = ServerOptions {
        max_response_tokens: Some(500),
        ..ServerOptions::default()
    };
    let server = Running::new(echoing(), options).await;
    let body = completion(&"a".repeat(2000));
    let (status, error) = server.refusal(server.post(COMPLETIONS, &body)).await;
    assert_eq!(
        (status, &error["code"]),
        (400, &json!("context_length_exceeded"))
    );
    assert!(
        message(&error).contains("2000") && message(&error).contains("2048"),
        "{error}"
    );
    let mut body = completion("a");
    body["max_tokens"] = 501.into();
    let (status, error) = server.refusal(server.post(COMPLETIONS, &body)).await;
    assert_eq!((status, &error["param"]), (400, &json!("max_tokens")));
    let (_, error) = server
        .refusal(server.post(COMPLETIONS, &completion("")))
        .await;
    assert_eq!(error["param"], "prompt");
}

#[tokio::test]
async fn what_is_not_done_is_refused_by_name() {
    let server = Running::echo().await;
    for (field, value) in [
        ("n", json!(2)),
        ("echo", json!(true)),
        ("suffix", json!("end")),
        ("best_of", json!(2)),
        ("prompt", json!(["a", "b"])),
        ("prompt[1]", json!([1, 99_999])),
    ] {
        let mut body = completion("a");
        body[field.trim_end_matches("[1]")] = value;
        let (status, error) = server.refusal(server.post(COMPLETIONS, &body)).await;
        assert_eq!((status, &error["param"]), (400, &json!(field)));
    }
    let mut body = chat("Hi");
    body["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
    assert_eq!(
        server.refusal(server.post(CHAT, &body)).await.1["param"],
        "tools"
    );
}

#[tokio::test]
async fn a_template_that_fails_says_why() {
    let template = "{{ raise_exception('no system messages, please') }}";
    let server = Running::with_template(template).await;
    let (status, error) = server.refusal(server.post(CHAT, &chat("Hi"))).await;
    assert_eq!(
        (status, &error["code"]),
        (400, &json!("chat_template_failed"))
    );
    assert!(
        message(&error).contains("no system messages, please"),
        "{error}"
    );
    let server = Running::with_template("{% if %}").await;
    assert_eq!(server.refusal(server.post(CHAT, &chat("Hi"))).await.0, 400);
    server.ask(COMPLETIONS, &completion("a")).await;
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_again() {
    let (status, error, after) = refused(GenerateError::QueueFull { jobs: 9 }).await;
    assert_eq!((status, after.as_deref()), (429, Some("3")));
    assert_eq!(error["code"], "queue_full");
}

#[tokio::test]
async fn a_broken_worker_is_the_servers_fault() {
    let (status, error, after) = refused(GenerateError::Worker("out of memory".to_owned())).await;
    assert_eq!((status, after), (500, None));
    assert_eq!(error["type"], "server_error");
    let (status, error, _) = refused(GenerateError::TimedOut).await;
    assert_eq!((status, &error["code"]), (504, &json!("timeout")));
    let (status, _, after) = refused(GenerateError::Draining).await;
    assert_eq!((status, after.as_deref()), (503, Some("3")));
}
