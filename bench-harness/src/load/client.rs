//! One question to an OpenAI-compatible server, read as it streams.

use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Body, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use sse_stream::SseStream;
use tokio::time::{Instant, timeout};

use super::answer::Answer;
use super::failure::{Failure, FailureKind};
use super::request::Api;
use super::{excerpt, with_causes};

/// What a server that streams says it sends.
const EVENT_STREAM: &str = "text/event-stream";
/// Kept connections are given up after this: a second before the shortest limit that is common in
/// servers, so that a request seldom goes out on one that the server just closes.
const IDLE: Duration = Duration::from_secs(4);
/// How long the orderly end of a response is awaited once all of it is there, so that its
/// connection can be used again.
const DRAIN: Duration = Duration::from_millis(250);
/// How long questions that are not measured may take.
const ASIDE: Duration = Duration::from_secs(30);

/// How a server is reached.
#[derive(Debug, Clone)]
pub struct Target {
    /// Base address, with or without `/v1` at its end.
    pub url: String,
    /// Bearer token.
    pub api_key: Option<String>,
    /// How long a response may take, counted from its sending.
    pub timeout: Duration,
}

impl Target {
    /// The address of a path such as `/v1/models`.
    pub fn address(&self, path: &str) -> String {
        let base = self.url.trim_end_matches('/');
        let base = base.strip_suffix("/v1").unwrap_or(base);
        format!("{}{path}", base.trim_end_matches('/'))
    }
}

/// Why the server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The client could not be made.
    #[error("cannot make an HTTP client: {0}")]
    Build(#[source] reqwest::Error),
    /// The server does not answer.
    #[error("{url} does not answer: {problem}; see that the server runs there")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why.
        problem: String,
    },
    /// The server answers something else.
    #[error("{url} answered {problem}")]
    Answer {
        /// What was asked for.
        url: String,
        /// Status and text.
        problem: String,
    },
    /// There is nothing to ask.
    #[error("{url} lists no model; name one with --model")]
    NoModel {
        /// What was asked for.
        url: String,
    },
}

/// The zero of a run's times.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that shows 0 after `lead`.
    pub fn starting_in(lead: Duration) -> Self {
        Self {
            start: Instant::now() + lead,
        }
    }

    /// Nanoseconds since 0; before it, 0.
    pub fn now_ns(self) -> u64 {
        let ns = Instant::now().saturating_duration_since(self.start);
        u64::try_from(ns.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The moment of a time.
    pub fn instant(self, at_ns: u64) -> Instant {
        self.start + Duration::from_nanos(at_ns)
    }
}

/// A client of one server, with its pool of connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    target: Target,
}

impl Client {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn new(target: Target) -> Result<Self, ClientError> {
        // A second call finds the first one's provider, which is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .pool_idle_timeout(IDLE)
            .tcp_nodelay(true)
            .user_agent(concat!("elis-bench/", env!("CARGO_PKG_VERSION")));
        if is_local(&target.url) {
            // What is measured is the server, not a proxy before it.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(ClientError::Build)?;
        Ok(Self { http, target })
    }

    /// How the server is reached.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The name of the first model that the server lists.
    ///
    /// # Errors
    /// The server does not answer, or lists none.
    pub async fn first_model(&self) -> Result<String, ClientError> {
        let url = self.target.address("/v1/models");
        let text = self.text(&url, self.target.api_key.as_deref()).await?;
        let list: Value = serde_json::from_str(&text).map_err(|error| ClientError::Answer {
            url: url.clone(),
            problem: format!("no JSON ({error}): {}", excerpt(&text)),
        })?;
        let name = list.pointer("/data/0/id").and_then(Value::as_str);
        name.map(str::to_owned).ok_or(ClientError::NoModel { url })
    }

    /// The text that stands at an address, asked for with a token of its own.
    ///
    /// # Errors
    /// There is no answer, or none with a status of 2xx.
    pub async fn text(&self, url: &str, token: Option<&str>) -> Result<String, ClientError> {
        let request = self.http.get(url).timeout(ASIDE);
        answered(url, with_token(request, token)).await
    }

    /// Sends JSON to an address, with a token of its own, and gives what comes back.
    ///
    /// # Errors
    /// There is no answer, or none with a status of 2xx.
    pub async fn post(
        &self,
        url: &str,
        token: Option<&str>,
        body: &Value,
    ) -> Result<String, ClientError> {
        let request = self.http.post(url).timeout(ASIDE).json(body);
        answered(url, with_token(request, token)).await
    }

