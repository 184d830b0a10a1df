//! How long responses were, of which the text may be lost: all that an encoder is fitted to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::WorkloadError;
use crate::readers::table::Table;
use crate::responses::prompts::{self, Prompts};
use crate::responses::read_source;
use crate::source::Source;

/// The lengths of what one model answered to one prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The data set that the prompt is from, e.g. `castillo/Mbpp`.
    pub source: String,
    /// The licence of the prompt; empty where it is not known.
    pub licence: String,
    /// The model that answered.
    pub model: String,
    /// The prompt's text.
    pub prompt: Arc<str>,
    /// Lengths of all samples, as the model counted them, each at least 1.
    pub samples_tokens: Vec<u32>,
}

/// Reads the lengths of a file, `.gz` or not: any file that [`super::open`] reads, or CASTILLO's
/// table of lengths (`prompt_id,dataset,model,…,o0,o1,…`), whose prompts are found as there.
///
/// # Errors
///
/// Those of [`super::open`].
pub fn answered(path: &Path, prompts: &[PathBuf]) -> Result<Vec<Answered>, WorkloadError> {
    let source = Source::open(path)?;
    if source.bytes.trim_ascii_start().first() == Some(&b'{') {
        return of_responses(path, &source, prompts);
    }
    let prompts = prompts::read(path, prompts, &mut Vec::new())?;
    let answers = of_table(&source, &prompts)?;
    if answers.is_empty() {
        return Err(WorkloadError::Empty { path: source.path });
    }
    Ok(answers)
}

fn of_responses(
    path: &Path,
    source: &Source,
    prompts: &[PathBuf],
) -> Result<Vec<Answered>, WorkloadError> {
    let file = read_source(path, source, prompts)?;
    let answers = file.responses.into_iter().map(|response| Answered {
        source: response.source,
        licence: response.licence,
        model: response.model,
        prompt: response.prompt,
        samples_tokens: response.samples_tokens,
    });
    Ok(answers.collect())
}

fn of_table(source: &Source, prompts: &Prompts) -> Result<Vec<Answered>, WorkloadError> {
    let mut table = Table::open(source)?;
    let id = table.column(&["prompt_id"])?;
    let dataset = table.column(&["dataset"])?;
    let model = table.column(&["model"])?;
    let mut samples = vec![table.column(&["o0"])?];
    while let Some(next) = table.find(&[&format!("o{}", samples.len())]) {
        samples.push(next);
    }
    let mut answers = Vec::new();
    while let Some(row) = table.next_row()? {
        let of = format!("castillo/{}", row.text(dataset));
        let Some(prompt) = prompts.find(&of, row.text(id)) else {
            return Err(row.at(id, prompts.missing(&of, row.text(id))));
        };
        let mut samples_tokens = Vec::with_capacity(samples.len());
        for &column in &samples {
            samples_tokens.push(row.tokens(column, "output tokens")?);
        }
        samples_tokens.retain(|tokens| *tokens > 0);
        if !samples_tokens.is_empty() {
            answers.push(Answered {
                source: of,
                licence: prompt.licence.clone(),
                model: row.text(model).replacen("--", "/", 1),
                prompt: Arc::clone(&prompt.text),
                samples_tokens,
            });
        }
    }
    Ok(answers)
}
