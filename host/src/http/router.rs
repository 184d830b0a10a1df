//! Which path leads where.

use axum::Router;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::server::{ServeError, Shared};
use super::{admin, chat, completions, error, health, keys, models, record};

/// What clients see.
pub(super) fn public(app: &Shared) -> Result<Router, ServeError> {
    let v1 = Router::new()
        .route("/v1/chat/completions", post(chat::handle))
        .route("/v1/completions", post(completions::handle))
        .route("/v1/embeddings", post(models::no_embeddings))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route_layer(from_fn_with_state(app.clone(), keys::check));
    let router = Router::new()
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .merge(v1);
    let router = finish(router, app);
    Ok(match cors(&app.options.cors)? {
        Some(cors) => router.layer(cors),
        None => router,
    })
}

/// What the operator sees.
pub(super) fn operator(app: &Shared) -> Router {
    let guard = from_fn_with_state(app.clone(), admin::check);
    let router = admin::routes().route_layer(guard);
    finish(router, app)
}

/// What all requests go through.
fn finish(router: Router<Shared>, app: &Shared) -> Router {
    router
        .fallback(models::no_route)
        .method_not_allowed_fallback(models::no_method)
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(from_fn(record::keep))
        .with_state(app.clone())
}

/// Web pages of these origins may ask; those of no other may by default.
fn cors(origins: &[String]) -> Result<Option<CorsLayer>, ServeError> {
    if origins.is_empty() {
        return Ok(None);
    }
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        let values = origins.iter().map(|origin| {
            let value = HeaderValue::from_str(origin);
            value.map_err(|_| ServeError::Origin(origin.clone()))
        });
        AllowOrigin::list(values.collect::<Result<Vec<_>, _>>()?)
    };
    let request_id = HeaderName::from_static("x-request-id");
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, request_id.clone()])
        .expose_headers([request_id]);
    Ok(Some(layer))
}
