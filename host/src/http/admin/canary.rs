//! A canary over HTTP.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use serde::Deserialize;

use super::{Standing, Who, blocking, json, standing};
use crate::engine::{CanaryReport, Guard, PolicyError, Trial};
use crate::http::error::ApiError;
use crate::http::server::Shared;

/// How long a canary has to hold where nobody says, seconds.
const FOR_S: f64 = 600.0;

/// A wish to try a policy on a share of the workers.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a JSON object", deny_unknown_fields)]
struct CanaryBody {
    #[serde(default)]
    config: String,
    epoch: Option<u64>,
    share: f64,
    max_p99_ttft_ms: Option<f64>,
    max_error_rate: Option<f64>,
    max_faults: Option<u64>,
    min_requests: Option<u64>,
    for_s: Option<f64>,
    #[serde(default)]
    promote: bool,
    #[serde(default)]
    fresh_state: bool,
}

impl CanaryBody {
    fn trial(self) -> Result<Trial, PolicyError> {
        let usual = Guard::default();
        let lasts = Duration::try_from_secs_f64(self.for_s.unwrap_or(FOR_S));
        let lasts = lasts.map_err(|_| PolicyError::Range("for_s must be a number of seconds"))?;
        Ok(Trial {
            config: self.config,
            epoch: self.epoch,
            share: self.share,
            guard: Guard {
                max_p99_ttft_ms: self.max_p99_ttft_ms,
                max_error_rate: self.max_error_rate.unwrap_or(usual.max_error_rate),
                max_faults: self.max_faults.unwrap_or(usual.max_faults),
                min_requests: self.min_requests.unwrap_or(usual.min_requests),
            },
            lasts,
            promote: self.promote,
            fresh_state: self.fresh_state,
        })
    }
}

pub(super) async fn begin(
    State(app): State<Shared>,
    Extension(Who(who)): Extension<Who>,
    Path(digest): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Option<CanaryReport>>, ApiError> {
    let wish: CanaryBody = json(&headers, body).await?;
    let begun = blocking(&app, move |policies| {
        policies.canary(policies.find(&digest)?, wish.trial()?, &who)?;
        Ok(policies.last_canary())
    });
    begun.await.map(Json)
}

pub(super) async fn show(
    State(app): State<Shared>,
) -> Result<Json<Option<CanaryReport>>, ApiError> {
    let shown = blocking(&app, |policies| Ok(policies.last_canary()));
    shown.await.map(Json)
}

pub(super) async fn promote(
    State(app): State<Shared>,
    Extension(Who(who)): Extension<Who>,
) -> Result<Json<Standing>, ApiError> {
    blocking(&app, move |policies| policies.end_canary(true, &who)).await?;
    standing(&app).map(Json)
}

pub(super) async fn end(
    State(app): State<Shared>,
    Extension(Who(who)): Extension<Who>,
) -> Result<StatusCode, ApiError> {
    blocking(&app, move |policies| policies.end_canary(false, &who)).await?;
    Ok(StatusCode::NO_CONTENT)
}
