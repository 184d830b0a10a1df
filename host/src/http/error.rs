//! What a client reads when a request is not served, worded as OpenAI words it.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use elis_scheduler::RejectReason;
use serde::Serialize;

use crate::engine::GenerateError;

/// A refusal: its status, and the body `{"error": {…}}`.
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    status: StatusCode,
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
    retry_after_s: Option<u64>,
}

/// What went wrong, for the log: it travels with the response and is not sent.
#[derive(Debug, Clone)]
pub(super) struct Note(pub(super) String);

#[derive(Debug, Serialize)]
struct Body<'a> {
    error: Inner<'a>,
}

#[derive(Debug, Serialize)]
struct Inner<'a> {
    message: &'a str,
    r#type: &'static str,
    param: Option<&'a str>,
    code: Option<&'static str>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            param: None,
            code: None,
            retry_after_s: None,
        }
    }

    /// The request is wrong.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// A field of the request is wrong.
    pub(super) fn field(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            param: Some(param.into()),
            ..Self::bad(message)
        }
    }

    pub(super) fn code(self, code: &'static str) -> Self {
        Self {
            code: Some(code),
            ..self
        }
    }

    pub(super) fn retry_after(self, retry_after_s: u64) -> Self {
        Self {
            retry_after_s: Some(retry_after_s),
            ..self
        }
    }

    /// What the engine said; `param` is the field that holds the prompt.
    pub(super) fn of_engine(error: &GenerateError, param: &str, retry_after_s: u64) -> Self {
        let message = error.to_string();
        match error {
            GenerateError::QueueFull { .. } | GenerateError::Refused(RejectReason::QueueFull) => {
                Self::too_many(message, "queue_full", retry_after_s)
            }
            GenerateError::TooLong { .. } | GenerateError::Refused(RejectReason::TooLong) => {
                Self::field(param, message).code("context_length_exceeded")
            }
            GenerateError::Refused(RejectReason::UnknownTenant) => {
                Self::too_many(message, "too_many_tenants", retry_after_s)
            }
            GenerateError::Refused(RejectReason::ByPolicy) => {
                Self::too_many(message, "refused_by_policy", retry_after_s)
            }
            GenerateError::Draining => Self::draining(message, retry_after_s),
            GenerateError::TimedOut => {
                Self::new(StatusCode::GATEWAY_TIMEOUT, message).code("timeout")
            }
            GenerateError::Worker(_) | GenerateError::Refused(RejectReason::IdNotIncreasing) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, message).code("internal_error")
            }
        }
    }

    /// The server is on its way out.
    pub(super) fn draining(message: impl Into<String>, retry_after_s: u64) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, message);
        error.code("shutting_down").retry_after(retry_after_s)
    }

    fn too_many(message: String, code: &'static str, retry_after_s: u64) -> Self {
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, message);
        error.code(code).retry_after(retry_after_s)
    }

    /// What OpenAI calls the kind of error.
    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::UNAUTHORIZED => "authentication_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }

    fn body(&self) -> Body<'_> {
        Body {
            error: Inner {
                message: &self.message,
                r#type: self.kind(),
                param: self.param.as_deref(),
                code: self.code,
            },
        }
    }

    /// The body alone, for a stream that has begun.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(&self.body()).unwrap_or_default()
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(Note(self.message));
        response
    }
}

/// The answer where a handler broke down.
pub(super) fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    let message = "the server broke down over this request; its log says more";
    let error = ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message).code("internal_error");
    let mut response = error.into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_of_the_engine_has_its_status() {
        let too_long = GenerateError::TooLong {
            prompt_tokens: 9,
            max_new_tokens: 9,
            limit_tokens: 9,
        };
        let cases = [
            (GenerateError::QueueFull { jobs: 3 }, 429, Some(7)),
            (GenerateError::Refused(RejectReason::ByPolicy), 429, Some(7)),
            (too_long, 400, None),
            (GenerateError::Draining, 503, Some(7)),
            (GenerateError::Worker("gone".to_owned()), 500, None),
            (GenerateError::TimedOut, 504, None),
        ];
        for (error, status, retry_after_s) in cases {
            let refusal = ApiError::of_engine(&error, "prompt", 7);
            assert_eq!(refusal.status.as_u16(), status, "{error}");
            assert_eq!(refusal.retry_after_s, retry_after_s, "{error}");
            assert_eq!(refusal.message, error.to_string());
        }
    }

    #[test]
    fn the_body_has_all_four_fields() {
        let error = ApiError::field("n", "n must be 1").code("unsupported");
        let expected = concat!(
            r#"{"error":{"message":"n must be 1","type":"invalid_request_error","#,
            r#""param":"n","code":"unsupported"}}"#
        );
        assert_eq!(error.json(), expected);
    }
}
