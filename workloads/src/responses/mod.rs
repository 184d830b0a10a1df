//! Responses with their text: what a served model really answered, for predictors that read.
//!
//! Two forms of JSON lines are known by their fields: rows of `elis-responses/1`, as
//! `elis-predictor collect` writes them, and rows of CASTILLO, which hold the longest and the
//! shortest of several samples and name their prompts by id.

mod answered;
mod castillo;
mod collected;
mod part;
mod prompts;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::WorkloadError;
use crate::provenance::SourceRecord;
use crate::readers::jsonl::objects;
use crate::source::Source;

pub use answered::{Answered, answered};
pub use part::Part;

/// One response of one model to one prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The prompt's id, unique in its source.
    pub id: String,
    /// The data set that the prompt is from, e.g. `castillo/Mbpp`.
    pub source: String,
    /// The licence of the prompt; empty where it is not known.
    pub licence: String,
    /// The model that answered.
    pub model: String,
    /// The prompt's text.
    pub prompt: Arc<str>,
    /// The response's text.
    pub text: Arc<str>,
    /// Length of the prompt as the model counted it.
    pub prompt_tokens: u32,
    /// Length of the response as the model counted it, at least 1.
    pub output_tokens: u32,
    /// Lengths of all samples that the model gave to the prompt, this one included; those without
    /// a token are left out.
    pub samples_tokens: Vec<u32>,
}

impl Response {
    /// The text as it stands after `tokens` generated tokens. The served model's tokenizer is not
    /// known, so the text is cut in proportion of its characters; the cut never moves back as
    /// `tokens` grow.
    #[must_use]
    pub fn after(&self, tokens: u32) -> &str {
        if tokens >= self.output_tokens {
            return &self.text;
        }
        let share = |characters: usize| {
            let kept = characters as u64 * u64::from(tokens) / u64::from(self.output_tokens);
            kept as usize
        };
        // Most responses are ASCII, where characters are bytes and need no counting.
        if self.text.is_ascii() {
            return &self.text[..share(self.text.len())];
        }
        let end = share(self.text.chars().count());
        let end = self.text.char_indices().nth(end);
        end.map_or(&self.text, |(at, _)| &self.text[..at])
    }
}

/// A file of responses, as read.
#[derive(Debug, Clone, PartialEq)]
pub struct ResponseFile {
    /// The responses, in the file's order, at least one.
    pub responses: Vec<Response>,
    /// How many responses were left out because they have no token.
    pub skipped: u64,
    /// What a reader of figures should know about the file.
    pub notes: Vec<String>,
    /// The file.
    pub source: SourceRecord,
    /// The files of prompts that were read for it.
    pub inputs: Vec<SourceRecord>,
}

/// Reads the responses of a file, as [`open`] does.
///
/// # Errors
///
/// Those of [`open`].
pub fn read(path: &Path, prompts: &[PathBuf]) -> Result<Vec<Response>, WorkloadError> {
    Ok(open(path, prompts)?.responses)
}

/// Reads a file of responses, `.gz` or not. `prompts` are files of prompts, for rows that name
/// theirs by id; where none are given, `../prompts/castillo_prompts.jsonl.gz` beside the file is
/// taken if it is there. Of two files that know a prompt, the first one's text counts.
///
/// # Errors
///
/// [`WorkloadError::Read`] for a file that cannot be read, [`WorkloadError::At`] for a line that
/// does not fit or a prompt that no file knows, [`WorkloadError::Empty`] if no response is left.
pub fn open(path: &Path, prompts: &[PathBuf]) -> Result<ResponseFile, WorkloadError> {
    read_source(path, &Source::open(path)?, prompts)
}

/// Reads the responses of a file that is open.
pub(crate) fn read_source(
    path: &Path,
    source: &Source,
    prompts: &[PathBuf],
) -> Result<ResponseFile, WorkloadError> {
    let empty = || WorkloadError::Empty {
        path: source.path.clone(),
    };
    let mut file = ResponseFile {
        responses: Vec::new(),
        skipped: 0,
        notes: Vec::new(),
        source: SourceRecord {
            format: "responses".to_owned(),
            path: source.path.clone(),
            sha256: source.sha256.clone(),
            rows_read: 0,
        },
        inputs: Vec::new(),
    };
    // The first line decides, so that a later one of the other form is an error.
    let first = objects(source).next().ok_or_else(empty)??;
    if first.find(&["schema"]).is_some() {
        collected::read(source, &mut file)?;
    } else if first.find(&["output_sizes"]).is_some() {
        let prompts = prompts::read(path, prompts, &mut file.inputs)?;
        castillo::read(path, source, &prompts, &mut file)?;
    } else {
        return Err(first.error_at(
            "schema",
            format!(
                "the object has neither a 'schema' ('{}') nor 'output_sizes' (CASTILLO); \
                 is this a file of responses?",
                collected::SCHEMA
            ),
        ));
    }
    if file.responses.is_empty() {
        return Err(empty());
    }
    if file.skipped > 0 {
        let skipped = file.skipped;
        file.notes
            .push(format!("{skipped} responses of 0 tokens were left out"));
    }
    file.source.rows_read = file.responses.len() as u64;
    Ok(file)
}

#[cfg(test)]
mod tests;
