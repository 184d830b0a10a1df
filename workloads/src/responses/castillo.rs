//! CASTILLO (arXiv 2505.16881): each row has the lengths of ten samples of one prompt, and the text
//! of the longest and of the shortest.

use std::path::Path;
use std::sync::Arc;

use crate::error::WorkloadError;
use crate::readers::jsonl::objects;
use crate::responses::prompts::Prompts;
use crate::responses::{Response, ResponseFile};
use crate::source::Source;

/// What the names of the files begin with, before the model.
const PREFIX: &str = "castillo_responses_";

/// Reads two responses a row.
pub(super) fn read(
    path: &Path,
    source: &Source,
    prompts: &Prompts,
    file: &mut ResponseFile,
) -> Result<(), WorkloadError> {
    let model = model(path);
    for row in objects(source) {
        let row = row?;
        let id = row.text("prompt_id", "id of the prompt")?;
        let dataset = format!("castillo/{}", row.text("dataset", "data set")?);
        let mut samples_tokens = row.token_list("output_sizes", "output sizes")?;
        let texts = [
            row.text("longest", "longest response")?,
            row.text("shortest", "shortest response")?,
        ];
        let prompt_tokens = row.tokens(&["input_size"], "prompt tokens")?;
        let Some(prompt) = prompts.find(&dataset, id) else {
            return Err(row.error_at("prompt_id", prompts.missing(&dataset, id)));
        };
        let longest = samples_tokens.iter().max().copied().unwrap_or(0);
        let shortest = samples_tokens.iter().min().copied().unwrap_or(0);
        samples_tokens.retain(|tokens| *tokens > 0);
        for (output_tokens, text) in [longest, shortest].into_iter().zip(texts) {
            if output_tokens == 0 {
                file.skipped += 1;
                continue;
            }
            file.responses.push(Response {
                id: id.to_owned(),
                source: dataset.clone(),
                licence: prompt.licence.clone(),
                model: model.clone(),
                prompt: Arc::clone(&prompt.text),
                text: text.into(),
                prompt_tokens,
                output_tokens,
                samples_tokens: samples_tokens.clone(),
            });
        }
    }
    file.notes.push(
        "each prompt is there with its longest and its shortest response: lengths spread more \
         than those of single samples"
            .to_owned(),
    );
    Ok(())
}

/// The model's name, which only the file's name tells: `castillo_responses_ORG--NAME.jsonl.gz`.
fn model(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".gz").unwrap_or(&name);
    let stem = stem.strip_suffix(".jsonl").unwrap_or(stem);
    let stem = stem.strip_prefix(PREFIX).unwrap_or(stem);
    stem.replacen("--", "/", 1)
}
