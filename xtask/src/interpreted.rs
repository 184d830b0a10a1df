//! `cargo xtask interpreted`: the policies in Python and JavaScript, where their tools can be had.

use std::process::Command;

use anyhow::ensure;

use crate::workspace;

/// Runs the script that lies beside their sources.
pub(crate) fn run() -> anyhow::Result<()> {
    let root = workspace::root();
    let script = root.join("tests/interpreted/build.sh");
    ensure!(script.is_file(), "{} is not there", script.display());
    workspace::run(Command::new("bash").arg(script).current_dir(root))
}