    /// Asks once and takes in the answer as it comes.
    ///
    /// # Errors
    /// Whatever keeps the response from being whole, by kind; what was there before stays in
    /// `answer`.
    pub async fn ask(
        &self,
        api: Api,
        body: Vec<u8>,
        clock: Clock,
        answer: &mut Answer,
    ) -> Result<(), Failure> {
        let request = self
            .http
            .post(self.target.address(api.path()))
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, EVENT_STREAM)
            .body(body);
        let request = with_token(request, self.target.api_key.as_deref());
        let response = request.send().await;
        let response = response.map_err(|error| no_head(&error))?;
        answer.status = Some(response.status().as_u16());
        let response = streaming(response).await?;
        let mut events = pin!(SseStream::new(Body::from(response)));
        while !answer.done {
            match events.next().await {
                Some(Ok(event)) => {
                    if let Some(data) = event.data {
                        answer.take(&data, clock.now_ns())?;
                    }
                }
                // What breaks behind the end takes nothing away.
                _ if answer.is_whole() => return Ok(()),
                Some(Err(error)) => return Err(broken(&error)),
                None => {
                    let detail = "the stream ended without a finish_reason";
                    return Err(Failure::new(FailureKind::CutShort, detail));
                }
            }
        }
        // The end is awaited for the connection's sake; what may still come means nothing.
        let _ = timeout(DRAIN, async { while events.next().await.is_some() {} }).await;
        if answer.is_whole() {
            return Ok(());
        }
        let detail = "the stream was done without a token or a finish_reason";
        Err(Failure::new(FailureKind::CutShort, detail))
    }
}

fn with_token(request: RequestBuilder, token: Option<&str>) -> RequestBuilder {
    match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    }
}

/// Whether an address is on this machine.
fn is_local(url: &str) -> bool {
    let host = reqwest::Url::parse(url).ok();
    let host = host.as_ref().and_then(reqwest::Url::host_str);
    host.is_some_and(|host| {
        let bare = host.trim_matches(['[', ']']);
        let ip = bare.parse::<std::net::IpAddr>();
        host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    })
}

async fn answered(url: &str, request: RequestBuilder) -> Result<String, ClientError> {
    let unreachable = |error: reqwest::Error| ClientError::Unreachable {
        url: url.to_owned(),
        problem: with_causes(&error.without_url()),
    };
    let response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    let text = response.text().await.map_err(unreachable)?;
    if status.is_success() {
        return Ok(text);
    }
    Err(ClientError::Answer {
        url: url.to_owned(),
        problem: format!("{status}: {}", excerpt(&text)),
    })
}

/// The response, if it is a stream of events.
async fn streaming(response: Response) -> Result<Response, Failure> {
    let status = response.status();
    let kind = response.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if status.is_success() && kind.starts_with(EVENT_STREAM) {
        return Ok(response);
    }
    let (kind, retry_after) = (kind.to_owned(), retry_after(response.headers()));
    let text = response.text().await.unwrap_or_default();
    if status.is_success() {
        let detail = format!("content type '{kind}': {}", excerpt(&text));
        return Err(Failure::new(FailureKind::NotAStream, detail));
    }
    Err(Failure {
        kind: FailureKind::Status(status.as_u16()),
        detail: refusal(status, &text),
        retry_after,
    })
}

/// The message of an error body, or its beginning, or what the status is called.
fn refusal(status: StatusCode, text: &str) -> String {
    let body: Option<Value> = serde_json::from_str(text).ok();
    let body = body.as_ref();
    let message = body.and_then(|b| b.pointer("/error/message").or_else(|| b.get("message")));
    let message = message.and_then(Value::as_str).unwrap_or(text);
    if message.trim().is_empty() {
        return status.canonical_reason().unwrap_or_default().to_owned();
    }
    excerpt(message)
}

fn retry_after(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    Some(text.trim().to_owned())
}

fn no_head(error: &reqwest::Error) -> Failure {
    let kind = if error.is_connect() {
        FailureKind::Connect
    } else {
        FailureKind::HangUp
    };
    Failure::new(kind, excerpt(&with_causes(error)))
}

fn broken(error: &sse_stream::Error) -> Failure {
    let kind = match error {
        sse_stream::Error::Body(_) => FailureKind::BrokenStream,
        _ => FailureKind::Malformed,
    };
    Failure::new(kind, excerpt(&with_causes(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_same_with_and_without_its_version() {
        for url in [
            "http://h:1",
            "http://h:1/",
            "http://h:1/v1",
            "http://h:1/v1/",
        ] {
            let target = Target {
                url: url.into(),
                api_key: None,
                timeout: ASIDE,
            };
            assert_eq!(target.address("/v1/models"), "http://h:1/v1/models");
        }
    }

    #[test]
    fn local_addresses_need_no_proxy() {
        let local = [
            "http://127.0.0.1:80/v1",
            "http://localhost",
            "http://[::1]:8080",
        ];
        assert!(local.into_iter().all(is_local));
        assert!(!is_local("https://example.com/v1") && !is_local("nonsense"));
    }

    #[test]
    fn a_refusal_is_told_in_the_servers_words() {
        let told = |text| refusal(StatusCode::TOO_MANY_REQUESTS, text);
        assert_eq!(told(r#"{"error":{"message":"queue full"}}"#), "queue full");
        assert_eq!(told(r#"{"message":"no","detail":1}"#), "no");
        assert_eq!(told("busy\n  now"), "busy now");
        assert_eq!(told(" "), "Too Many Requests");
    }
}
