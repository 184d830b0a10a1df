//! The body that is sent for an arrival.

use std::ops::RangeInclusive;

use elis_workloads::{Arrival, DEFAULT_PRIORITY};
use serde_json::{Map, Value, json};

use super::prompt::Draw;

/// Which endpoint is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// `/v1/completions`: the prompt goes in as it is, as text or as token ids.
    Completions,
    /// `/v1/chat/completions`: the server applies the model's chat template.
    Chat,
}

impl Api {
    /// Its path.
    pub fn path(self) -> &'static str {
        match self {
            Self::Completions => "/v1/completions",
            Self::Chat => "/v1/chat/completions",
        }
    }
}

/// How long responses are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// As the workload says, by `max_tokens` and vLLM's `ignore_eos`.
    Exact,
    /// As the model will.
    Natural {
        /// The most tokens.
        max_tokens: u32,
        /// The workload's length goes along as `oracle_tokens`, for a server that is to know it
        /// beforehand (`elis serve --predictor oracle`).
        told: bool,
    },
}

/// Makes the bodies of one stream.
#[derive(Debug, Clone)]
pub struct RequestMaker {
    /// The endpoint.
    pub api: Api,
    /// The model's name.
    pub model: String,
    /// How long responses are.
    pub length: Length,
    /// Where made-up token ids lie.
    pub token_ids: RangeInclusive<u32>,
    /// Names of the tenants by index, sent as `user`; empty where there is but one.
    pub tenants: Vec<String>,
    /// Fields that every body gets; they go before all others.
    pub extra: Map<String, Value>,
}

impl RequestMaker {
    /// The body for an arrival, as JSON.
    pub fn body(&self, arrival: &Arrival, draw: Draw) -> Vec<u8> {
        let mut body = json!({
            "model": self.model,
            "stream": true,
            "stream_options": {"include_usage": true},
            "temperature": 0,
            "seed": draw.seed,
        });
        match self.api {
            Api::Completions => body["prompt"] = self.prompt(arrival, draw),
            Api::Chat => {
                let content = match &arrival.text {
                    Some(text) => text.prompt.to_string(),
                    None => draw.words(arrival.id, arrival.prompt_tokens),
                };
                body["messages"] = json!([{"role": "user", "content": content}]);
            }
        }
        match self.length {
            Length::Exact => {
                body["max_tokens"] = arrival.output_tokens.into();
                body["ignore_eos"] = true.into();
            }
            Length::Natural { max_tokens, told } => {
                body["max_tokens"] = max_tokens.into();
                if told {
                    body["oracle_tokens"] = arrival.output_tokens.into();
                }
            }
        }
        if let Some(tenant) = self.tenants.get(arrival.tenant as usize) {
            body["user"] = tenant.as_str().into();
        }
        if arrival.priority != DEFAULT_PRIORITY {
            body["priority"] = arrival.priority.into();
        }
        let deadlines = [
            ("ttft_deadline_ms", arrival.ttft_deadline_ns),
            ("deadline_ms", arrival.deadline_ns),
        ];
        for (name, deadline_ns) in deadlines.into_iter().filter(|(_, ns)| *ns > 0) {
            body[name] = deadline_ns.div_ceil(1_000_000).into();
        }
        for (key, value) in &self.extra {
            body[key] = value.clone();
        }
        body.to_string().into_bytes()
    }

    fn prompt(&self, arrival: &Arrival, draw: Draw) -> Value {
        match &arrival.text {
            Some(text) => (*text.prompt).into(),
            None => draw
                .token_ids(arrival.id, arrival.prompt_tokens, &self.token_ids)
                .into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use elis_workloads::responses::Response;

    use super::*;
    use crate::load::prompt::TOKEN_IDS;

    const DRAW: Draw = Draw { seed: 5, run: 0 };

    fn arrival(text: Option<&str>) -> Arrival {
        let text = text.map(|prompt| {
            Arc::new(Response {
                id: String::new(),
                source: String::new(),
                licence: String::new(),
                model: String::new(),
                prompt: prompt.into(),
                text: "".into(),
                prompt_tokens: 2,
                output_tokens: 7,
                samples_tokens: Vec::new(),
            })
        });
        Arrival {
            tenant: 1,
            text,
            ..Arrival::new(4, 0, 12, 7)
        }
    }

    fn maker(api: Api) -> RequestMaker {
        RequestMaker {
            api,
            model: "m".into(),
            length: Length::Exact,
            token_ids: TOKEN_IDS,
            tenants: Vec::new(),
            extra: Map::new(),
        }
    }

    fn body(maker: &RequestMaker, arrival: &Arrival) -> Value {
        serde_json::from_slice(&maker.body(arrival, DRAW)).unwrap()
    }

    #[test]
    fn lengths_become_token_ids_and_text_stays_text() {
        let sent = body(&maker(Api::Completions), &arrival(None));
        assert_eq!(sent["prompt"].as_array().unwrap().len(), 12);
        assert!(sent["prompt"][0].is_u64());
        assert_eq!(
            (&sent["max_tokens"], &sent["ignore_eos"], &sent["stream"]),
            (&json!(7), &json!(true), &json!(true))
        );
        assert_eq!(sent["stream_options"], json!({"include_usage": true}));
        assert_eq!(
            (&sent["temperature"], &sent["seed"]),
            (&json!(0), &json!(5))
        );
        assert!(sent.get("user").is_none() && sent.get("priority").is_none());
        let sent = body(&maker(Api::Completions), &arrival(Some("hi there")));
        assert_eq!(sent["prompt"], "hi there");
    }

    #[test]
    fn a_chat_gets_words() {
        let sent = body(&maker(Api::Chat), &arrival(None));
        let content = sent["messages"][0]["content"].as_str().unwrap();
        assert_eq!(content.split(' ').count(), 12);
        let sent = body(&maker(Api::Chat), &arrival(Some("hi")));
        assert_eq!(sent["messages"], json!([{"role": "user", "content": "hi"}]));
    }

    #[test]
    fn what_the_workload_knows_more_is_sent() {
        let mut maker = maker(Api::Completions);
        maker.tenants = ["a", "b"].map(String::from).into();
        let natural = |told| Length::Natural {
            max_tokens: 99,
            told,
        };
        maker.length = natural(false);
        maker.extra.insert("temperature".into(), json!(0.5));
        let mut arrival = arrival(None);
        arrival.priority = 3;
        arrival.deadline_ns = 1_500_000_001;
        let sent = body(&maker, &arrival);
        assert_eq!((&sent["user"], &sent["priority"]), (&json!("b"), &json!(3)));
        assert_eq!(
            (&sent["max_tokens"], &sent["deadline_ms"]),
            (&json!(99), &json!(1501))
        );
        assert!(sent.get("ttft_deadline_ms").is_none());
        assert!(sent.get("ignore_eos").is_none());
        assert_eq!(sent["temperature"], 0.5);
        assert!(sent.get("oracle_tokens").is_none());
        maker.length = natural(true);
        let sent = body(&maker, &arrival);
        assert_eq!(
            (&sent["max_tokens"], &sent["oracle_tokens"]),
            (&json!(99), &json!(7))
        );
    }
}
