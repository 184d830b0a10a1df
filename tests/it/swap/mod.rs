//! The policy of a live server is changed, by its operator and by the ladder, and no request
//! notices: the real server, real clients that stream, on the modelled worker and on the real
//! model where `models/` has it.

mod admin;
mod canary;
mod crash;
mod load;
mod operator;
mod rogue;
mod shadow;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::{StreamExt as _, stream};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::serve::{Server, a_moment};
use crate::support::policy_path;

/// What the modelled worker says, over and over.
const TEXT: &str = "This is a modelled worker: it takes the time of a model and says nothing new. ";

/// A modelled worker, fast enough to decide some hundred times a second.
const WORKER: [&str; 6] = [
    "--worker",
    "sim:llama2-13b-a100",
    "--speed",
    "100",
    "--predictor",
    "oracle",
];

fn bytes(policy: &str) -> Vec<u8> {
    std::fs::read(policy_path(policy)).unwrap()
}

impl Server {
    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/admin/{path}", self.admin_url);
        self.client.request(method, url)
    }

    /// The status and the body of an answer.
    async fn answer(&self, request: RequestBuilder) -> (u16, Value) {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text);
        (status, body.unwrap_or(Value::String(text)))
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.answer(self.ask(Method::POST, path).json(body)).await
    }

    async fn try_push(&self, bytes: Vec<u8>) -> (u16, Value) {
        let request = self.ask(Method::POST, "policies");
        let request = request.header("content-type", "application/wasm");
        self.answer(request.body(bytes)).await
    }

    /// Pushes a policy that must be taken, and says its digest.
    async fn push(&self, policy: &str) -> String {
        let (status, answer) = self.try_push(bytes(policy)).await;
        assert!(status == 200 || status == 201, "{answer}");
        answer["digest"].as_str().unwrap().to_owned()
    }

    /// Promotes a policy that must become live.
    async fn promote(&self, digest: &str, config: &str) -> Value {
        let path = format!("policies/{digest}/promote");
        let (status, answer) = self.post(&path, &json!({ "config": config })).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn policies(&self) -> Value {
        self.status().await["policies"].clone()
    }

    /// One streamed request, checked to the letter.
    async fn stream(&self, number: u64) {
        let tokens = 1 + number * 37 % 150;
        let body = json!({
            "prompt": vec![number % 200; 1 + number as usize % 90], "stream": true,
            "max_tokens": tokens, "ignore_eos": true, "oracle_tokens": tokens,
            "user": format!("tenant {}", number % 3),
        });
        let url = format!("{}/v1/completions", self.url);
        let response = self.client.post(url).json(&body).send().await.unwrap();
        assert!(response.status().is_success(), "{}", response.status());
        let text = response.text().await.unwrap();
        let mut lines: Vec<&str> = text
            .lines()
            .filter_map(|l| l.strip_prefix("data: "))
            .collect();
        assert_eq!(lines.pop(), Some("[DONE]"), "request {number}: {text}");
        let mut said = String::new();
        let mut reasons = Vec::new();
        for line in lines {
            let chunk: Value = serde_json::from_str(line).unwrap();
            let choice = &chunk["choices"][0];
            said += choice["text"].as_str().unwrap_or("");
            reasons.extend(choice["finish_reason"].as_str().map(str::to_owned));
        }
        let expected: String = TEXT.chars().cycle().take(tokens as usize).collect();
        assert_eq!(said, expected, "request {number}");
        assert_eq!(reasons, ["length"], "request {number} ends once");
    }

    /// Keeps so many clients busy until it is over. Says how many requests completed.
    async fn load(&self, clients: u64, over: &AtomicBool) -> u64 {
        let next = AtomicU64::new(0);
        let next = &next;
        let client = |_| async move {
            let mut done = 0;
            while !over.load(Ordering::Relaxed) {
                self.stream(next.fetch_add(1, Ordering::Relaxed)).await;
                done += 1;
            }
            done
        };
        let clients = stream::iter(0..clients).map(client);
        let done: Vec<u64> = clients.buffer_unordered(64).collect().await;
        done.into_iter().sum()
    }
}

/// Does something while clients keep the server busy; says how many requests completed.
async fn under_load<T>(server: &Server, work: impl Future<Output = T>) -> (u64, T) {
    let over = AtomicBool::new(false);
    let work = async {
        let done = work.await;
        over.store(true, Ordering::Relaxed);
        done
    };
    let (completed, done) = tokio::join!(server.load(48, &over), work);
    // A last token reaches its client a moment before the engine counts the end.
    for _ in 0..10_000 {
        let status = server.status().await;
        if status["running"] == 0 && status["waiting"] == 0 {
            break;
        }
        a_moment().await;
    }
    (completed, done)
}
