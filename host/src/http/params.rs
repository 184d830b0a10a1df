//! What both APIs say of how to generate, and of who asks.

use std::sync::Arc;
use std::time::Duration;

use elis_llm::Sampling;
use serde::Deserialize;

use crate::engine::{GenerateRequest, ServedModel};

use super::error::ApiError;
use super::keys::Caller;
use super::limits::Limits;

/// The priority of a request that names none.
const PRIORITY: u32 = 100;
/// The longest name of a tenant.
const TENANT_BYTES_MAX: usize = 256;
/// The most texts of `stop`.
const STOPS_MAX: usize = 16;
/// The longest of them.
const STOP_BYTES_MAX: usize = 1024;
/// The most alternatives that a token comes with.
pub(super) const LOGPROBS_MAX: usize = 20;

/// Fields of a request that both APIs have.
#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "a JSON object")]
pub(super) struct Common {
    /// Which model; the one that is served where it is missing.
    pub(super) model: Option<String>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<i64>,
    repetition_penalty: Option<f32>,
    seed: Option<i64>,
    stop: Option<Stop>,
    ignore_eos: Option<bool>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    user: Option<String>,
    priority: Option<u32>,
    deadline_ms: Option<u64>,
    ttft_deadline_ms: Option<u64>,
    oracle_tokens: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "stop must be a string or an array of strings")]
enum Stop {
    One(String),
    Many(Vec<String>),
}

/// How a stream is sent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct StreamOptions {
    /// A last chunk with the usage.
    #[serde(default)]
    pub(super) include_usage: bool,
    /// The usage so far in every chunk, as vLLM has it.
    #[serde(default)]
    pub(super) continuous_usage_stats: bool,
}

/// A prompt as the predictor and as the model read it.
#[derive(Debug)]
pub(super) struct Prompt {
    pub(super) text: String,
    pub(super) tokens: Vec<u32>,
    /// The field that it came in.
    pub(super) param: &'static str,
}

impl Common {
    /// Whether the model that is asked for is the one that is served.
    pub(super) fn check_model(&self, served: &ServedModel) -> Result<(), ApiError> {
        match &self.model {
            Some(model) if *model != served.id => Err(super::models::unknown(model, served)),
            _ => Ok(()),
        }
    }

    /// How to stream, if at all.
    pub(super) fn stream(&self) -> Result<Option<StreamOptions>, ApiError> {
        let streams = self.stream.unwrap_or(false);
        if !streams && self.stream_options.is_some() {
            let message = "stream_options is for streams only: set stream to true, or leave it out";
            return Err(ApiError::field("stream_options", message));
        }
        Ok(streams.then(|| self.stream_options.unwrap_or_default()))
    }

    /// What the engine is asked. `default_tokens` is the length of a response where the request
    /// names none, all that fits for `None`.
    pub(super) fn request(
        self,
        prompt: Prompt,
        logprobs: Option<usize>,
        default_tokens: Option<u32>,
        limits: Limits,
        caller: &Caller,
    ) -> Result<GenerateRequest, ApiError> {
        if prompt.tokens.is_empty() {
            return Err(ApiError::field(prompt.param, "the prompt is empty"));
        }
        let asked = self.max_completion_tokens.or(self.max_tokens);
        let max_new_tokens = limits.response_tokens(&prompt, asked, default_tokens)?;
        Ok(GenerateRequest {
            max_new_tokens,
            sampling: self.sampling()?,
            tenant: self.tenant(caller)?,
            ttft_deadline: deadline("ttft_deadline_ms", self.ttft_deadline_ms)?,
            oracle_tokens: self.oracle_tokens,
            deadline: deadline("deadline_ms", self.deadline_ms)?,
            priority: self.priority.unwrap_or(PRIORITY),
            ignore_eos: self.ignore_eos.unwrap_or(false),
            stop: stops(self.stop)?,
            logprobs,
            prompt: prompt.text.into(),
            prompt_tokens: Arc::from(prompt.tokens),
        })
    }

