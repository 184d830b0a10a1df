//! The messages of a conversation, as clients send them and as templates read them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::ApiError;

/// A message as it comes.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a message, an object with role and content")]
pub(super) struct Given {
    role: String,
    content: Option<Content>,
    name: Option<String>,
    tool_calls: Option<Value>,
    function_call: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "content must be a string or an array of parts")]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    r#type: String,
    text: Option<String>,
}

/// A message as templates read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Message {
    pub(super) role: String,
    pub(super) content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
}

/// Messages as templates read them, or what is wrong with them.
pub(super) fn read(given: Vec<Given>) -> Result<Vec<Message>, ApiError> {
    if given.is_empty() {
        return Err(ApiError::field("messages", "messages must not be empty"));
    }
    let messages = given.into_iter().enumerate();
    messages.map(|(at, message)| message.read(at)).collect()
}

/// What the predictor reads of a conversation: what was said, without the template around it.
pub(super) fn text(messages: &[Message]) -> String {
    let said = messages.iter().map(|message| message.content.as_str());
    said.collect::<Vec<_>>().join("\n")
}

impl Given {
    fn read(self, at: usize) -> Result<Message, ApiError> {
        let calls = [&self.tool_calls, &self.function_call];
        let calls = calls.into_iter().flatten();
        if calls
            .into_iter()
            .any(|calls| *calls != Value::Array(Vec::new()))
        {
            let message = "a message with calls of tools is not supported";
            let error = ApiError::field(format!("messages[{at}].tool_calls"), message);
            return Err(error.code("unsupported_parameter"));
        }
        let role = match self.role.as_str() {
            // OpenAI's newer word for the same; templates know the older one.
            "developer" => "system".to_owned(),
            "system" | "user" | "assistant" => self.role,
            other => {
                let message = format!(
                    "the role {other:?} is not supported: use system, developer, user or assistant"
                );
                return Err(ApiError::field(format!("messages[{at}].role"), message));
            }
        };
        let content = match self.content {
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => join(parts, at)?,
            None if role == "assistant" => String::new(),
            None => {
                let param = format!("messages[{at}].content");
                return Err(ApiError::field(param, "the message has no content"));
            }
        };
        Ok(Message {
            role,
            content,
            name: self.name,
        })
    }
}

/// Parts stand on lines of their own, as vLLM has it.
fn join(parts: Vec<Part>, at: usize) -> Result<String, ApiError> {
    let mut texts = Vec::with_capacity(parts.len());
    for (number, part) in parts.into_iter().enumerate() {
        match part.text {
            Some(text) if part.r#type == "text" => texts.push(text),
            _ => {
                let message = format!("only parts of text are possible, not {:?}", part.r#type);
                let param = format!("messages[{at}].content[{number}]");
                return Err(ApiError::field(param, message).code("unsupported_parameter"));
            }
        }
    }
    Ok(texts.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(json: &str) -> Result<Vec<Message>, ApiError> {
        read(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn content_is_a_string_or_parts() {
        let messages = messages(
            r#"[{"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "one"},
                                             {"type": "text", "text": "two"}], "name": "Ada"},
                {"role": "assistant", "content": null, "tool_calls": []}]"#,
        );
        let messages = messages.unwrap();
        let said: Vec<_> = messages.iter().map(|m| (&*m.role, &*m.content)).collect();
        let expected = [
            ("system", "Be brief."),
            ("user", "one\ntwo"),
            ("assistant", ""),
        ];
        assert_eq!(said, expected);
        assert_eq!(messages[1].name.as_deref(), Some("Ada"));
        assert_eq!(text(&messages[..2]), "Be brief.\none\ntwo");
    }

    #[test]
    fn what_is_not_text_is_named() {
        let cases = [
            ("[]", "messages"),
            (r#"[{"role": "user"}]"#, "messages[0].content"),
            (r#"[{"role": "tool", "content": "3"}]"#, "messages[0].role"),
            (
                r#"[{"role": "user", "content": [{"type": "text", "text": "a"},
                                                 {"type": "image_url", "image_url": {}}]}]"#,
                "messages[0].content[1]",
            ),
            (
                r#"[{"role": "assistant", "tool_calls": [{"id": "1"}]}]"#,
                "messages[0].tool_calls",
            ),
        ];
        for (json, param) in cases {
            let error = messages(json).unwrap_err().json();
            assert!(error.contains(&format!("\"param\":\"{param}\"")), "{error}");
        }
    }
}
