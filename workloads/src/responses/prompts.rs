//! Files of prompts, for responses that name theirs by id.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::WorkloadError;
use crate::provenance::SourceRecord;
use crate::readers::jsonl::objects;
use crate::source::Source;

/// Where CASTILLO's prompts lie, seen from the folder of the responses.
const BESIDE: &str = "../prompts/castillo_prompts.jsonl.gz";

/// One prompt.
pub(super) struct Prompt {
    pub(super) text: Arc<str>,
    /// Empty where no file says it.
    pub(super) licence: String,
}

/// All prompts by source and id.
pub(super) struct Prompts {
    by_id: BTreeMap<(String, String), Prompt>,
    files: Vec<String>,
}

/// Reads the files that were given, or the one beside `responses`, and records them in `inputs`.
pub(super) fn read(
    responses: &Path,
    given: &[PathBuf],
    inputs: &mut Vec<SourceRecord>,
) -> Result<Prompts, WorkloadError> {
    let mut prompts = Prompts {
        by_id: BTreeMap::new(),
        files: Vec::new(),
    };
    let beside = responses
        .parent()
        .map(|folder| folder.join(BESIDE))
        .filter(|path| given.is_empty() && path.is_file());
    for path in given.iter().chain(&beside) {
        let source = Source::open(path)?;
        let rows = prompts.add(&source)?;
        prompts.files.push(source.path.clone());
        inputs.push(SourceRecord {
            format: "prompts".to_owned(),
            path: source.path,
            sha256: source.sha256,
            rows_read: rows,
        });
    }
    Ok(prompts)
}

impl Prompts {
    /// Adds a file and says how many rows it has: CASTILLO's own (`dataset`, `prompt_id`), or a
    /// collection (`source`, `id`, `licence`).
    fn add(&mut self, source: &Source) -> Result<u64, WorkloadError> {
        let mut rows = 0;
        for row in objects(source) {
            let row = row?;
            let key = if row.find(&["prompt_id"]).is_some() {
                let dataset = row.text("dataset", "data set")?;
                (
                    format!("castillo/{dataset}"),
                    row.text("prompt_id", "id of the prompt")?.to_owned(),
                )
            } else {
                (
                    row.text("source", "source")?.to_owned(),
                    row.text("id", "id of the prompt")?.to_owned(),
                )
            };
            let text = row.text("prompt", "prompt")?;
            let licence = row.text_or_empty("licence", "licence")?;
            let known = self.by_id.entry(key).or_insert_with(|| Prompt {
                text: text.into(),
                licence: String::new(),
            });
            // One file may have the text and another the licence.
            if known.licence.is_empty() {
                licence.clone_into(&mut known.licence);
            }
            rows += 1;
        }
        Ok(rows)
    }

    pub(super) fn find(&self, source: &str, id: &str) -> Option<&Prompt> {
        self.by_id.get(&(source.to_owned(), id.to_owned()))
    }

    /// What to say where a prompt is not there.
    pub(super) fn missing(&self, source: &str, id: &str) -> String {
        let searched = if self.files.is_empty() {
            format!("no file of prompts was given, and there is no {BESIDE} beside this file")
        } else {
            format!("it is not in {}", self.files.join(" or "))
        };
        format!("the text of prompt '{id}' of {source} is missing: {searched}; give --prompts FILE")
    }
}
