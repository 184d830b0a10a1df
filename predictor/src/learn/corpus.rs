//! What is learned from: responses of known length, and which of them are held back.

use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) use elis_workloads::responses::Part;
use elis_workloads::responses::Response;
use sha2::{Digest, Sha256};

/// How samples are divided, 60 : 20 : 20 (ELIS, section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// By prompt: whatever any model said to it, at whatever step, is in one part.
    ByPrompt,
    /// By row, as the paper did: steps of one response are in several parts. Only to show what
    /// that makes of the figures.
    ByRow,
}

/// Responses with their prompts and sources numbered.
#[derive(Debug, Default)]
pub struct Corpus {
    /// The responses.
    pub responses: Vec<Response>,
    /// The different prompts.
    pub prompts: Vec<Arc<str>>,
    /// The prompt of each response.
    pub prompt_of: Vec<usize>,
    /// The models that answered, sorted.
    pub models: Vec<String>,
    /// The model of each response.
    pub model_of: Vec<usize>,
    /// Where prompts come from, sorted.
    pub sources: Vec<String>,
    /// The source of each response.
    pub source_of: Vec<usize>,
}

/// Numbers different names in their order.
fn numbered<'a>(names: impl Iterator<Item = &'a str> + Clone) -> (Vec<String>, Vec<usize>) {
    let mut known: Vec<String> = names.clone().map(str::to_owned).collect();
    known.sort_unstable();
    known.dedup();
    let number = |name: &str| known.partition_point(|other| other.as_str() < name);
    let of = names.map(number).collect();
    (known, of)
}

impl Corpus {
    /// Numbers what is in the responses.
    pub fn new(responses: Vec<Response>) -> Self {
        let mut known: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        let mut prompts = Vec::new();
        let mut prompt_of = Vec::with_capacity(responses.len());
        for response in &responses {
            let number = *known.entry(response.prompt.clone()).or_insert_with(|| {
                prompts.push(response.prompt.clone());
                prompts.len() - 1
            });
            prompt_of.push(number);
        }
        let (models, model_of) = numbered(responses.iter().map(|r| r.model.as_str()));
        let (sources, source_of) = numbered(responses.iter().map(|r| r.source.as_str()));
        Self {
            responses,
            prompts,
            prompt_of,
            models,
            model_of,
            sources,
            source_of,
        }
    }
}

impl Split {
    /// The part of a response at a step. It depends on their contents only, so that no order of
    /// files and no other data moves a prompt from one part to another.
    pub fn part(self, response: &Response, step: u32) -> Part {
        if self == Self::ByPrompt {
            return Part::of_prompt(&response.prompt);
        }
        let mut hash = Sha256::new();
        hash.update(response.prompt.as_bytes());
        hash.update([0]);
        hash.update(response.text.as_bytes());
        hash.update(response.model.as_bytes());
        hash.update(step.to_le_bytes());
        Part::of_digest(&hash.finalize().into())
    }
}

/// Made-up answers for tests: lists with as many items of 20 tokens as the prompt asks for, and up
/// to `spread_tokens` more that no word tells of.
#[cfg(test)]
pub(super) fn lists(count: u32, spread_tokens: u32) -> Corpus {
    let response = |i: u32| {
        let items = 2 + i % 9;
        let list = (1..=items).map(|n| format!("{n}. A fact about it.\n"));
        let tokens = 20 * items + i * 37 % spread_tokens;
        Response {
            id: i.to_string(),
            source: "s".to_owned(),
            licence: String::new(),
            model: "m".to_owned(),
            prompt: format!("List {items} facts about number {i}.").into(),
            text: list.collect::<String>().into(),
            prompt_tokens: 9,
            output_tokens: tokens,
            samples_tokens: vec![tokens],
        }
    };
    Corpus::new((0..count).map(response).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(prompt: &str, model: &str, text: &str) -> Response {
        Response {
            id: "1".to_owned(),
            source: "a".to_owned(),
            licence: String::new(),
            model: model.to_owned(),
            prompt: prompt.into(),
            text: text.into(),
            prompt_tokens: 1,
            output_tokens: 100,
            samples_tokens: vec![100],
        }
    }

    #[test]
    fn a_prompt_is_in_one_part_whoever_answers_and_at_any_step() {
        for prompt in ["one", "two", "three", "four", "five"] {
            let part = Split::ByPrompt.part(&response(prompt, "a", "x"), 0);
            for step in 0..9 {
                assert_eq!(
                    Split::ByPrompt.part(&response(prompt, "b", "y"), step),
                    part
                );
            }
        }
    }

    #[test]
    fn by_row_a_response_is_in_several_parts() {
        let response = response("one", "a", "x");
        let parts: std::collections::HashSet<Part> = (0..30)
            .map(|step| Split::ByRow.part(&response, step))
            .collect();
        assert_eq!(parts.len(), 3);
    }

    #[test]
    fn prompts_models_and_sources_are_numbered() {
        let responses = vec![
            response("p", "b", "x"),
            response("q", "a", "y"),
            response("p", "a", "z"),
        ];
        let corpus = Corpus::new(responses);
        assert_eq!(corpus.prompt_of, [0, 1, 0]);
        assert_eq!(corpus.models, ["a", "b"]);
        assert_eq!(corpus.model_of, [1, 0, 0]);
    }
}
