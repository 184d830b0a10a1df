//! What machines ask: does it live, may requests come, how does it fare.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::server::{Phase, Shared};

/// The text format of Prometheus in its standard form.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Serialize)]
struct Answer {
    status: &'static str,
}

/// It lives, since it answers.
pub(super) async fn health() -> Response {
    Json(Answer { status: "ok" }).into_response()
}

/// Whether requests may come.
pub(super) async fn ready(State(app): State<Shared>) -> Response {
    let status = match *app.phase.borrow() {
        Phase::Serving if app.engine.status().ready => "ready",
        Phase::Serving => "not ready",
        Phase::Draining | Phase::Stopping => "draining",
    };
    let code = if status == "ready" {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, Json(Answer { status })).into_response()
}

/// Everything that is counted.
pub(super) async fn metrics(State(app): State<Shared>) -> Response {
    ([(CONTENT_TYPE, OPEN_METRICS)], app.engine.metrics()).into_response()
}
