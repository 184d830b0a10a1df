//! The operator's API, on a port of its own. `openapi.json` describes it.

mod canary;
mod policies;

use std::net::SocketAddr;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, delete, get, post};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::engine::{Overview, Policies, PolicyError, Promote, Status};
use crate::shelf::StoreError;

use super::body::{parse, read};
use super::error::ApiError;
use super::keys::unauthorized;
use super::recording;
use super::server::Shared;

/// The largest body of an admin request but a push: configurations are a page of text.
const BODY_BYTES_MAX: usize = 1 << 20;
/// What clients and pipelines can read of this API.
const OPENAPI: &str = include_str!("openapi.json");

/// Who asks: the name of the token and the address, for the audit log.
#[derive(Debug, Clone)]
struct Who(String);

#[derive(Debug, Serialize)]
pub(super) struct Standing {
    #[serde(flatten)]
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    policies: Option<Overview>,
}

/// A policy by the name that comes with this host, or the digest of a stored one.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a JSON object", deny_unknown_fields)]
struct ByName {
    policy: String,
    #[serde(default)]
    config: String,
    epoch: Option<u64>,
}

/// The paths.
pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/admin/status", get(status))
        .route("/admin/policy", post(set_policy))
        .route("/admin/policies", get(policies::list).post(policies::push))
        .route(
            "/admin/policies/{digest}",
            get(policies::show).delete(policies::remove),
        )
        .route("/admin/policies/{digest}/promote", post(policies::promote))
        .route("/admin/policies/{digest}/shadow", post(policies::shadow))
        .route("/admin/policies/{digest}/canary", post(canary::begin))
        .route("/admin/canary", get(canary::show).delete(canary::end))
        .route("/admin/canary/promote", post(canary::promote))
        .route("/admin/shadow", delete(policies::end_shadow))
        .route("/admin/rollback", post(policies::rollback))
        .route("/admin/audit", get(policies::audit))
        .route("/admin/record", post(recording::record))
        .route("/admin/openapi.json", get(openapi))
}

/// Lets requests with a token of ours pass, all where there is none.
pub(super) async fn check(State(app): State<Shared>, mut request: Request, next: Next) -> Response {
    let Ok(name) = app.operators.name(request.headers()) else {
        let message = "send the admin token as `Authorization: Bearer TOKEN`";
        return unauthorized(message).into_response();
    };
    let peer = request.extensions().get::<SocketAddr>();
    let peer = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.ip().to_string());
    let who = match name {
        Some(name) => format!("{name} {peer}"),
        None => peer,
    };
    request.extensions_mut().insert(Who(who));
    next.run(request).await
}

async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// How the engine stands.
async fn status(State(app): State<Shared>) -> Result<Json<Standing>, ApiError> {
    standing(&app).map(Json)
}

fn standing(app: &Shared) -> Result<Standing, ApiError> {
    let overview = app.engine.policies().map(Policies::overview);
    Ok(Standing {
        status: app.engine.status(),
        policies: overview.transpose().map_err(|e| refused(&e))?,
    })
}

/// Makes another policy the live one: a promotion for those who know no digests.
async fn set_policy(
    State(app): State<Shared>,
    axum::Extension(Who(who)): axum::Extension<Who>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Standing>, ApiError> {
    let wish: ByName = json(&headers, body).await?;
    blocking(&app, move |policies| {
        let built_in = policies.built_in(&wish.policy, &who);
        let digest = match built_in {
            Err(PolicyError::Unknown(name)) => policies.find(&name)?,
            built_in => built_in?,
        };
        let promote = Promote {
            config: wish.config,
            epoch: wish.epoch,
            fresh_state: false,
        };
        policies.promote(digest, &promote, &who)
    })
    .await?;
    standing(&app).map(Json)
}

/// Runs what may wait for files and compilers where that is allowed.
async fn blocking<T: Send + 'static>(
    app: &Shared,
    work: impl FnOnce(&Policies) -> Result<T, PolicyError> + Send + 'static,
) -> Result<T, ApiError> {
    let Some(policies) = app.engine.policies().cloned() else {
        let message = "this engine has no policies that can be changed";
        return Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, message));
    };
    let done = tokio::task::spawn_blocking(move || work(&policies)).await;
    let broken = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the server broke down");
    done.map_err(broken)?.map_err(|e| refused(&e))
}

/// A body of JSON, sent as such: a web page can send a form to a loopback address unasked, but not
/// this type.
pub(super) async fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
) -> Result<T, ApiError> {
    typed(headers, "application/json")?;
    parse(&read(body, BODY_BYTES_MAX).await?)
}

fn typed(headers: &HeaderMap, wanted: &str) -> Result<(), ApiError> {
    let given = headers.get(CONTENT_TYPE);
    let given = given.and_then(|value| value.to_str().ok());
    if given.is_some_and(|value| value.starts_with(wanted)) {
        return Ok(());
    }
    let message = format!("send the header `Content-Type: {wanted}`");
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
}

fn refused(error: &PolicyError) -> ApiError {
    let status = match error {
        PolicyError::Unknown(_) | PolicyError::Store(StoreError::Unknown(_)) => {
            StatusCode::NOT_FOUND
        }
        PolicyError::Epoch { .. }
        | PolicyError::NoneBefore
        | PolicyError::InUse(_)
        | PolicyError::CanaryUnderWay
        | PolicyError::NoCanary
        | PolicyError::OneWorker => StatusCode::CONFLICT,
        PolicyError::Signature(_) => StatusCode::FORBIDDEN,
        PolicyError::Store(StoreError::Full) => StatusCode::INSUFFICIENT_STORAGE,
        PolicyError::Store(_) | PolicyError::Thread(_) => StatusCode::INTERNAL_SERVER_ERROR,
        PolicyError::Gone => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    ApiError::new(status, error.to_string()).code(error.code())
}
