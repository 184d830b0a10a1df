//! `/v1/chat/completions`.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::engine::LogProb;

use super::answer::{Scored, Wording, answer};
use super::body::{parse, read};
use super::error::ApiError;
use super::keys::Caller;
use super::messages::{self, Given, Message};
use super::params::{Common, Prompt, logprobs_count};
use super::record::SharedRecord;
use super::server::{App, Shared, encode};
use super::unsupported::Unsupported;

const PARAM: &str = "messages";

/// Fields that only this API has.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a JSON object")]
struct Fields {
    messages: Vec<Given>,
    logprobs: Option<bool>,
    top_logprobs: Option<u32>,
    /// vLLM's: whether the prompt ends with the beginning of the answer.
    add_generation_prompt: Option<bool>,
    /// vLLM's: further variables of the template.
    chat_template_kwargs: Option<Map<String, Value>>,
}

/// Answers a conversation.
pub(super) async fn handle(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Extension(record): Extension<SharedRecord>,
    body: Body,
) -> Result<Response, ApiError> {
    let bytes = read(body, app.options.max_body_bytes).await?;
    let common: Common = parse(&bytes)?;
    common.check_model(app.engine.model())?;
    parse::<Unsupported>(&bytes)?.check()?;
    let fields: Fields = parse(&bytes)?;
    drop(bytes);
    let logprobs = fields.logprobs_count()?;
    let streams = common.stream()?;
    let messages = messages::read(fields.messages)?;
    let add = fields.add_generation_prompt.unwrap_or(true);
    let more = fields.chat_template_kwargs;
    let prompt = prompt(&app, messages, add, more).await?;
    let limits = app.limits();
    let request = common.request(prompt, logprobs, None, limits, &caller)?;
    answer(&app, request, PARAM, Chat, streams, record).await
}

impl Fields {
    fn logprobs_count(&self) -> Result<Option<usize>, ApiError> {
        let wanted = self.logprobs.unwrap_or(false);
        match self.top_logprobs {
            Some(1..) if !wanted => {
                let message = "top_logprobs needs logprobs to be true";
                Err(ApiError::field("top_logprobs", message))
            }
            count if wanted => logprobs_count("top_logprobs", count.unwrap_or(0)).map(Some),
            _ => Ok(None),
        }
    }
}

async fn prompt(
    app: &App,
    messages: Vec<Message>,
    add_generation_prompt: bool,
    more: Option<Map<String, Value>>,
) -> Result<Prompt, ApiError> {
    let rendered = app
        .template
        .render(&messages, add_generation_prompt, more.as_ref());
    let rendered = rendered.map_err(|reason| {
        let message = format!("the model's chat template does not take this: {reason}");
        ApiError::field(PARAM, message).code("chat_template_failed")
    })?;
    Ok(Prompt {
        text: messages::text(&messages),
        tokens: encode(app, rendered, PARAM).await?,
        param: PARAM,
    })
}

/// How this API words an answer.
struct Chat;

#[derive(Debug, Serialize)]
struct Answered {
    role: &'static str,
    content: String,
}

#[derive(Debug, Default, Serialize)]
struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

#[derive(Debug, Serialize)]
struct Choice {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Answered>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<Delta>,
    logprobs: Option<LogProbs>,
    finish_reason: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct LogProbs {
    content: Vec<TokenLogProb>,
    refusal: Option<()>,
}

#[derive(Debug, Serialize)]
struct TokenLogProb {
    #[serde(flatten)]
    token: Alternative,
    top_logprobs: Vec<Alternative>,
}

#[derive(Debug, Serialize)]
struct Alternative {
    token: String,
    logprob: f32,
    /// Null where the token is a piece of a character.
    bytes: Option<Vec<u8>>,
}

impl From<LogProb> for Alternative {
    fn from(LogProb { text, logprob, .. }: LogProb) -> Self {
        let whole = !text.contains(char::REPLACEMENT_CHARACTER);
        Self {
            bytes: whole.then(|| text.clone().into_bytes()),
            token: text,
            logprob,
        }
    }
}

impl LogProbs {
    fn new(scored: impl IntoIterator<Item = Scored>) -> Self {
        let tokens = scored.into_iter().map(|(token, others)| TokenLogProb {
            token: token.into(),
            top_logprobs: others.into_iter().map(Alternative::from).collect(),
        });
        Self {
            content: tokens.collect(),
            refusal: None,
        }
    }
}

impl Chat {
    fn chunk(delta: Delta) -> Choice {
        Choice {
            index: 0,
            message: None,
            delta: Some(delta),
            logprobs: None,
            finish_reason: None,
        }
    }
}

impl Wording for Chat {
    type Choice = Choice;
    const ID_PREFIX: &'static str = "chatcmpl-";
    const WHOLE: &'static str = "chat.completion";
    const CHUNK: &'static str = "chat.completion.chunk";

    fn opening(&self) -> Option<Choice> {
        Some(Self::chunk(Delta {
            role: Some("assistant"),
            content: Some(String::new()),
        }))
    }

    fn delta(&mut self, text: String, scored: Option<Scored>) -> Choice {
        Choice {
            logprobs: scored.map(|scored| LogProbs::new([scored])),
            ..Self::chunk(Delta {
                role: None,
                content: Some(text),
            })
        }
    }

    fn end(&self, reason: &'static str) -> Choice {
        Choice {
            finish_reason: Some(reason),
            ..Self::chunk(Delta::default())
        }
    }

    fn whole(&mut self, text: String, scored: Option<Vec<Scored>>, reason: &'static str) -> Choice {
        Choice {
            index: 0,
            message: Some(Answered {
                role: "assistant",
                content: text,
            }),
            delta: None,
            logprobs: scored.map(LogProbs::new),
            finish_reason: Some(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_are_asked_for_in_two_fields() {
        let count = |json: &str| {
            let json = format!("{{\"messages\": [], {json}}}");
            parse::<Fields>(json.as_bytes()).unwrap().logprobs_count()
        };
        assert_eq!(count(r#""logprobs": true"#).unwrap(), Some(0));
        assert_eq!(
            count(r#""logprobs": true, "top_logprobs": 5"#).unwrap(),
            Some(5)
        );
        assert_eq!(count(r#""logprobs": false"#).unwrap(), None);
        assert_eq!(count(r#""top_logprobs": 0"#).unwrap(), None);
        assert!(count(r#""top_logprobs": 5"#).is_err());
        assert!(count(r#""logprobs": true, "top_logprobs": 21"#).is_err());
    }

    #[test]
    fn a_piece_of_a_character_has_no_bytes() {
        let scored = |text: &str| LogProb {
            token: 1,
            text: text.to_owned(),
            logprob: -0.5,
        };
        let logprobs = LogProbs::new([(scored("é"), vec![scored("\u{fffd}")])]);
        let expected = serde_json::json!({
            "content": [{
                "token": "é", "logprob": -0.5, "bytes": [195, 169],
                "top_logprobs": [{"token": "\u{fffd}", "logprob": -0.5, "bytes": null}],
            }],
            "refusal": null,
        });
        assert_eq!(serde_json::to_value(logprobs).unwrap(), expected);
    }
}