    fn sampling(&self) -> Result<Sampling, ApiError> {
        let temperature = self.temperature.unwrap_or(1.0);
        in_range("temperature", temperature, 0.0, 2.0)?;
        let top_p = self.top_p.unwrap_or(1.0);
        in_range("top_p", top_p, 0.0, 1.0)?;
        let repetition_penalty = self.repetition_penalty.unwrap_or(1.0);
        in_range("repetition_penalty", repetition_penalty, 0.01, 10.0)?;
        // vLLM says -1 for all of them.
        let top_k = match self.top_k.unwrap_or(0) {
            -1 => 0,
            top_k => usize::try_from(top_k).map_err(|_| {
                ApiError::field("top_k", "top_k must be at least 1, or 0 or -1 for no limit")
            })?,
        };
        Ok(Sampling {
            temperature,
            top_p,
            top_k,
            repetition_penalty,
            seed: self
                .seed
                .map_or_else(rand::random, |seed| seed.cast_unsigned()),
        })
    }

    /// The name of the key where keys are in use, since a client can write anything into `user`.
    fn tenant(&self, caller: &Caller) -> Result<String, ApiError> {
        let user = self.user.clone().unwrap_or_default();
        if user.len() > TENANT_BYTES_MAX {
            let message = format!("user is longer than {TENANT_BYTES_MAX} bytes");
            return Err(ApiError::field("user", message));
        }
        Ok(caller.0.clone().unwrap_or(user))
    }
}

fn stops(stop: Option<Stop>) -> Result<Vec<String>, ApiError> {
    let stops = match stop {
        None => Vec::new(),
        Some(Stop::One(text)) => vec![text],
        Some(Stop::Many(texts)) => texts,
    };
    if stops.len() > STOPS_MAX {
        let message = format!(
            "stop has {} texts, at most {STOPS_MAX} are allowed",
            stops.len()
        );
        return Err(ApiError::field("stop", message));
    }
    if stops.iter().any(String::is_empty) {
        return Err(ApiError::field("stop", "a text of stop must not be empty"));
    }
    if stops.iter().any(|text| text.len() > STOP_BYTES_MAX) {
        let message = format!("a text of stop is longer than {STOP_BYTES_MAX} bytes");
        return Err(ApiError::field("stop", message));
    }
    Ok(stops)
}

fn deadline(param: &'static str, given_ms: Option<u64>) -> Result<Option<Duration>, ApiError> {
    if given_ms == Some(0) {
        let message = format!("{param} must be at least 1 millisecond from now");
        return Err(ApiError::field(param, message));
    }
    Ok(given_ms.map(Duration::from_millis))
}

fn in_range(param: &'static str, value: f32, low: f32, high: f32) -> Result<(), ApiError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    let message = format!("{param} is {value}, and must be between {low} and {high}");
    Err(ApiError::field(param, message))
}

