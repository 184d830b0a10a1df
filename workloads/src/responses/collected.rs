//! Rows of `elis-responses/1`: one response each, with its prompt.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::WorkloadError;
use crate::readers::jsonl::objects;
use crate::responses::{Response, ResponseFile};
use crate::source::Source;

/// What the rows call themselves.
pub(super) const SCHEMA: &str = "elis-responses/1";

/// What the samples of one prompt have in common: source, id, model.
type Key = (String, String, String);

/// What is kept of a prompt until all its samples are read.
struct Samples {
    prompt: Arc<str>,
    tokens: Vec<u32>,
}

/// Reads the rows; samples of one prompt share its text and know each other's lengths.
pub(super) fn read(source: &Source, file: &mut ResponseFile) -> Result<(), WorkloadError> {
    let mut samples: BTreeMap<Key, Samples> = BTreeMap::new();
    for row in objects(source) {
        let row = row?;
        let schema = row.text("schema", "schema")?;
        if schema != SCHEMA {
            let problem = format!("schema '{schema}' is not known; this version reads '{SCHEMA}'");
            return Err(row.error_at("schema", problem));
        }
        let key = (
            row.text("source", "source")?.to_owned(),
            row.text("id", "id of the prompt")?.to_owned(),
            row.text("model", "model")?.to_owned(),
        );
        let prompt = row.text("prompt", "prompt")?;
        let text = row.text("response", "response")?;
        let licence = row.text_or_empty("licence", "licence")?;
        let prompt_tokens = row.tokens(&["prompt_tokens"], "prompt tokens")?;
        let output_tokens = row.tokens(&["output_tokens"], "output tokens")?;
        if output_tokens == 0 {
            file.skipped += 1;
            continue;
        }
        let known = samples.entry(key.clone()).or_insert_with(|| Samples {
            prompt: prompt.into(),
            tokens: Vec::new(),
        });
        known.tokens.push(output_tokens);
        let (source, id, model) = key;
        file.responses.push(Response {
            id,
            source,
            licence: licence.to_owned(),
            model,
            // The same id may stand for another text in a file that was put together by hand.
            prompt: if *known.prompt == *prompt {
                Arc::clone(&known.prompt)
            } else {
                prompt.into()
            },
            text: text.into(),
            prompt_tokens,
            output_tokens,
            samples_tokens: Vec::new(),
        });
    }
    for response in &mut file.responses {
        let key = (
            response.source.clone(),
            response.id.clone(),
            response.model.clone(),
        );
        if let Some(known) = samples.get(&key) {
            response.samples_tokens.clone_from(&known.tokens);
        }
    }
    Ok(())
}
