//! A small server that streams, stalls and fails as it is told.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Json, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::{Barrier, Semaphore, watch};

/// What the server does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Behaviour {
    /// It streams as many tokens as are asked for, so long after the request and one another.
    Stream(Duration),
    /// The same without usage and without `[DONE]`.
    Terse,
    /// It streams once the gate lets a request through.
    Gated,
    /// It streams once as many requests are there together.
    Together(Arc<Barrier>),
    /// It refuses, and says when to come back.
    Refuse(StatusCode),
    /// It says nothing, for ever.
    Stall,
    /// It streams two tokens and then nothing, for ever.
    StallLater,
    /// It closes the connection before there is a status.
    HangUp,
    /// It closes the connection after two tokens.
    Break,
    /// It ends the stream in order after two tokens.
    CutShort,
    /// It sends an event that is no JSON.
    Garbage,
    /// It sends an event that is no text.
    Bytes,
    /// It tells of an error in the middle of the stream.
    ErrorEvent,
    /// It answers with JSON instead of a stream.
    Plain,
}

/// What the server has seen and how it behaves.
pub(crate) struct Inner {
    /// By `max_tokens`, which tests use as the name of a request; others are streamed at once.
    behaviours: HashMap<u64, Behaviour>,
    /// Lets gated requests through.
    pub(crate) gate: Semaphore,
    /// How many requests have come.
    came: watch::Sender<usize>,
    /// Their bodies and keys.
    pub(crate) bodies: Mutex<Vec<(Value, Option<String>)>>,
    /// Policies that were asked for at the admin address, with their tokens.
    pub(crate) policies: Mutex<Vec<(Value, Option<String>)>>,
    /// What the gauges will tell, last first; then 0.
    pub(crate) busy: Mutex<Vec<u32>>,
    under_way: AtomicUsize,
    /// The most requests at the same time.
    pub(crate) most: AtomicUsize,
}

pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) inner: Arc<Inner>,
}

impl Server {
    pub(crate) async fn start(behaviours: impl IntoIterator<Item = (u64, Behaviour)>) -> Self {
        let inner = Arc::new(Inner {
            behaviours: behaviours.into_iter().collect(),
            gate: Semaphore::new(0),
            came: watch::channel(0).0,
            bodies: Mutex::default(),
            policies: Mutex::default(),
            busy: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/v1/completions", post(answer))
            .route("/v1/chat/completions", post(answer))
            .route("/v1/models", get(models))
            .route("/metrics", get(metrics))
            .route("/admin/policy", post(set_policy))
            .with_state(Arc::clone(&inner));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, inner }
    }

    /// Resolves once so many requests have come.
    pub(crate) async fn has_seen(&self, requests: usize) {
        let mut came = self.inner.came.subscribe();
        came.wait_for(|&n| n >= requests).await.unwrap();
    }
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().unwrap();
    value.strip_prefix("Bearer ").map(str::to_owned)
}

async fn models() -> Json<Value> {
    Json(json!({"data": [{"id": "small"}, {"id": "large"}]}))
}

async fn metrics(State(server): State<Arc<Inner>>) -> String {
    let busy = server.busy.lock().unwrap().pop().unwrap_or(0);
    format!("# TYPE mine gauge\nmine{{model=\"m\"}} {busy}\n")
}

async fn set_policy(
    State(server): State<Arc<Inner>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> StatusCode {
    if body["policy"] == "unknown" {
        return StatusCode::NOT_FOUND;
    }
    let mut policies = server.policies.lock().unwrap();
    policies.push((body, bearer(&headers)));
    StatusCode::NO_CONTENT
}

/// Counts a request until its response is dropped.
struct UnderWay(Arc<Inner>);

impl UnderWay {
    fn new(server: &Arc<Inner>) -> Self {
        let now = server.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        server.most.fetch_max(now, Ordering::SeqCst);
        Self(Arc::clone(server))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn answer(
    State(server): State<Arc<Inner>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let under_way = UnderWay::new(&server);
    let tokens = body["max_tokens"].as_u64().unwrap();
    let chat = body.get("messages").is_some();
    let seen = (body, bearer(&headers));
    server.bodies.lock().unwrap().push(seen);
    server.came.send_modify(|n| *n += 1);
    let behaviour = server.behaviours.get(&tokens).cloned();
    let behaviour = behaviour.unwrap_or(Behaviour::Stream(Duration::ZERO));
    let mut pause = Duration::ZERO;
    let mut events = whole(tokens, chat);
    let mut ending = Ending::Orderly;
    match behaviour {
        Behaviour::Stream(between) => pause = between,
        Behaviour::Terse => events.truncate(tokens as usize),
        Behaviour::Gated => server.gate.acquire().await.unwrap().forget(),
        Behaviour::Together(barrier) => {
            barrier.wait().await;
        }
        Behaviour::Refuse(status) => {
            let said = json!({"error": {"message": "not now"}});
            return (status, [(header::RETRY_AFTER, "7")], Json(said)).into_response();
        }
        Behaviour::Stall => std::future::pending().await,
        // A panic without a message closes the connection.
        Behaviour::HangUp => std::panic::resume_unwind(Box::new(())),
        Behaviour::Plain => return Json(json!({"choices": []})).into_response(),
        other => {
            events.truncate(2);
            match other {
                Behaviour::Garbage => events.push(b"data: {oops\n\n".to_vec()),
                Behaviour::Bytes => events.push(b"data: \xff\xfe\n\n".to_vec()),
                Behaviour::ErrorEvent => {
                    events.push(b"data: {\"error\":{\"message\":\"out of memory\"}}\n\n".to_vec());
                }
                Behaviour::Break => {
                    // What is ready together is not sent before the connection breaks.
                    pause = Duration::from_millis(1);
                    ending = Ending::Broken;
                }
                Behaviour::StallLater => ending = Ending::Never,
                _ => {}
            }
        }
    }
    stream_of(events, pause, ending, under_way)
}

#[derive(Clone, Copy)]
enum Ending {
    Orderly,
    Broken,
    Never,
}

/// The events of a whole response.
fn whole(tokens: u64, chat: bool) -> Vec<Vec<u8>> {
    let choice = |at: u64| {
        let last = at + 1 == tokens;
        let reason = if last { json!("length") } else { Value::Null };
        if chat {
            json!({"delta": {"content": "x"}, "index": 0, "finish_reason": reason})
        } else {
            json!({"text": "x", "index": 0, "finish_reason": reason})
        }
    };
    let events = (0..tokens).map(|at| json!({"choices": [choice(at)], "usage": null}));
    let usage = json!({"prompt_tokens": 11, "completion_tokens": tokens});
    let all = events.chain([json!({"choices": [], "usage": usage})]);
    all.map(|event| format!("data: {event}\n\n").into_bytes())
        .chain([b"data: [DONE]\n\n".to_vec()])
        .collect()
}

fn stream_of(
    events: Vec<Vec<u8>>,
    pause: Duration,
    ending: Ending,
    under_way: UnderWay,
) -> Response {
    let events = stream::iter(events).then(move |event| async move {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Ok::<_, io::Error>(Bytes::from(event))
    });
    let last = stream::once(async move {
        let held = under_way;
        match ending {
            Ending::Orderly => None,
            Ending::Broken => {
                tokio::time::sleep(pause).await;
                Some(Err(io::Error::other("broken on purpose")))
            }
            Ending::Never => {
                let never: Result<Bytes, Infallible> = std::future::pending().await;
                drop(held);
                never.ok().map(Ok)
            }
        }
    });
    let body = Body::from_stream(events.chain(last.filter_map(|end| async move { end })));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}
