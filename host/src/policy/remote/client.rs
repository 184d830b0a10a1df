//! Talks to the admin API of a server.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::Server;

/// Beyond compiling the largest policy on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client of one server.
pub(super) struct Client {
    http: reqwest::Client,
    runtime: Runtime,
    url: String,
    token: Option<String>,
}

impl Client {
    pub(super) fn new(server: &Server) -> anyhow::Result<Self> {
        // Another part of this process may have chosen the same already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder().timeout(PATIENCE).build()?;
        Ok(Self {
            http,
            runtime: Builder::new_current_thread().enable_all().build()?,
            url: server.url.trim_end_matches('/').to_owned(),
            token: server.access.token.clone(),
        })
    }

    pub(super) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(self.request(Method::GET, path))
    }

    pub(super) fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.send(self.request(Method::DELETE, path))
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(self.request(Method::POST, path).json(body))
    }

    /// Sends a policy, and its signature on one line.
    pub(super) fn push(&self, bytes: Vec<u8>, signature: Option<&str>) -> anyhow::Result<Value> {
        let request = self.request(Method::POST, "policies");
        let mut request = request.header("content-type", "application/wasm");
        if let Some(signature) = signature {
            let line = signature.trim().replace('\r', "").replace('\n', "\\n");
            request = request.header("elis-signature", line);
        }
        self.send(request.body(bytes))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self
            .http
            .request(method, format!("{}/admin/{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    fn send(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let (status, text) = self
            .runtime
            .block_on(async {
                let response = request.send().await?;
                let status = response.status();
                anyhow::Ok((status, response.text().await?))
            })
            .with_context(|| {
                format!(
                    "cannot reach {}; is this the address that `elis serve` calls its admin API?",
                    self.url
                )
            })?;
        let answer = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        };
        if status.is_success() {
            return Ok(answer);
        }
        let message = answer["error"]["message"].as_str();
        match (message, status.as_u16()) {
            (Some(message), 401) => bail!("{message}; here with --token or ELIS_ADMIN_TOKEN"),
            (Some(message), _) => bail!("{message}"),
            (None, _) => bail!("{} answered {status}: {answer}", self.url),
        }
    }
}
