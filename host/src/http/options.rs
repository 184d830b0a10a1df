//! What an operator says of the server.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;

/// Options of the HTTP server.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Server")]
pub struct ServerOptions {
    /// Address to listen on; 0.0.0.0 for all
    #[arg(long, value_name = "ADDRESS", default_value_t = LOOPBACK)]
    pub host: IpAddr,
    /// Port to listen on; 0 for any free one
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Address of the admin API; anything but loopback needs --admin-token
    #[arg(long, value_name = "ADDRESS", default_value_t = LOOPBACK)]
    pub admin_host: IpAddr,
    /// Port of the admin API; 0 for any free one
    #[arg(long, value_name = "PORT", default_value_t = 8081)]
    pub admin_port: u16,
    /// Have no admin API
    #[arg(long)]
    pub no_admin: bool,
    /// What admin requests carry as `Authorization: Bearer TOKEN`
    #[arg(
        long,
        value_name = "TOKEN",
        env = "ELIS_ADMIN_TOKEN",
        hide_env_values = true
    )]
    pub admin_token: Option<Secret>,
    /// A file with a NAME=TOKEN on each line, for several operators; the audit log has the names
    #[arg(long, value_name = "PATH")]
    pub admin_token_file: Option<PathBuf>,
    /// A key that clients may use, and the tenant that it stands for; may be repeated
    ///
    /// Arguments are visible to other users of the machine: prefer the variable, with commas
    /// between the keys, or --api-key-file. Without any key everybody may ask.
    #[arg(
        long = "api-key",
        value_name = "NAME=KEY",
        env = "ELIS_API_KEYS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub api_keys: Vec<ApiKey>,
    /// A file with a NAME=KEY on each line; lines that begin with # are comments
    #[arg(long, value_name = "PATH")]
    pub api_key_file: Option<PathBuf>,
    /// The largest body of a request
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20)]
    pub max_body_bytes: usize,
    /// The longest response that a request may ask for, by default what the model's context holds
    #[arg(long, value_name = "TOKENS")]
    pub max_response_tokens: Option<u32>,
    /// The longest that a request may take, queueing included; 0 for no end
    #[arg(
        long = "request-timeout",
        value_name = "SECONDS",
        default_value_t = 600
    )]
    pub request_timeout_s: u64,
    /// What `Retry-After` says where the queue is full
    #[arg(long = "retry-after", value_name = "SECONDS", default_value_t = 1)]
    pub retry_after_s: u64,
    /// How long responses may go on after SIGTERM or SIGINT; a second signal ends them at once
    #[arg(long = "drain-timeout", value_name = "SECONDS", default_value_t = 30)]
    pub drain_timeout_s: u64,
    /// An origin, scheme and host, whose pages may ask; may be repeated, * for all
    #[arg(long, value_name = "ORIGIN")]
    pub cors: Vec<String>,
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A text that no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// A client's key and the name of the tenant behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Of the tenant, as in logs and metrics.
    pub name: String,
    /// What the client sends.
    pub key: Secret,
}

/// Why a text is not a key. It does not repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    /// There is no `=`.
    #[error("write a key as NAME=KEY, where NAME is the tenant that it stands for")]
    NoName,
    /// Nothing stands before or behind it.
    #[error("the name and the key of NAME=KEY must not be empty")]
    Empty,
}

impl FromStr for ApiKey {
    type Err = ApiKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, key) = text.split_once('=').ok_or(ApiKeyError::NoName)?;
        let (name, key) = (name.trim(), key.trim());
        if name.is_empty() || key.is_empty() {
            return Err(ApiKeyError::Empty);
        }
        Ok(Self {
            name: name.to_owned(),
            key: key.into(),
        })
    }
}

impl Default for ServerOptions {
    /// What the command line says where nothing is given, but free ports.
    fn default() -> Self {
        Self {
            host: LOOPBACK,
            port: 0,
            admin_host: LOOPBACK,
            admin_port: 0,
            no_admin: false,
            admin_token: None,
            admin_token_file: None,
            api_keys: Vec::new(),
            api_key_file: None,
            max_body_bytes: 4 << 20,
            max_response_tokens: None,
            request_timeout_s: 600,
            retry_after_s: 1,
            drain_timeout_s: 30,
            cors: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_a_name_and_keep_their_secret() {
        let key: ApiKey = "acme = s3cret=x".parse().unwrap();
        assert_eq!(
            (key.name.as_str(), key.key.0.as_str()),
            ("acme", "s3cret=x")
        );
        assert_eq!(format!("{key:?}"), "ApiKey { name: \"acme\", key: … }");
        assert_eq!("secret".parse::<ApiKey>(), Err(ApiKeyError::NoName));
        assert_eq!("=secret".parse::<ApiKey>(), Err(ApiKeyError::Empty));
        assert_eq!("acme=".parse::<ApiKey>(), Err(ApiKeyError::Empty));
    }
}
