//! `elis-predictor hold-out`.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Args;
use elis_predictor::learn::{Part, Split};
use serde::Serialize;

use super::corpus::Data;

const EXAMPLES: &str = "A simulation that draws requests from the prompts that a predictor was \
trained on flatters it.
This writes only those of the test part, which `train` never looks at:

  elis-predictor hold-out --data responses.jsonl --out unseen.jsonl
  elis-bench compare --workload responses:unseen.jsonl --rate 1.2 \\
                     --policy fcfs --policy isrtf --predictor models/predictor";

/// Options of `hold-out`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct HoldOut {
    #[command(flatten)]
    data: Data,
    /// The file to write, as `collect` writes them.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    schema: &'static str,
    id: &'a str,
    source: &'a str,
    licence: &'a str,
    sample: usize,
    model: &'a str,
    prompt: &'a str,
    response: &'a str,
    prompt_tokens: u32,
    output_tokens: u32,
}

impl HoldOut {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let corpus = self.data.read()?;
        let path = || self.out.display().to_string();
        let mut file = BufWriter::new(File::create(&self.out).with_context(path)?);
        let mut written = 0;
        for response in &corpus.responses {
            if Split::ByPrompt.part(response, 0) != Part::Test {
                continue;
            }
            let row = Row {
                schema: super::collect::RESPONSES,
                id: &response.id,
                source: &response.source,
                licence: &response.licence,
                sample: written,
                model: &response.model,
                prompt: &response.prompt,
                response: &response.text,
                prompt_tokens: response.prompt_tokens,
                output_tokens: response.output_tokens,
            };
            serde_json::to_writer(&mut file, &row).with_context(path)?;
            file.write_all(b"\n").with_context(path)?;
            written += 1;
        }
        file.flush().with_context(path)?;
        ensure!(
            written > 0,
            "no prompt of these files is in the test part; give more"
        );
        let all = corpus.responses.len();
        eprintln!("{}: {written} of {all} responses", path());
        Ok(ExitCode::SUCCESS)
    }
}
