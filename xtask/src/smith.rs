//! `cargo xtask smith`: generated policies and modules, more of them than a test run has time for.

use anyhow::Context as _;
use clap::Args;

use crate::workspace;

/// Load and run policies that nobody wrote, and refuse modules that are none
#[derive(Debug, Args)]
pub(crate) struct Smith {
    /// How many of each
    #[arg(long, value_name = "MODULES", default_value_t = 10_000)]
    modules: u64,
}

/// Runs the tests of generated modules with that many.
pub(crate) fn run(options: &Smith) -> anyhow::Result<()> {
    let mut tests = workspace::cargo(&workspace::root());
    tests.env("ELIS_SMITH_MODULES", options.modules.to_string());
    tests.args(["test", "--workspace", "--test", "rogue", "--"]);
    workspace::run(tests.args(["--nocapture", "smith"])).context("generated modules")
}
