//! `elis-predictor eval`.

use std::process::ExitCode;

use clap::Args;

/// Options of `eval`.
#[derive(Debug, Args)]
pub(crate) struct Eval {}

impl Eval {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not yet")
    }
}
