//! Fields of OpenAI's API, and widespread ones of others, that mean something we do not do. They
//! are refused where they ask for it, since a silent answer would be a wrong one.

use serde::Deserialize;
use serde_json::Value;

use super::error::ApiError;

/// Such fields; harmless values of them pass.
#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "a JSON object")]
pub(super) struct Unsupported {
    n: Option<Value>,
    best_of: Option<Value>,
    echo: Option<Value>,
    suffix: Option<Value>,
    tools: Option<Value>,
    tool_choice: Option<Value>,
    functions: Option<Value>,
    function_call: Option<Value>,
    response_format: Option<Value>,
    modalities: Option<Value>,
    audio: Option<Value>,
    logit_bias: Option<Value>,
    frequency_penalty: Option<Value>,
    presence_penalty: Option<Value>,
    min_p: Option<Value>,
    min_tokens: Option<Value>,
    ignore_eos: Option<Value>,
    use_beam_search: Option<Value>,
    continue_final_message: Option<Value>,
}

/// A field, what it may be, and what to do instead.
type Row<'a> = (
    &'static str,
    &'a Option<Value>,
    fn(&Value) -> bool,
    &'static str,
);

const ONE: &str = "one response a request is possible";
const TEXT: &str = "only text is possible";
const TOOLS: &str = "tools are not called";
const PENALTY: &str = "use repetition_penalty";

impl Unsupported {
    /// Refuses the first field that asks for something.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        let rows = self.rows();
        let asks = |row: &&Row<'_>| row.1.as_ref().is_some_and(|value| !row.2(value));
        match rows.iter().find(asks) {
            None => Ok(()),
            Some((name, _, _, advice)) => {
                let message = format!("{name} is not supported by this server: {advice}");
                Err(ApiError::field(*name, message).code("unsupported_parameter"))
            }
        }
    }

    fn rows(&self) -> [Row<'_>; 18] {
        let one: fn(&Value) -> bool = |value| *value == 1;
        let choice: fn(&Value) -> bool = |value| *value == "none" || *value == "auto";
        let format: fn(&Value) -> bool = |value| value["type"] == "text";
        let modality: fn(&Value) -> bool = |value| *value == serde_json::json!(["text"]);
        let none: fn(&Value) -> bool = is_nothing;
        // A response that does not heed its end has all the tokens that it may have.
        let long_anyway = self.ignore_eos.as_ref().is_some_and(|v| !is_nothing(v));
        let min_tokens = if long_anyway { &None } else { &self.min_tokens };
        let completions = "a message is not continued: use /v1/completions";
        [
            ("n", &self.n, one, ONE),
            ("best_of", &self.best_of, one, ONE),
            ("echo", &self.echo, none, "the response has no prompt in it"),
            ("suffix", &self.suffix, none, "text is only appended"),
            ("tools", &self.tools, none, TOOLS),
            ("tool_choice", &self.tool_choice, choice, TOOLS),
            ("functions", &self.functions, none, TOOLS),
            ("function_call", &self.function_call, choice, TOOLS),
            ("response_format", &self.response_format, format, TEXT),
            ("modalities", &self.modalities, modality, TEXT),
            ("audio", &self.audio, none, TEXT),
            ("logit_bias", &self.logit_bias, none, "there are no biases"),
            ("frequency_penalty", &self.frequency_penalty, none, PENALTY),
            ("presence_penalty", &self.presence_penalty, none, PENALTY),
            ("min_p", &self.min_p, none, "use top_p or top_k"),
            (
                "min_tokens",
                min_tokens,
                none,
                "use ignore_eos with max_tokens",
            ),
            (
                "use_beam_search",
                &self.use_beam_search,
                none,
                "there are no beams",
            ),
            (
                "continue_final_message",
                &self.continue_final_message,
                none,
                completions,
            ),
        ]
    }
}

/// Whether a value asks for nothing.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::body::parse;

    fn check(json: &str) -> Result<(), ApiError> {
        parse::<Unsupported>(json.as_bytes()).unwrap().check()
    }

    #[test]
    fn what_asks_for_nothing_passes() {
        let harmless = r#"{"n": 1, "best_of": 1, "echo": false, "suffix": null, "tools": [],
            "tool_choice": "none", "response_format": {"type": "text"}, "modalities": ["text"],
            "logit_bias": {}, "frequency_penalty": 0, "presence_penalty": 0.0, "min_p": 0,
            "ignore_eos": true, "min_tokens": 8, "stream": true}"#;
        check(harmless).unwrap();
        check("{}").unwrap();
    }

    #[test]
    fn what_asks_for_something_is_refused_by_name() {
        let cases = [
            ("n", "2"),
            ("best_of", "3"),
            ("echo", "true"),
            ("suffix", "\"end\""),
            ("tools", "[{}]"),
            ("tool_choice", "\"required\""),
            ("functions", "[{}]"),
            ("response_format", "{\"type\": \"json_object\"}"),
            ("modalities", "[\"text\", \"audio\"]"),
            ("logit_bias", "{\"5\": 1}"),
            ("frequency_penalty", "0.5"),
            ("presence_penalty", "-1"),
            ("min_p", "0.1"),
            ("min_tokens", "5"),
            ("continue_final_message", "true"),
        ];
        for (name, value) in cases {
            let error = check(&format!("{{\"{name}\": {value}}}"))
                .unwrap_err()
                .json();
            assert!(error.contains(&format!("\"param\":\"{name}\"")), "{error}");
            assert!(
                error.contains("\"code\":\"unsupported_parameter\""),
                "{error}"
            );
        }
    }
}
