//! What a client sees of one response: its events, taken in as they come.

use serde::Deserialize;
use serde_json::Value;

use super::excerpt;
use super::failure::{Failure, FailureKind};

/// The data of the event that ends a stream.
const DONE: &str = "[DONE]";

/// A response as far as it has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Status of the response, once it is there.
    pub status: Option<u16>,
    /// When the first token was there, nanoseconds since the start of the run.
    pub first_token_ns: Option<u64>,
    /// When the last token so far, or the reason for the end, was there.
    pub last_token_ns: Option<u64>,
    /// Chunks that carried a token.
    pub chunks: u32,
    /// What the server counted.
    pub usage: Option<Usage>,
    /// Why the response ended, in the server's words.
    pub finish_reason: Option<String>,
    /// Whether the server told that nothing follows.
    pub done: bool,
}

/// What a server counted of one response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt, template included.
    pub prompt_tokens: u32,
    /// Tokens of the response.
    #[serde(default)]
    pub completion_tokens: u32,
}

/// One event, as far as it is needed; both endpoints in one.
#[derive(Debug, Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    delta: Option<Delta>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Delta {
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    content: Option<String>,
    #[serde(default, alias = "reasoning")]
    reasoning_content: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<Value>>,
}

impl Choice {
    /// Whether the chunk carries a token. One may show no text (half a character, a special token);
    /// the chunk that only tells the role shows none either, but carries no token.
    fn has_token(&self) -> bool {
        let Some(delta) = &self.delta else {
            let silent = self.finish_reason.is_none();
            return self.text.as_ref().is_some_and(|t| !t.is_empty() || silent);
        };
        let texts = [&delta.content, &delta.reasoning_content];
        let mut texts = texts.into_iter().flatten();
        let silent = delta.role.is_none() && self.finish_reason.is_none();
        texts.any(|t| !t.is_empty() || silent)
            || delta.tool_calls.as_ref().is_some_and(|c| !c.is_empty())
    }
}

impl Answer {
    /// Takes in the data of one event that came at `at_ns`.
    ///
    /// # Errors
    /// The event is not of the protocol, or tells of an error.
    pub fn take(&mut self, data: &str, at_ns: u64) -> Result<(), Failure> {
        if data.trim() == DONE {
            self.done = true;
            return Ok(());
        }
        let chunk: Chunk = serde_json::from_str(data).map_err(|error| {
            let detail = format!("{error} in the event '{}'", excerpt(data));
            Failure::new(FailureKind::Malformed, detail)
        })?;
        if let Some(error) = chunk.error {
            let detail = match error.get("message").and_then(Value::as_str) {
                Some(message) => excerpt(message),
                None => excerpt(&error.to_string()),
            };
            return Err(Failure::new(FailureKind::ErrorEvent, detail));
        }
        if chunk.usage.is_some() {
            self.usage = chunk.usage;
        }
        let Some(choice) = chunk.choices.into_iter().next() else {
            return Ok(());
        };
        if choice.has_token() {
            self.first_token_ns.get_or_insert(at_ns);
            self.last_token_ns = Some(at_ns);
            self.chunks += 1;
        }
        if choice.finish_reason.is_some() {
            // The token that ends a response is often told by its reason alone.
            self.last_token_ns = Some(at_ns);
            self.finish_reason = choice.finish_reason;
        }
        Ok(())
    }

    /// Whether all that the user wanted is there, though the stream may not have ended in order.
    pub fn is_whole(&self) -> bool {
        self.finish_reason.is_some() || (self.done && self.chunks > 0)
    }

    /// Tokens of the response: the server's count, or else the chunks.
    pub fn output_tokens(&self) -> u32 {
        self.usage.map_or(self.chunks, |u| u.completion_tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(events: &[&str]) -> Result<Answer, Failure> {
        let mut answer = Answer::default();
        for (at_ns, event) in (10..).step_by(10).zip(events) {
            answer.take(event, at_ns)?;
        }
        Ok(answer)
    }

    #[test]
    fn a_chat_begins_with_its_first_token_and_not_with_its_role() {
        let answer = taken(&[
            r#"{"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
            r#"{"choices":[{"delta":{"content":"a"},"finish_reason":null}],"usage":null}"#,
            r#"{"choices":[{"delta":{"content":""},"finish_reason":null}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}"#,
            "[DONE]",
        ]);
        let answer = answer.unwrap();
        assert_eq!(
            (answer.first_token_ns, answer.last_token_ns, answer.chunks),
            (Some(20), Some(40), 2)
        );
        assert_eq!((answer.output_tokens(), answer.done), (3, true));
        assert!(answer.is_whole());
    }

    #[test]
    fn a_completion_may_tell_its_reason_with_its_last_token() {
        let answer = taken(&[
            r#"{"choices":[{"text":"a","index":0,"finish_reason":null}]}"#,
            r#"{"choices":[{"text":"","index":0,"finish_reason":null}]}"#,
            r#"{"choices":[{"text":"c","index":0,"finish_reason":"length"}]}"#,
        ]);
        let answer = answer.unwrap();
        // Without usage, chunks are counted; without [DONE], the reason is enough.
        assert_eq!((answer.output_tokens(), answer.done), (3, false));
        assert_eq!(answer.finish_reason.as_deref(), Some("length"));
        assert!(answer.is_whole());
    }

    #[test]
    fn thoughts_and_calls_are_tokens_too() {
        let answer = taken(&[
            r#"{"choices":[{"delta":{"role":"assistant","reasoning_content":"so"}}]}"#,
            r#"{"choices":[{"delta":{"role":"assistant","tool_calls":[{"index":0}]}}]}"#,
        ]);
        let answer = answer.unwrap();
        assert_eq!((answer.chunks, answer.is_whole()), (2, false));
    }

    #[test]
    fn what_is_no_chunk_is_named() {
        let error = taken(&["{\"choices\":"]).unwrap_err();
        assert_eq!(error.kind, FailureKind::Malformed);
        assert!(error.detail.contains("'{\"choices\":'"), "{}", error.detail);
        let error = taken(&[r#"{"error":{"message":"out of memory","code":500}}"#]).unwrap_err();
        assert_eq!(error.to_string(), "error-event: out of memory");
        let answer = taken(&["[DONE]"]).unwrap();
        assert!(!answer.is_whole(), "nothing was said and no reason given");
    }
}
