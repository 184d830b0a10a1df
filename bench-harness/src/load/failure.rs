//! Why a request came to nothing.

use std::borrow::Cow;
use std::fmt;

/// The kinds of failure that are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureKind {
    /// The server answered with a status other than 2xx.
    Status(u16),
    /// No connection came about.
    Connect,
    /// The connection ended before there was a status.
    HangUp,
    /// The connection broke in the middle of the response.
    BrokenStream,
    /// The response ended in order, but before its end was told.
    CutShort,
    /// An event was not what the protocol says.
    Malformed,
    /// The status was good, but no stream of events followed.
    NotAStream,
    /// The server told of an error in the middle of the stream.
    ErrorEvent,
    /// The whole response was not there in time.
    Timeout,
    /// It was under way when somebody asked to stop.
    Interrupted,
    /// Its time had come, but it was held back until somebody asked to stop.
    NotSent,
}

impl FailureKind {
    /// The name that reports and records use.
    pub fn name(self) -> Cow<'static, str> {
        let name = match self {
            Self::Status(status) => return format!("http-{status}").into(),
            Self::Connect => "connect",
            Self::HangUp => "hang-up",
            Self::BrokenStream => "broken-stream",
            Self::CutShort => "cut-short",
            Self::Malformed => "malformed",
            Self::NotAStream => "not-a-stream",
            Self::ErrorEvent => "error-event",
            Self::Timeout => "timeout",
            Self::Interrupted => "interrupted",
            Self::NotSent => "not-sent",
        };
        name.into()
    }

    /// Whether the server said that it does not want the request: 4xx, or 503.
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::Status(400..=499 | 503))
    }
}

/// Why one request came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Failure {
    /// Its kind.
    pub kind: FailureKind,
    /// What the server or the client said.
    pub detail: String,
    /// How long the server wanted to be left alone, as it wrote it.
    pub retry_after: Option<String>,
}

impl Failure {
    /// A failure with its explanation.
    pub fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            retry_after: None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind.name())?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_a_name_and_its_reason() {
        let failure = Failure::new(FailureKind::Status(429), "slow down");
        assert_eq!(failure.to_string(), "http-429: slow down");
        assert_eq!(
            Failure::new(FailureKind::Timeout, "").to_string(),
            "timeout"
        );
    }

    #[test]
    fn a_refusal_is_what_the_server_does_not_want() {
        let refused = [400, 429, 500, 502, 503].map(|s| FailureKind::Status(s).is_refusal());
        assert_eq!(refused, [true, true, false, false, true]);
        assert!(!FailureKind::Timeout.is_refusal());
    }
}
