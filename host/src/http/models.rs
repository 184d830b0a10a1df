//! `/v1/models`, and what is said of models and endpoints that are not there.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode, Uri};
use serde::Serialize;

use crate::engine::ServedModel;

use super::error::ApiError;
use super::server::Shared;

/// A model, in OpenAI's words and the one of vLLM that says how much it takes.
#[derive(Debug, Serialize)]
pub(super) struct Model {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    max_model_len: u32,
}

#[derive(Debug, Serialize)]
pub(super) struct List {
    object: &'static str,
    data: Vec<Model>,
}

impl From<&ServedModel> for Model {
    fn from(model: &ServedModel) -> Self {
        Self {
            id: model.id.clone(),
            object: "model",
            created: model.created_s,
            owned_by: "elis",
            max_model_len: model.context_tokens,
        }
    }
}

/// The model that is served, in a list.
pub(super) async fn list(State(app): State<Shared>) -> Json<List> {
    Json(List {
        object: "list",
        data: vec![app.engine.model().into()],
    })
}

/// One model. Names may have slashes.
pub(super) async fn one(
    State(app): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Model>, ApiError> {
    let served = app.engine.model();
    if id == served.id {
        Ok(Json(served.into()))
    } else {
        Err(unknown(&id, served))
    }
}

/// The refusal of a model that is not served.
pub(super) fn unknown(id: &str, served: &ServedModel) -> ApiError {
    let message = format!(
        "the model `{id}` does not exist; this server has `{}`",
        served.id
    );
    ApiError::new(StatusCode::NOT_FOUND, message).code("model_not_found")
}

/// The refusal of embeddings.
pub(super) async fn no_embeddings() -> ApiError {
    let message = "this server generates text and has no embeddings; ask a server of an embedding \
                   model";
    ApiError::bad(message).code("unsupported_endpoint")
}

/// The refusal of a path that is not served.
pub(super) async fn no_route(method: Method, uri: Uri) -> ApiError {
    let message = format!("there is no {method} {}", uri.path());
    ApiError::new(StatusCode::NOT_FOUND, message).code("unknown_url")
}

/// The refusal of a method that a path does not have.
pub(super) async fn no_method(method: Method, uri: Uri) -> ApiError {
    let message = format!(
        "{} does not answer {method}; see the header Allow",
        uri.path()
    );
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message).code("method_not_allowed")
}
