//! One question to an OpenAI-compatible server, asked again where that can help.

use std::time::{Duration, SystemTime};

use backon::{ExponentialBuilder, Retryable};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::stop::Stop;

/// The longest wait that a server may impose or that back-off grows to.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// As much of a refusal as is kept.
const REFUSAL_CHARS: usize = 400;

/// Which of the two endpoints is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `/chat/completions`: the server applies the model's chat template.
    Chat,
    /// `/completions`: the prompt goes in as it is.
    Completions,
}

/// How a server is reached.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    /// With the `/v1` and without a slash behind it.
    pub(crate) url: String,
    pub(crate) api_key: Option<String>,
    pub(crate) endpoint: Endpoint,
    pub(crate) timeout: Duration,
    /// How often a question is asked again.
    pub(crate) retries: usize,
    /// The wait before it is asked again the first time; it doubles from there.
    pub(crate) first_wait: Duration,
}

/// How responses are drawn.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sampling {
    pub(crate) temperature: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_p: Option<f64>,
    pub(crate) max_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<u64>,
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) prompt_tokens: u32,
    pub(crate) output_tokens: u32,
    pub(crate) finish_reason: String,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The server refused.
    #[error("the server answered {status}: {refusal}")]
    Status {
        status: StatusCode,
        refusal: String,
        retry_after: Option<Duration>,
    },
    /// There was no whole answer.
    #[error("no answer from the server: {0}")]
    Transport(String),
    /// The answer was not what the protocol says.
    #[error("the answer is not that of an OpenAI-compatible server: {0}")]
    Answer(String),
}

impl AskError {
    /// Whether asking again can help.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Status { status, .. } => {
                *status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
            }
            Self::Transport(_) => true,
            Self::Answer(_) => false,
        }
    }

    /// The status, where there was one.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(status.as_u16()),
            _ => None,
        }
    }
}

/// The body of an answer, as far as it is needed.
#[derive(Debug, Deserialize)]
struct Body {
    choices: Vec<Choice>,
    usage: Usage,
}

#[derive(Debug, Deserialize)]
struct Choice {
    #[serde(default)]
    message: Option<Message>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Usage {
    prompt_tokens: u32,
    completion_tokens: u32,
}

/// A server.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    client: Client,
    access: Access,
    stop: Stop,
}

impl Server {
    /// A client for it; nothing is sent yet.
    pub(crate) fn new(access: Access, stop: Stop) -> reqwest::Result<Self> {
        // A second call finds the first one's provider, which is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            // Some servers close a kept connection just as the next request goes out on it, and a
            // new one costs nothing beside a response.
            .pool_max_idle_per_host(0)
            .connect_timeout(Duration::from_secs(10).min(access.timeout))
            .timeout(access.timeout)
            .build()?;
        Ok(Self {
            client,
            access,
            stop,
        })
    }

    /// The name of the first model that the server lists.
    pub(crate) async fn first_model(&self) -> Result<String, AskError> {
        let url = format!("{}/models", self.access.url);
        let list: Value = self.patiently(|| self.client.get(&url)).await?;
        let name = list.pointer("/data/0/id").and_then(Value::as_str);
        name.map(str::to_owned)
            .ok_or_else(|| AskError::Answer("it lists no model".to_owned()))
    }

    /// Asks for one response to a prompt.
    pub(crate) async fn ask(
        &self,
        model: &str,
        prompt: &str,
        sampling: &Sampling,
    ) -> Result<Answer, AskError> {
        let mut body = json!(sampling);
        body["model"] = json!(model);
        let path = match self.access.endpoint {
            Endpoint::Chat => {
                body["messages"] = json!([{"role": "user", "content": prompt}]);
                "chat/completions"
            }
            Endpoint::Completions => {
                body["prompt"] = json!(prompt);
                "completions"
            }
        };
        let url = format!("{}/{path}", self.access.url);
        let body: Body = self
            .patiently(|| self.client.post(&url).json(&body))
            .await?;
        let choice = body.choices.into_iter().next();
        let choice = choice.ok_or_else(|| AskError::Answer("it has no choice".to_owned()))?;
        let text = choice.message.and_then(|message| message.content);
        Ok(Answer {
            text: text.or(choice.text).unwrap_or_default(),
            prompt_tokens: body.usage.prompt_tokens,
            output_tokens: body.usage.completion_tokens,
            finish_reason: choice.finish_reason.unwrap_or_default(),
        })
    }

    /// Sends a request until it is answered, refused for good, or the patience is at its end.
    async fn patiently<T: for<'de> Deserialize<'de>>(
        &self,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<T, AskError> {
        let waits = ExponentialBuilder::new()
            .with_min_delay(self.access.first_wait)
            .with_max_delay(WAIT_MAX)
            .with_max_times(self.access.retries)
            .with_jitter();
        let stop = self.stop.clone();
        (|| self.once(request()))
            .retry(waits)
            .sleep(move |wait| {
                let stop = stop.clone();
                async move { stop.or_after(wait).await }
            })
            .when(|error| error.passes() && !self.stop.is_asked())
            .adjust(|error, wait| match error {
                AskError::Status {
                    retry_after: Some(told),
                    ..
                } => wait.map(|_| (*told).min(WAIT_MAX)),
                _ => wait,
            })
            .await
    }

    async fn once<T: for<'de> Deserialize<'de>>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, AskError> {
        let request = match &self.access.api_key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let response = request.send().await.map_err(|error| transport(&error))?;
        let status = response.status();
        let retry_after = retry_after(response.headers(), SystemTime::now());
        let bytes = response.bytes().await.map_err(|error| transport(&error))?;
        if !status.is_success() {
            let text = String::from_utf8_lossy(&bytes);
            return Err(AskError::Status {
                status,
                refusal: text.chars().take(REFUSAL_CHARS).collect(),
                retry_after,
            });
        }
        serde_json::from_slice(&bytes).map_err(|error| AskError::Answer(error.to_string()))
    }
}

/// An error of the client with its causes, since the outermost says next to nothing.
fn transport(error: &reqwest::Error) -> AskError {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    AskError::Transport(text)
}

/// How long the server wants to be left alone: seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = text.parse::<u32>().ok();
    seconds.map(|s| Duration::from_secs(s.into())).or_else(|| {
        let date = httpdate::parse_http_date(text).ok()?;
        Some(date.duration_since(now).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_seconds_or_as_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let told = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(told("7"), Some(7));
        assert_eq!(told("Thu, 01 Jan 1970 00:17:00 GMT"), Some(20));
        assert_eq!(told("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(told("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
