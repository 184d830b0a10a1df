//! From a request to its answer, whole or as a stream: what both APIs have in common.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;

use crate::engine::{Event, FinishReason, GenerateRequest, LogProb};

use super::error::ApiError;
use super::params::StreamOptions;
use super::record::SharedRecord;
use super::running::Running;
use super::server::App;

/// A silent stream says this often that it is alive, by a comment that clients skip.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// A token with its probability, and the alternatives.
pub(super) type Scored = (LogProb, Vec<LogProb>);

/// How one of the APIs words an answer.
pub(super) trait Wording: Send + 'static {
    /// The one choice of an answer or a chunk.
    type Choice: Serialize + Send;
    /// What ids begin with.
    const ID_PREFIX: &'static str;
    /// What `object` says of a whole answer.
    const WHOLE: &'static str;
    /// What `object` says of a chunk.
    const CHUNK: &'static str;

    /// A chunk ahead of the text, sent with the first token.
    fn opening(&self) -> Option<Self::Choice>;
    /// A chunk of text.
    fn delta(&mut self, text: String, scored: Option<Scored>) -> Self::Choice;
    /// The last chunk.
    fn end(&self, reason: &'static str) -> Self::Choice;
    /// All of it.
    fn whole(
        &mut self,
        text: String,
        scored: Option<Vec<Scored>>,
        reason: &'static str,
    ) -> Self::Choice;
}

/// Tokens of a request and its answer.
#[derive(Debug, Clone, Copy, Serialize)]
struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
}

impl Usage {
    fn new(prompt_tokens: usize, completion_tokens: u32) -> Self {
        let completion_tokens = usize::try_from(completion_tokens).unwrap_or(usize::MAX);
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
        }
    }
}

/// What stands in every chunk of an answer.
#[derive(Debug, Clone)]
struct Head {
    id: String,
    created_s: u64,
    model: String,
    prompt_tokens: usize,
}

/// An answer or a chunk of one.
#[derive(Debug, Serialize)]
struct Envelope<'a, C> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: &'a [C],
    /// Left out, null or there.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
}

impl Head {
    fn new<W: Wording>(app: &App, prompt_tokens: usize) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            id: format!("{}{:032x}", W::ID_PREFIX, rand::random::<u128>()),
            created_s: now.unwrap_or_default().as_secs(),
            model: app.engine.model().id.clone(),
            prompt_tokens,
        }
    }

    fn envelope<'a, C>(
        &'a self,
        object: &'static str,
        choices: &'a [C],
        usage: Option<Option<Usage>>,
    ) -> Envelope<'a, C> {
        Envelope {
            id: &self.id,
            object,
            created: self.created_s,
            model: &self.model,
            choices,
            usage,
        }
    }
}

/// Why a response ended, in OpenAI's words.
pub(super) fn reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    }
}

/// Generates an answer.
pub(super) async fn answer<W: Wording>(
    app: &App,
    request: GenerateRequest,
    param: &'static str,
    wording: W,
    streams: Option<StreamOptions>,
    record: SharedRecord,
) -> Result<Response, ApiError> {
    let head = Head::new::<W>(app, request.prompt_tokens.len());
    record.note(|facts| {
        facts.tenant = Some(request.tenant.clone());
        facts.model = Some(head.model.clone());
        facts.prompt_tokens = Some(head.prompt_tokens);
    });
    let stream = streams.is_some();
    let running = Running::start(app, request, param, record.clone()).await?;
    record.note(|facts| facts.stream = stream);
    match streams {
        Some(options) => Ok(streamed(Stream::new(running, head, wording, options))),
        None => whole(running, &head, wording).await,
    }
}

async fn whole<W: Wording>(
    mut running: Running,
    head: &Head,
    mut wording: W,
) -> Result<Response, ApiError> {
    let mut text = String::new();
    let mut scored = Vec::new();
    loop {
        match running.next().await? {
            Event::Token {
                text: more,
                logprobs,
            } => {
                text += &more;
                scored.extend(logprobs);
            }
            Event::Finished {
                text: more,
                reason: why,
                completion_tokens,
            } => {
                text += &more;
                let scored = (!scored.is_empty()).then_some(scored);
                let choice = wording.whole(text, scored, reason(why));
                let usage = Usage::new(head.prompt_tokens, completion_tokens);
                let envelope = head.envelope(W::WHOLE, std::slice::from_ref(&choice), {
                    Some(Some(usage))
                });
                return Ok(Json(envelope).into_response());
            }
            // An error of `next` before it gets here.
            Event::Failed(_) => {}
        }
    }
}

/// A stream of chunks.
struct Stream<W> {
    running: Running,
    head: Head,
    wording: W,
    options: StreamOptions,
    tokens: u32,
    opened: bool,
    over: bool,
    /// What goes out next.
    ready: VecDeque<String>,
}

impl<W: Wording> Stream<W> {
    fn new(running: Running, head: Head, wording: W, options: StreamOptions) -> Self {
        Self {
            running,
            head,
            wording,
            options,
            tokens: 0,
            opened: false,
            over: false,
            ready: VecDeque::new(),
        }
    }

    /// The next line of data, `None` after the last one.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.over {
                return None;
            }
            match self.running.next().await {
                Ok(event) => self.take(event),
                Err(error) => {
                    // Without the mark of an end, since it is not one.
                    self.over = true;
                    return Some(error.json());
                }
            }
        }
    }

    fn take(&mut self, event: Event) {
        if !self.opened {
            self.opened = true;
            if let Some(opening) = self.wording.opening() {
                self.push(&[opening]);
            }
        }
        match event {
            Event::Token { text, logprobs } => {
                self.tokens += 1;
                if !text.is_empty() || logprobs.is_some() {
                    let delta = self.wording.delta(text, logprobs);
                    self.push(&[delta]);
                }
            }
            Event::Finished {
                text,
                reason: why,
                completion_tokens,
            } => {
                self.tokens = completion_tokens;
                if !text.is_empty() {
                    let delta = self.wording.delta(text, None);
                    self.push(&[delta]);
                }
                let end = self.wording.end(reason(why));
                self.push(&[end]);
                if self.options.include_usage {
                    self.push(&[]);
                }
                self.ready.push_back("[DONE]".to_owned());
                self.over = true;
            }
            // An error of `Running::next` before it gets here.
            Event::Failed(_) => {}
        }
    }

    /// A chunk; one without a choice is that of the usage.
    fn push(&mut self, choices: &[W::Choice]) {
        let usage = || Usage::new(self.head.prompt_tokens, self.tokens);
        let shown = match self.options {
            _ if choices.is_empty() => Some(Some(usage())),
            StreamOptions {
                continuous_usage_stats: true,
                ..
            } => Some(Some(usage())),
            StreamOptions {
                include_usage: true,
                ..
            } => Some(None),
            _ => None,
        };
        let chunk = self.head.envelope(W::CHUNK, choices, shown);
        let line = serde_json::to_string(&chunk).unwrap_or_default();
        self.ready.push_back(line);
    }
}

fn streamed<W: Wording>(chunks: Stream<W>) -> Response {
    let events = stream::unfold(chunks, |mut chunks| async move {
        let line = chunks.next().await?;
        Some((
            Ok::<_, Infallible>(sse::Event::default().data(line)),
            chunks,
        ))
    });
    let alive = KeepAlive::new().interval(ALIVE_EVERY);
    let mut response = Sse::new(events).keep_alive(alive).into_response();
    // Else nginx collects chunks before it passes them on.
    let name = HeaderName::from_static("x-accel-buffering");
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static("no"));
    response
}
