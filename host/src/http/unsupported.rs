//! Fields of OpenAI's API, and widespread ones of others, that mean something we do not do. They are
//! refused where they ask for it, since a silent answer would be a wrong one.

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

impl Unsupported {
    /// Refuses the first field that asks for something.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        // A response that does not heed its end has all the tokens that it may have.
        let long_anyway = self.ignore_eos.as_ref().is_some_and(|v| !is_nothing(v));
        let min_tokens = self.min_tokens.as_ref().filter(|_| !long_anyway);
        let one = |value: &Value| *value == 1;
        let choice = |value: &Value| *value == "none" || *value == "auto";
        let format = |value: &Value| value["type"] == "text";
        let modality = |value: &Value| value.as_array().is_some_and(|m| *m == ["text"]);
        refuse(
            "n",
            &self.n,
            one,
            "one response a request is possible: leave n at 1",
        )?;
        refuse(
            "best_of",
            &self.best_of,
            one,
            "one response a request is possible",
        )?;
        refuse("tool_choice", &self.tool_choice, choice, TOOLS)?;
        refuse("function_call", &self.function_call, choice, TOOLS)?;
        let text = "only text is possible: leave response_format at {\"type\": \"text\"}";
        refuse("response_format", &self.response_format, format, text)?;
        refuse(
            "modalities",
            &self.modalities,
            modality,
            "only text is possible",
        )?;
        let penalty = "use repetition_penalty";
        let rest = [
            (
                "echo",
                self.echo.as_ref(),
                "the prompt is not repeated in the response",
            ),
            (
                "suffix",
                self.suffix.as_ref(),
                "text is not inserted before a suffix",
            ),
            ("tools", self.tools.as_ref(), TOOLS),
            ("functions", self.functions.as_ref(), TOOLS),
            ("audio", self.audio.as_ref(), "only text is possible"),
            (
                "logit_bias",
                self.logit_bias.as_ref(),
                "biases are not applied",
            ),
            (
                "frequency_penalty",
                self.frequency_penalty.as_ref(),
                penalty,
            ),
            ("presence_penalty", self.presence_penalty.as_ref(), penalty),
            ("min_p", self.min_p.as_ref(), "use top_p or top_k"),
            ("min_tokens", min_tokens, "use ignore_eos with max_tokens"),
            (
                "use_beam_search",
                self.use_beam_search.as_ref(),
                "there is no beam search",
            ),
            (
                "continue_final_message",
                self.continue_final_message.as_ref(),
                "a message is not continued: use /v1/completions",
            ),
        ];
        for (name, value, advice) in rest {
            refuse_some(name, value, is_nothing, advice)?;
        }
        Ok(())
    }
}

const TOOLS: &str = "tools are not called";

fn refuse(
    name: &'static str,
    value: &Option<Value>,
    harmless: impl Fn(&Value) -> bool,
    advice: &str,
) -> Result<(), ApiError> {
    refuse_some(name, value.as_ref(), harmless, advice)
}

fn refuse_some(
    name: &'static str,
    value: Option<&Value>,
    harmless: impl Fn(&Value) -> bool,
    advice: &str,
) -> Result<(), ApiError> {
    match value {
        Some(value) if !harmless(value) => {
            let message = format!("{name} is not supported by this server: {advice}");
            Err(ApiError::field(name, message).code("unsupported_parameter"))
        }
        _ => Ok(()),
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
