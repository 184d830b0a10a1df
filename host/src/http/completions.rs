//! `/v1/completions`: a prompt goes on as it is.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::answer::{Scored, Wording, answer};
use super::body::{parse, read};
use super::error::ApiError;
use super::keys::Caller;
use super::params::{Common, Prompt, logprobs_count};
use super::record::SharedRecord;
use super::server::{App, Shared, encode};
use super::unsupported::Unsupported;

const PARAM: &str = "prompt";
/// OpenAI's length of a response that names none.
const DEFAULT_TOKENS: u32 = 16;

/// Fields that only this API has.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a JSON object")]
struct Fields {
    prompt: Given,
    logprobs: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "prompt must be a string, an array of token ids, or an array with one of these"
)]
enum Given {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
    TokenLists(Vec<Vec<u32>>),
}

/// Continues a prompt.
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
    let logprobs = fields
        .logprobs
        .map(|count| logprobs_count("logprobs", count));
    let logprobs = logprobs.transpose()?;
    let streams = common.stream()?;
    let prompt = fields.prompt.read(&app).await?;
    let limits = app.limits();
    let request = common.request(prompt, logprobs, Some(DEFAULT_TOKENS), limits, &caller)?;
    answer(&app, request, PARAM, Completion::default(), streams, record).await
}

impl Given {
    async fn read(self, app: &App) -> Result<Prompt, ApiError> {
        let (text, tokens) = match self.single()? {
            (Some(text), _) => (text.clone(), encode(app, text, PARAM).await?),
            (None, tokens) => (String::new(), known(app, tokens)?),
        };
        Ok(Prompt {
            text,
            tokens,
            param: PARAM,
        })
    }

    /// The one prompt, as a text or as tokens.
    fn single(self) -> Result<(Option<String>, Vec<u32>), ApiError> {
        let several = || {
            let message = "one prompt a request is possible: send the others in requests of their \
                           own, they are batched all the same";
            ApiError::field(PARAM, message).code("unsupported_parameter")
        };
        match self {
            Self::Text(text) => Ok((Some(text), Vec::new())),
            Self::Tokens(tokens) => Ok((None, tokens)),
            Self::Texts(texts) => match <[String; 1]>::try_from(texts) {
                Ok([text]) => Ok((Some(text), Vec::new())),
                Err(_) => Err(several()),
            },
            Self::TokenLists(lists) => match <[Vec<u32>; 1]>::try_from(lists) {
                Ok([tokens]) => Ok((None, tokens)),
                Err(_) => Err(several()),
            },
        }
    }
}

/// Tokens of a client, if there are such.
fn known(app: &App, tokens: Vec<u32>) -> Result<Vec<u32>, ApiError> {
    let model = app.engine.model();
    if !model.reads_prompts {
        return Ok(tokens);
    }
    let size = model.vocabulary.size();
    let unknown = tokens.iter().position(|&token| token as usize >= size);
    match unknown {
        None => Ok(tokens),
        Some(at) => {
            let message = format!("token {} is not one of the model's {size}", tokens[at]);
            Err(ApiError::field(format!("prompt[{at}]"), message))
        }
    }
}

/// How this API words an answer.
#[derive(Debug, Default)]
struct Completion {
    /// Characters of the response so far.
    offset: usize,
}

#[derive(Debug, Serialize)]
struct Choice {
    index: u32,
    text: String,
    logprobs: Option<LogProbs>,
    finish_reason: Option<&'static str>,
}

/// Columns, one entry a token each.
#[derive(Debug, Default, Serialize)]
struct LogProbs {
    tokens: Vec<String>,
    token_logprobs: Vec<f32>,
    top_logprobs: Vec<Map<String, Value>>,
    /// Where the token begins, in characters.
    text_offset: Vec<usize>,
}

impl Completion {
    fn logprobs(&mut self, scored: impl IntoIterator<Item = Scored>) -> LogProbs {
        let mut columns = LogProbs::default();
        for (token, others) in scored {
            // The token itself stands among them even where it is not one of the likeliest.
            let all = others.iter().chain([&token]);
            let top = all.map(|one| (one.text.clone(), Value::from(one.logprob)));
            columns.top_logprobs.push(top.collect());
            columns.token_logprobs.push(token.logprob);
            columns.text_offset.push(self.offset);
            self.offset += token.text.chars().count();
            columns.tokens.push(token.text);
        }
        columns
    }
}

impl Wording for Completion {
    type Choice = Choice;
    const ID_PREFIX: &'static str = "cmpl-";
    const WHOLE: &'static str = "text_completion";
    const CHUNK: &'static str = "text_completion";

    fn opening(&self) -> Option<Choice> {
        None
    }

    fn delta(&mut self, text: String, scored: Option<Scored>) -> Choice {
        Choice {
            index: 0,
            text,
            logprobs: scored.map(|scored| self.logprobs([scored])),
            finish_reason: None,
        }
    }

    fn end(&self, reason: &'static str) -> Choice {
        Choice {
            index: 0,
            text: String::new(),
            logprobs: None,
            finish_reason: Some(reason),
        }
    }

    fn whole(&mut self, text: String, scored: Option<Vec<Scored>>, reason: &'static str) -> Choice {
        Choice {
            index: 0,
            text,
            logprobs: scored.map(|scored| self.logprobs(scored)),
            finish_reason: Some(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::LogProb;

    #[test]
    fn a_prompt_is_one_text_or_one_list_of_tokens() {
        let single = |json: &str| {
            let json = format!("{{\"prompt\": {json}}}");
            parse::<Fields>(json.as_bytes()).and_then(|fields| fields.prompt.single())
        };
        assert_eq!(single("\"a\"").unwrap(), (Some("a".to_owned()), vec![]));
        assert_eq!(single("[\"a\"]").unwrap(), (Some("a".to_owned()), vec![]));
        assert_eq!(single("[1, 2]").unwrap(), (None, vec![1, 2]));
        assert_eq!(single("[[1, 2]]").unwrap(), (None, vec![1, 2]));
        assert!(single("[\"a\", \"b\"]").is_err());
        assert!(single("[[1], [2]]").is_err());
        let wrong = single("3").unwrap_err().json();
        assert!(
            wrong.contains("prompt must be a string, an array of token ids"),
            "{wrong}"
        );
    }

    #[test]
    fn columns_of_probabilities_go_on_from_chunk_to_chunk() {
        let one = |text: &str, logprob| LogProb {
            token: 0,
            text: text.to_owned(),
            logprob,
        };
        let mut wording = Completion::default();
        let first = wording.delta(
            "né".to_owned(),
            Some((one("né", -2.0), vec![one("a", -1.0)])),
        );
        let second = wording.delta("b".to_owned(), Some((one("b", -1.0), Vec::new())));
        let first = serde_json::to_value(first.logprobs).unwrap();
        let expected = serde_json::json!({
            "tokens": ["né"], "token_logprobs": [-2.0], "text_offset": [0],
            "top_logprobs": [{"a": -1.0, "né": -2.0}],
        });
        assert_eq!(first, expected);
        assert_eq!(second.logprobs.unwrap().text_offset, [2]);
    }
}
