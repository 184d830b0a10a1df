//! `elis-bench paper`: stub while being written.
use std::process::ExitCode;

/// Run the paper's set-ups.
#[derive(Debug, clap::Args)]
pub(crate) struct Paper {}

impl Paper {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        Ok(ExitCode::SUCCESS)
    }
}
