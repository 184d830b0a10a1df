//! Awkward texts, as tokens.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use elis_llm::Source;
use serde::{Deserialize, Serialize};

use crate::llama::Llama;

/// The list that the tests of `llm` hold us to.
pub const GOLDEN: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../llm/tests/it/llama_cpp_tokens.json"
);

#[derive(Debug, Serialize, Deserialize)]
struct Case {
    text: String,
    /// Whether names of special tokens in it count as these.
    special: bool,
    tokens: Vec<u32>,
}

/// Compares llama.cpp, Elis and what is written down.
pub fn compare(llama: &Llama, model: &Path, golden: &Path, write: bool) -> Result<()> {
    let json = std::fs::read_to_string(golden);
    let json = json.with_context(|| format!("cannot read {}", golden.display()))?;
    let mut cases: Vec<Case> = serde_json::from_str(&json)?;
    let theirs = llama.load(model, 1, false)?;
    let vocabulary = Source::open(model)?.vocabulary;
    let (mut differ, mut changed) = (0, 0);
    for case in &mut cases {
        let truth = theirs.tokens(&case.text, case.special)?;
        let ours = vocabulary.encode(&case.text, case.special)?;
        if ours != truth {
            differ += 1;
            println!("{:?}: elis {ours:?}, llama.cpp {truth:?}", case.text);
        }
        changed += usize::from(case.tokens != truth);
        case.tokens = truth;
    }
    println!(
        "{} texts, {differ} with other tokens than llama.cpp's",
        cases.len()
    );
    if write {
        // A case on a line of its own.
        let lines: Result<Vec<_>, _> = cases.iter().map(serde_json::to_string).collect();
        std::fs::write(golden, format!("[\n{}\n]\n", lines?.join(",\n")))?;
    } else {
        ensure!(
            changed == 0,
            "{changed} texts have other tokens than are written down"
        );
    }
    ensure!(differ == 0, "the tokenizers differ");
    Ok(())
}
