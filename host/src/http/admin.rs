//! The operator's API, on a port of its own.

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::engine::Status;

use super::body::{parse, read};
use super::error::ApiError;
use super::keys::{is_bearer, unauthorized};
use super::options::Secret;
use super::server::Shared;

/// The largest body of an admin request.
const BODY_BYTES_MAX: usize = 64 << 10;

#[derive(Debug, Deserialize)]
#[serde(expecting = "a JSON object")]
struct Policy {
    /// A name or a path.
    policy: String,
}

/// Lets requests with the token pass, all where there is none.
pub(super) async fn check(State(app): State<Shared>, request: Request, next: Next) -> Response {
    match &app.options.admin_token {
        Some(Secret(token)) if !is_bearer(request.headers(), token) => {
            let message = "send the admin token as `Authorization: Bearer TOKEN`";
            unauthorized(message).into_response()
        }
        _ => next.run(request).await,
    }
}

/// Refuses what a web page can send to a loopback address unasked: a form, but not this type.
pub(super) fn is_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let json = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    if !json.is_some_and(|value| value.starts_with("application/json")) {
        let message = "send the header `Content-Type: application/json`";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    Ok(())
}

/// How the engine stands.
pub(super) async fn status(State(app): State<Shared>) -> Json<Status> {
    Json(app.engine.status())
}

/// Makes another policy the live one.
pub(super) async fn set_policy(
    State(app): State<Shared>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Status>, ApiError> {
    is_json(&headers)?;
    let bytes = read(body, BODY_BYTES_MAX).await?;
    let Policy { policy } = parse(&bytes)?;
    let refused = |reason| ApiError::field("policy", reason).code("policy_refused");
    app.engine.set_policy(policy).await.map_err(refused)?;
    Ok(Json(app.engine.status()))
}
