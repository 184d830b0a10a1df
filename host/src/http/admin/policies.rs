//! Policies over HTTP: bytes in, digests out; a path of this machine is never taken.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use super::{Who, blocking, json, typed};
use crate::engine::{Overview, PolicyError, Promote, Promoted, Pushed, Row, Shade};
use crate::http::body::read;
use crate::http::error::ApiError;
use crate::http::server::Shared;
use crate::shelf::Action;

/// Carries a minisign signature, with `\n` for its line ends.
const SIGNATURE: &str = "elis-signature";
/// What a shadow may take of a core where nobody says.
const SHARE: f64 = 0.1;

#[derive(Debug, Serialize)]
pub(super) struct List {
    epoch: u64,
    policies: Vec<Row>,
}

#[derive(Debug, Serialize)]
pub(super) struct Actions {
    actions: Vec<Action>,
}

/// A wish to make a policy the live one.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a JSON object", deny_unknown_fields)]
struct PromoteBody {
    #[serde(default)]
    config: String,
    epoch: Option<u64>,
    #[serde(default)]
    fresh_state: bool,
}

/// A wish to see a policy decide.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a JSON object", deny_unknown_fields)]
struct ShadowBody {
    #[serde(default)]
    config: String,
    share: Option<f64>,
}

/// A wish to go back.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a JSON object", deny_unknown_fields)]
struct RollbackBody {
    epoch: Option<u64>,
}

pub(super) async fn list(State(app): State<Shared>) -> Result<Json<List>, ApiError> {
    let listed = blocking(&app, |policies| {
        Ok(List {
            epoch: policies.overview()?.epoch,
            policies: policies.list(),
        })
    });
    listed.await.map(Json)
}

pub(super) async fn show(
    State(app): State<Shared>,
    Path(digest): Path<String>,
) -> Result<Json<Row>, ApiError> {
    let shown = blocking(&app, move |policies| policies.show(policies.find(&digest)?));
    shown.await.map(Json)
}

pub(super) async fn push(
    State(app): State<Shared>,
    Extension(Who(who)): Extension<Who>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Pushed>), ApiError> {
    typed(&headers, "application/wasm")?;
    let signature = headers.get(SIGNATURE).map(|value| value.to_str());
    let unreadable = |_| ApiError::bad(format!("the header {SIGNATURE} is not text"));
    let signature = signature.transpose().map_err(unreadable)?;
    let signature = signature.map(|text| text.replace("\\n", "\n"));
    let most = app.engine.policies().map_or(0, |p| p.bytes_max());
    let bytes = read(body, most).await?;
    let pushed = blocking(&app, move |policies| {
        policies.push(&bytes, signature.as_deref(), &who)
    })
    .await?;
    let status = if pushed.new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(pushed)))
}

pub(super) async fn remove(
    State(app): State<Shared>,
    Extension(Who(who)): Extension<Who>,
    Path(digest): Path<String>,
) -> Result<StatusCode, ApiError> {
    blocking(&app, move |policies| {
        policies.remove(policies.find(&digest)?, &who)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn promote(
    State(app): State<Shared>,
    Extension(Who(who)): Extension<Who>,
    Path(digest): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Promoted>, ApiError> {
    let wish: PromoteBody = json(&headers, body).await?;
    let promoted = blocking(&app, move |policies| {
        let promote = Promote {
            config: wish.config,
            epoch: wish.epoch,
            fresh_state: wish.fresh_state,
        };
        policies.promote(policies.find(&digest)?, &promote, &who)
    });
    promoted.await.map(Json)
}

pub(super) async fn rollback(
    State(app): State<Shared>,
    Extension(Who(who)): Extension<Who>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Promoted>, ApiError> {
    let wish: RollbackBody = json(&headers, body).await?;
    let rolled = blocking(&app, move |policies| policies.rollback(wish.epoch, &who));
    rolled.await.map(Json)
}

pub(super) async fn shadow(
    State(app): State<Shared>,
    Extension(Who(who)): Extension<Who>,
    Path(digest): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Option<Shade>>, ApiError> {
    let wish: ShadowBody = json(&headers, body).await?;
    let shaded = blocking(&app, move |policies| {
        let digest = policies.find(&digest)?;
        policies.shadow(digest, &wish.config, wish.share.unwrap_or(SHARE), &who)?;
        policies
            .overview()
            .map(|overview: Overview| overview.shadow)
    });
    shaded.await.map(Json)
}

pub(super) async fn end_shadow(
    State(app): State<Shared>,
    Extension(Who(who)): Extension<Who>,
) -> Result<StatusCode, ApiError> {
    blocking(&app, move |policies| policies.end_shadow(&who)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn audit(State(app): State<Shared>) -> Result<Json<Actions>, ApiError> {
    let actions = blocking(&app, |policies| {
        let actions = policies.actions();
        Ok::<_, PolicyError>(Actions { actions })
    });
    actions.await.map(Json)
}
