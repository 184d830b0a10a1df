//! Telling a server which policy is to decide, before each run of a comparison.

use std::fmt;
use std::process::Stdio;

use futures_util::future::{BoxFuture, FutureExt};
use serde_json::json;
use tokio::process::Command;

use super::client::{Client, ClientError};
use super::excerpt;

/// Changes the policy of a server.
pub trait PolicySwitch: fmt::Debug + Send + Sync {
    /// How it does so, for the report; no secrets.
    fn describe(&self) -> String;

    /// Resolves once the server decides by `policy`.
    fn switch<'a>(&'a self, policy: &'a str) -> BoxFuture<'a, Result<(), SwitchError>>;
}

/// Why the policy could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// The server did not do it.
    #[error("cannot switch to policy {policy}: {source} (see --admin-url and --switch-command)")]
    Http {
        /// The policy.
        policy: String,
        /// Why.
        source: ClientError,
    },
    /// The command could not be run.
    #[error("cannot switch to policy {policy}: cannot run '{command}': {source}")]
    Start {
        /// The policy.
        policy: String,
        /// The command.
        command: String,
        /// Why.
        source: std::io::Error,
    },
    /// The command failed.
    #[error("cannot switch to policy {policy}: '{command}' ended with {status}: {said}")]
    Failed {
        /// The policy.
        policy: String,
        /// The command.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The beginning of what it wrote to standard error.
        said: String,
    },
}

/// Posts `{"policy": NAME}` to `/admin/policy`.
#[derive(Debug)]
pub struct HttpSwitch {
    client: Client,
    url: String,
    token: Option<String>,
}

impl HttpSwitch {
    /// A switch at the admin address of a server, with its bearer token.
    pub fn new(client: Client, admin_url: &str, token: Option<String>) -> Self {
        Self {
            client,
            url: format!("{}/admin/policy", admin_url.trim_end_matches('/')),
            token,
        }
    }
}

impl PolicySwitch for HttpSwitch {
    fn describe(&self) -> String {
        format!("POST {}", self.url)
    }

    fn switch<'a>(&'a self, policy: &'a str) -> BoxFuture<'a, Result<(), SwitchError>> {
        async move {
            let body = json!({ "policy": policy });
            let answered = self.client.post(&self.url, self.token.as_deref(), &body);
            let error = |source| SwitchError::Http {
                policy: policy.to_owned(),
                source,
            };
            answered.await.map(drop).map_err(error)
        }
        .boxed()
    }
}

/// Runs a command of the shell in which `{policy}` stands for the policy.
#[derive(Debug)]
pub struct CommandSwitch {
    template: String,
}

impl CommandSwitch {
    /// A switch that runs `template`.
    pub fn new(template: impl Into<String>) -> Self {
        Self {
            template: template.into(),
        }
    }
}

impl PolicySwitch for CommandSwitch {
    fn describe(&self) -> String {
        self.template.clone()
    }

    fn switch<'a>(&'a self, policy: &'a str) -> BoxFuture<'a, Result<(), SwitchError>> {
        async move {
            let command = self.template.replace("{policy}", &quoted(policy));
            // Standard output is kept off ours, which may be a document.
            let ended = Command::new("sh")
                .args(["-c", &command])
                .env("ELIS_POLICY", policy)
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .output()
                .await;
            let ended = ended.map_err(|source| SwitchError::Start {
                policy: policy.to_owned(),
                command: command.clone(),
                source,
            })?;
            if ended.status.success() {
                return Ok(());
            }
            Err(SwitchError::Failed {
                policy: policy.to_owned(),
                command,
                status: ended.status,
                said: excerpt(&String::from_utf8_lossy(&ended.stderr)),
            })
        }
        .boxed()
    }
}

/// A word that a shell takes as it is.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_gets_the_policy_as_one_word() {
        let switch = CommandSwitch::new("test {policy} = \"$ELIS_POLICY\"");
        for policy in ["isrtf", "a b", "it's; exit 9"] {
            switch.switch(policy).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_command_that_fails_is_told_with_what_it_said() {
        let switch = CommandSwitch::new("echo no such policy {policy} >&2; exit 3");
        let error = switch.switch("x").await.unwrap_err().to_string();
        assert!(error.contains("no such policy x"), "{error}");
        assert!(error.contains("exit status: 3"), "{error}");
    }
}