/// Checks how many alternatives are asked for.
pub(super) fn logprobs_count(param: &'static str, count: u32) -> Result<usize, ApiError> {
    match usize::try_from(count) {
        Ok(count) if count <= LOGPROBS_MAX => Ok(count),
        _ => {
            let message = format!("{param} is {count}, at most {LOGPROBS_MAX} are possible");
            Err(ApiError::field(param, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::body::parse;

    const LIMITS: Limits = Limits {
        context_tokens: 100,
        response_tokens_max: None,
        retry_after_s: 1,
    };

    fn request(json: &str) -> Result<GenerateRequest, ApiError> {
        request_of(json, &Caller(None))
    }

    fn request_of(json: &str, caller: &Caller) -> Result<GenerateRequest, ApiError> {
        let common: Common = parse(json.as_bytes())?;
        let prompt = Prompt {
            text: "ab".to_owned(),
            tokens: vec![1, 2],
            param: "prompt",
        };
        common.request(prompt, None, Some(16), LIMITS, caller)
    }

    #[test]
    fn defaults_are_those_of_openai() {
        let request = request("{}").unwrap();
        assert_eq!(request.max_new_tokens, 16);
        assert_eq!(request.priority, 100);
        let sampling = request.sampling;
        assert_eq!((sampling.temperature, sampling.top_p), (1.0, 1.0));
        assert_eq!((sampling.top_k, sampling.repetition_penalty), (0, 1.0));
        assert!(request.tenant.is_empty() && request.stop.is_empty() && !request.ignore_eos);
    }

    #[test]
    fn every_field_arrives() {
        let request = request(
            r#"{"max_tokens": 3, "max_completion_tokens": 5, "temperature": 0, "top_p": 0.5,
                "top_k": 40, "repetition_penalty": 1.5, "seed": -1, "stop": "\n", "user": "acme",
                "ignore_eos": true, "priority": 7, "deadline_ms": 1500, "ttft_deadline_ms": 200,
                "who knows": {"this": "?"}, "model": null}"#,
        );
        let request = request.unwrap();
        assert_eq!(request.max_new_tokens, 5);
        let sampling = Sampling {
            temperature: 0.0,
            top_p: 0.5,
            top_k: 40,
            repetition_penalty: 1.5,
            seed: u64::MAX,
        };
        assert_eq!(request.sampling, sampling);
        assert_eq!(request.stop, ["\n"]);
        assert_eq!((request.tenant.as_str(), request.priority), ("acme", 7));
        assert_eq!(request.deadline, Some(Duration::from_millis(1500)));
        assert_eq!(request.ttft_deadline, Some(Duration::from_millis(200)));
        assert!(request.ignore_eos);
    }

    #[test]
    fn a_key_outranks_the_user_field() {
        let caller = Caller(Some("acme".to_owned()));
        let request = request_of(r#"{"user": "umbrella"}"#, &caller).unwrap();
        assert_eq!(request.tenant, "acme");
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let cases = [
            (r#"{"temperature": 2.5}"#, "temperature"),
            (r#"{"temperature": 1e30}"#, "temperature"),
            (r#"{"top_p": -0.1}"#, "top_p"),
            (r#"{"top_k": -2}"#, "top_k"),
            (r#"{"repetition_penalty": 0}"#, "repetition_penalty"),
            (r#"{"stop": ["a", ""]}"#, "stop"),
            (r#"{"stop": [1]}"#, "stop"),
            (r#"{"stop": [1,1]}"#, "stop"),
            (r#"{"max_tokens": 0}"#, "max_tokens"),
            (r#"{"max_tokens": -1}"#, "max_tokens"),
            (r#"{"max_tokens": 99}"#, "prompt"),
            (r#"{"priority": -1}"#, "priority"),
            (r#"{"deadline_ms": 0}"#, "deadline_ms"),
        ];
        for (json, param) in cases {
            let error = request(json).unwrap_err().json();
            assert!(error.contains(&format!("\"param\":\"{param}\"")), "{error}");
        }
    }

    #[test]
    fn there_are_not_too_many_stops() {
        let request = |count| request(&serde_json::json!({"stop": vec!["a"; count]}).to_string());
        assert_eq!(request(STOPS_MAX).unwrap().stop.len(), STOPS_MAX);
        assert!(request(STOPS_MAX + 1).is_err());
    }

    #[test]
    fn stream_options_are_for_streams() {
        let stream = |json: &str| parse::<Common>(json.as_bytes()).unwrap().stream();
        assert_eq!(stream("{}").unwrap(), None);
        assert_eq!(
            stream(r#"{"stream": true}"#).unwrap(),
            Some(StreamOptions::default())
        );
        let usage = stream(r#"{"stream": true, "stream_options": {"include_usage": true}}"#);
        assert!(usage.unwrap().unwrap().include_usage);
        assert!(stream(r#"{"stream_options": {"include_usage": true}}"#).is_err());
    }
}
