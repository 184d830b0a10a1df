//! Who may ask: API keys, compared in constant time.

use std::io;
use std::path::{Path, PathBuf};

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::error::ApiError;
use super::options::{ApiKey, ApiKeyError, ServerOptions};
use super::record::SharedRecord;
use super::server::Shared;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error("the API keys cannot be read from {}: {cause}", path.display())]
    Read {
        /// Of the file.
        path: PathBuf,
        /// What went wrong.
        cause: io::Error,
    },
    /// A line of it is not a key.
    #[error("{}:{line}: {cause}", path.display())]
    Line {
        /// Of the file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        cause: ApiKeyError,
    },
}

/// The tenant that a request's key stands for; `None` where no keys are in use.
#[derive(Debug, Clone, Default)]
pub(super) struct Caller(pub(super) Option<String>);

/// The name of the operator whose token is not in a file.
const OPERATOR: &str = "operator";

/// Keys as digests, so that all are compared in the same time whatever their length.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<(String, [u8; 32])>);

impl Keys {
    /// Those of the options and of the file that they name.
    pub(super) fn new(options: &ServerOptions) -> Result<Self, KeysError> {
        Self::of(options.api_keys.clone(), options.api_key_file.as_deref())
    }

    /// The tokens of operators.
    pub(super) fn of_operators(options: &ServerOptions) -> Result<Self, KeysError> {
        let token = options.admin_token.iter().map(|token| ApiKey {
            name: OPERATOR.to_owned(),
            key: token.clone(),
        });
        Self::of(token.collect(), options.admin_token_file.as_deref())
    }

    /// Some, and those of a file.
    fn of(mut keys: Vec<ApiKey>, file: Option<&Path>) -> Result<Self, KeysError> {
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|cause| KeysError::Read {
                path: path.to_owned(),
                cause,
            })?;
            for (line, text) in (1..).zip(text.lines()) {
                if text.trim().is_empty() || text.trim_start().starts_with('#') {
                    continue;
                }
                let key: ApiKey = text.parse().map_err(|cause| KeysError::Line {
                    path: path.to_owned(),
                    line,
                    cause,
                })?;
                keys.push(key);
            }
        }
        let keys = keys.into_iter().map(|key| (key.name, digest(&key.key.0)));
        Ok(Self(keys.collect()))
    }

    /// Whose key came, `None` where there are no keys, an error where it is nobody's.
    pub(super) fn name(&self, headers: &HeaderMap) -> Result<Option<&str>, ()> {
        if self.is_empty() {
            return Ok(None);
        }
        let tenant = bearer(headers).and_then(|key| self.tenant(key));
        tenant.map(Some).ok_or(())
    }

    /// Whether everybody may ask.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tenant behind a key.
    fn tenant(&self, key: &str) -> Option<&str> {
        let given = digest(key);
        let mut found = None;
        // All of them, so that the time does not tell which one it was.
        for (name, known) in &self.0 {
            if bool::from(known.ct_eq(&given)) {
                found = Some(name.as_str());
            }
        }
        found
    }

    fn caller(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        if self.is_empty() {
            return Ok(Caller(None));
        }
        let Some(key) = bearer(headers) else {
            return Err(unauthorized(
                "no API key came with the request; send it as `Authorization: Bearer KEY`",
            ));
        };
        match self.tenant(key) {
            Some(name) => Ok(Caller(Some(name.to_owned()))),
            None => Err(unauthorized("this API key is not one of this server")),
        }
    }
}

/// Lets requests with a right key pass, and tells the handler whose it is.
pub(super) async fn check(State(app): State<Shared>, mut request: Request, next: Next) -> Response {
    match app.keys.caller(request.headers()) {
        Ok(caller) => {
            if let Some(record) = request.extensions().get::<SharedRecord>() {
                record.note(|facts| facts.tenant.clone_from(&caller.0));
            }
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => {
            let mut response = error.into_response();
            let headers = response.headers_mut();
            headers.insert("www-authenticate", HeaderValue::from_static("Bearer"));
            response
        }
    }
}

pub(super) fn unauthorized(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, message).code("invalid_api_key")
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
    }

    fn options(keys: &[&str]) -> ServerOptions {
        ServerOptions {
            api_keys: keys.iter().map(|key| key.parse().unwrap()).collect(),
            ..ServerOptions::default()
        }
    }

    #[test]
    fn a_key_is_a_tenant_and_no_key_is_none() {
        let keys = Keys::new(&options(&["acme=one", "umbrella=two"])).unwrap();
        let caller = |value: &str| keys.caller(&headers(value));
        assert_eq!(caller("Bearer two").unwrap().0.unwrap(), "umbrella");
        assert_eq!(caller("bearer one").unwrap().0.unwrap(), "acme");
        for wrong in ["Bearer three", "Bearer ", "Basic one", "one", "Bearer one2"] {
            assert!(caller(wrong).is_err(), "{wrong}");
        }
        assert!(keys.caller(&HeaderMap::new()).is_err());
        let open = Keys::new(&options(&[])).unwrap();
        assert_eq!(open.caller(&headers("Bearer whatever")).unwrap().0, None);
    }

    #[test]
    fn a_file_of_keys_has_comments_and_a_wrong_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let mut options = options(&["acme=one"]);
        options.api_key_file = Some(path.clone());
        assert!(matches!(Keys::new(&options), Err(KeysError::Read { .. })));
        std::fs::write(&path, "# ours\n\numbrella=two\n").unwrap();
        let keys = Keys::new(&options).unwrap();
        assert_eq!(keys.tenant("two"), Some("umbrella"));
        assert_eq!(keys.tenant("one"), Some("acme"));
        std::fs::write(&path, "umbrella=two\nthree\n").unwrap();
        let error = Keys::new(&options).unwrap_err().to_string();
        assert!(error.contains("keys:2: write a key as NAME=KEY"), "{error}");
        assert!(!error.contains("three"));
    }
}
