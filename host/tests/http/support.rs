//! A server for a test, and what a client does with it.

use std::sync::Arc;

use elis_host::engine::{Event, Generate, GenerateError, GenerateRequest};
use elis_host::http::{Ending, ServeError, Server, ServerOptions};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::double::{Double, Manner, echo};

/// A request whose response a test makes.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) request: GenerateRequest,
    pub(crate) events: mpsc::UnboundedSender<Event>,
    /// Ready when the server has let go of the response.
    pub(crate) dropped: oneshot::Receiver<()>,
}

/// The response is the prompt.
pub(crate) fn echoing() -> Manner {
    Box::new(|model, request, events, _| {
        for event in echo(model, &request) {
            events.send(event).unwrap();
        }
        Ok(())
    })
}

/// Every request is refused.
pub(crate) fn refusing(error: GenerateError) -> Manner {
    Box::new(move |_, _, _, _| Err(error.clone()))
}

/// A server that runs.
pub(crate) struct Running {
    pub(crate) client: Client,
    pub(crate) engine: Arc<Double>,
    pub(crate) url: String,
    pub(crate) admin_url: String,
    pub(crate) stop: mpsc::UnboundedSender<()>,
    pub(crate) ending: JoinHandle<Result<Ending, ServeError>>,
}

/// A client; it keeps connections, which the server has to close when it goes.
pub(crate) fn client() -> Client {
    // A second call finds the first one's provider, which is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().build().unwrap()
}

impl Running {
    pub(crate) async fn new(manner: Manner, options: ServerOptions) -> Self {
        Self::before(Double::new(manner, None), options).await
    }

    pub(crate) async fn before(engine: Arc<Double>, options: ServerOptions) -> Self {
        let server = Server::bind(engine.clone(), options).await.unwrap();
        let admin = server.admin_address();
        let url = format!("http://{}", server.address());
        let (stop, stops) = mpsc::unbounded_channel();
        Self {
            client: client(),
            engine,
            url,
            admin_url: admin.map_or_else(String::new, |at| format!("http://{at}/admin")),
            stop,
            ending: tokio::spawn(server.run(stops)),
        }
    }

    /// One that answers with the prompt.
    pub(crate) async fn echo() -> Self {
        Self::new(echoing(), ServerOptions::default()).await
    }

    /// The same, but the conversation goes through this template.
    pub(crate) async fn with_template(template: &str) -> Self {
        let engine = Double::new(echoing(), Some(template));
        Self::before(engine, ServerOptions::default()).await
    }

    /// One whose responses the test makes.
    pub(crate) async fn held(options: ServerOptions) -> (Self, mpsc::UnboundedReceiver<Held>) {
        let (sender, requests) = mpsc::unbounded_channel();
        let manner: Manner = Box::new(move |_, request, events, dropped| {
            let held = Held {
                request,
                events,
                dropped,
            };
            sender.send(held).unwrap();
            Ok(())
        });
        (Self::new(manner, options).await, requests)
    }

    /// Responses that the server has not let go of.
    pub(crate) fn running(&self) -> usize {
        self.engine.status().running
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        let request = self.client.post(format!("{}{path}", self.url));
        request.json(body)
    }

    /// An answer that must be one.
    pub(crate) async fn ask(&self, path: &str, body: &Value) -> Value {
        let response = self.post(path, body).send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The chunks of a stream that must come to its end.
    pub(crate) async fn stream(&self, path: &str, body: &Value) -> Vec<Value> {
        let mut body = body.clone();
        body["stream"] = true.into();
        let response = self.post(path, &body).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut lines = data(&response.text().await.unwrap());
        assert_eq!(lines.pop().as_deref(), Some("[DONE]"));
        let parse = |line: &String| serde_json::from_str(line).unwrap();
        lines.iter().map(parse).collect()
    }

    /// A refusal: its status and the inner part of its body.
    pub(crate) async fn refusal(&self, request: RequestBuilder) -> (u16, Value) {
        refusal(request.send().await.unwrap()).await
    }
}

pub(crate) async fn refusal(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    for field in ["message", "type", "param", "code"] {
        assert!(body["error"].get(field).is_some(), "{body}");
    }
    (status, body["error"].clone())
}

/// The data of events.
pub(crate) fn data(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.map(str::to_owned).collect()
}

/// The text of a stream of chunks, wherever the API has it.
pub(crate) fn text(chunks: &[Value]) -> String {
    let choices = chunks.iter().filter_map(|chunk| chunk["choices"].get(0));
    let texts = choices.filter_map(|choice| {
        let chat = choice.pointer("/delta/content");
        chat.or_else(|| choice.get("text")).and_then(Value::as_str)
    });
    texts.collect()
}

pub(crate) fn chat(content: &str) -> Value {
    serde_json::json!({
        "model": "double/echo",
        "messages": [{"role": "user", "content": content}],
    })
}

pub(crate) fn completion(prompt: &str) -> Value {
    serde_json::json!({"model": "double/echo", "prompt": prompt, "max_tokens": 100})
}
