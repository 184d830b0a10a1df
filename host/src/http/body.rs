//! The body of a request: read up to a limit, and parsed so that an error says where it is.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// The longest that a body may take to arrive.
const ARRIVAL_MAX: Duration = Duration::from_secs(60);
/// A client that is cut off while it sends does not read the answer, so a body above the limit is
/// read on and thrown away up to this multiple of the limit.
const DISCARD_FACTOR: usize = 8;

/// Reads a body.
pub(super) async fn read(body: Body, limit_bytes: usize) -> Result<Vec<u8>, ApiError> {
    match tokio::time::timeout(ARRIVAL_MAX, read_on(body, limit_bytes)).await {
        Ok(read) => read,
        Err(_) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            format!(
                "the body took longer than {} s to arrive",
                ARRIVAL_MAX.as_secs()
            ),
        )),
    }
}

async fn read_on(body: Body, limit_bytes: usize) -> Result<Vec<u8>, ApiError> {
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    let mut seen = 0_usize;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|e| ApiError::bad(format!("the body broke off: {e}")))?;
        seen = seen.saturating_add(chunk.len());
        if seen <= limit_bytes {
            bytes.extend_from_slice(&chunk);
        } else {
            bytes = Vec::new();
            if seen > limit_bytes.saturating_mul(DISCARD_FACTOR) {
                break;
            }
        }
    }
    if seen > limit_bytes {
        let message = format!("the body is larger than the {limit_bytes} bytes that are allowed");
        let error = ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message);
        return Err(error.code("request_too_large"));
    }
    Ok(bytes)
}

/// Parses a body. Fields that nobody knows are skipped, as OpenAI's server does with most.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        None => return Err(ApiError::bad("the body is empty; send a JSON object")),
        // Else fields would be taken from an array in the order of their declaration.
        Some(b'[') => return Err(ApiError::bad("the body is a JSON array; send an object")),
        Some(_) => {}
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut deserializer);
    let parsed = parsed.map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if !inner.is_data() {
            return ApiError::bad(format!("the body is not valid JSON: {inner}"));
        }
        if path == "." {
            return ApiError::bad(inner.to_string());
        }
        ApiError::field(path.clone(), format!("{path}: {inner}"))
    })?;
    let end = deserializer.end();
    end.map_err(|e| ApiError::bad(format!("the body is not valid JSON: {e}")))?;
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Some {
        #[expect(dead_code, reason = "only parsed")]
        inner: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        #[expect(dead_code, reason = "only parsed")]
        number: u32,
    }

    fn message(text: &str) -> String {
        let error = parse::<Some>(text.as_bytes()).unwrap_err();
        serde_json::from_str::<serde_json::Value>(&error.json()).unwrap()["error"].to_string()
    }

    #[test]
    fn an_error_says_where_it_is() {
        assert!(message("{\"inner\": [}").contains("not valid JSON"));
        assert!(message("{\"inner\": [}").contains("line 1 column 12"));
        assert!(message("{\"inner\": []} x").contains("trailing characters at line 1"));
        assert!(message("").contains("the body is empty"));
        assert!(message("[1]").contains("send an object"));
        let deep = message("{\"inner\": [{\"number\": 1}, {\"number\": \"two\"}]}");
        assert!(deep.contains("\"param\":\"inner[1].number\""), "{deep}");
        assert!(deep.contains("expected u32"), "{deep}");
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_and_one_at_it_is_not() {
        let body = |bytes: usize| Body::from(vec![b' '; bytes]);
        assert_eq!(read(body(10), 10).await.unwrap().len(), 10);
        assert!(read(body(11), 10).await.is_err());
        assert!(read(body(1000), 10).await.is_err());
    }
}
