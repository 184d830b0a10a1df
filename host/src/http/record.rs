//! One line of log for each request, written when the last byte of its answer is out or the client
//! is gone.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use super::error::Note;
use crate::telemetry::REQUEST;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id of a client that is taken over.
const ID_BYTES_MAX: usize = 128;

/// What is known of a request. Its line is written when the last one who holds it lets go.
#[derive(Debug)]
pub(super) struct Record {
    id: String,
    method: String,
    path: String,
    /// The caller's place in its trace.
    traceparent: Option<String>,
    began: Instant,
    /// When the first token went out, if one did.
    first_token: OnceLock<Instant>,
    /// Tokens that went out so far.
    completion_tokens: AtomicU32,
    facts: Mutex<Facts>,
}

/// What comes to be known of it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) tenant: Option<String>,
    pub(super) model: Option<String>,
    pub(super) prompt_tokens: Option<usize>,
    pub(super) stream: bool,
    pub(super) finish_reason: Option<&'static str>,
    pub(super) error: Option<String>,
    status: Option<u16>,
}

pub(super) type SharedRecord = Arc<Record>;

impl Record {
    fn new(id: String, request: &Request) -> Self {
        let traceparent = request.headers().get(TRACEPARENT);
        let traceparent = traceparent.and_then(|value| value.to_str().ok());
        Self {
            id,
            method: request.method().as_str().to_owned(),
            path: request.uri().path().to_owned(),
            traceparent: traceparent.map(str::to_owned),
            began: Instant::now(),
            first_token: OnceLock::new(),
            completion_tokens: AtomicU32::new(0),
            facts: Mutex::new(Facts::default()),
        }
    }

    /// Adds to what is known.
    pub(super) fn note(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts());
    }

    /// One more token.
    pub(super) fn count_token(&self) -> u32 {
        self.first_token.get_or_init(Instant::now);
        self.completion_tokens.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The number that the engine gives in the end.
    pub(super) fn set_tokens(&self, tokens: u32) {
        self.completion_tokens.store(tokens, Ordering::Relaxed);
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Facts {
    /// In a word, how it went. 499 is nginx's number for a client that is gone.
    fn outcome(&self) -> (u16, &str) {
        match (self.status, self.finish_reason, &self.error) {
            (None, ..) => (499, "client gone"),
            (Some(status), _, Some(_)) => (status, "error"),
            (Some(status), Some(reason), None) => (status, reason),
            (Some(_), None, None) if self.stream => (499, "client gone"),
            (Some(status), None, None) => (status, "done"),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let facts = self.facts().clone();
        let (status, outcome) = facts.outcome();
        let duration_ms = self.began.elapsed().as_secs_f64() * 1e3;
        let completion_tokens = self.completion_tokens.load(Ordering::Relaxed);
        // Probes come every few seconds and say nothing.
        if !self.path.starts_with("/v1") && !self.path.starts_with("/admin") && status < 400 {
            tracing::debug!(
                id = self.id,
                method = self.method,
                path = self.path,
                status,
                duration_ms,
                "request"
            );
            return;
        }
        let first = self.first_token.get();
        let first_token_ms = first.map(|first| (*first - self.began).as_secs_f64() * 1e3);
        tracing::info!(
            name: REQUEST,
            id = self.id,
            method = self.method,
            path = self.path,
            traceparent = self.traceparent,
            tenant = facts.tenant,
            model = facts.model,
            prompt_tokens = facts.prompt_tokens,
            completion_tokens,
            stream = facts.stream,
            status,
            outcome,
            error = facts.error,
            first_token_ms,
            duration_ms,
            "request"
        );
    }
}

/// Gives each request an id and a record, and answers the id back.
pub(super) async fn keep(mut request: Request, next: Next) -> Response {
    let id = given_id(request.headers()).unwrap_or_else(new_id);
    let header = HeaderValue::from_str(&id);
    let record = Arc::new(Record::new(id, &request));
    request.extensions_mut().insert(Arc::clone(&record));
    let mut response = next.run(request).await;
    let note = response.extensions_mut().remove::<Note>();
    record.note(|facts| {
        facts.status = Some(response.status().as_u16());
        facts.error = note
            .map(|Note(message)| message)
            .or_else(|| facts.error.take());
    });
    if let Ok(header) = header {
        response.headers_mut().insert(REQUEST_ID, header);
    }
    response
}

/// A client's own id, if it is fit for a log.
fn given_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let fit = !id.is_empty() && id.len() <= ID_BYTES_MAX;
    let plain = id.bytes().all(|byte| byte.is_ascii_graphic());
    (fit && plain).then(|| id.to_owned())
}

fn new_id() -> String {
    format!("req-{:032x}", rand::random::<u128>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_clients_are_taken_if_they_are_fit_for_a_log() {
        let id = |value: &str| {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            given_id(&HeaderMap::from_iter([(REQUEST_ID, value)]))
        };
        assert_eq!(id("abc-123").as_deref(), Some("abc-123"));
        for unfit in ["", "a b", "é", &"a".repeat(200)] {
            assert_eq!(id(unfit), None, "{unfit:?}");
        }
        assert_ne!(new_id(), new_id());
    }

    #[test]
    fn the_outcome_tells_a_hang_up_from_an_end() {
        let facts = |status, finish_reason, stream| Facts {
            status,
            finish_reason,
            stream,
            ..Facts::default()
        };
        assert_eq!(facts(None, None, false).outcome(), (499, "client gone"));
        assert_eq!(facts(Some(200), None, true).outcome(), (499, "client gone"));
        assert_eq!(
            facts(Some(200), Some("stop"), true).outcome(),
            (200, "stop")
        );
        assert_eq!(facts(Some(200), None, false).outcome(), (200, "done"));
        let failed = Facts {
            error: Some("no".to_owned()),
            ..facts(Some(429), None, false)
        };
        assert_eq!(failed.outcome(), (429, "error"));
    }
}
