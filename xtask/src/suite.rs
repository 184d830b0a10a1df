//! `cargo xtask suite`: all policies on a suite of workloads, kept as a dated result.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::{demo, policies, workspace};

/// What is run.
#[derive(Debug, Args)]
pub(crate) struct Suite {
    /// The suite: a shipped one, or the path of a .toml file
    #[arg(default_value = "siblings")]
    name: String,
    /// The folder of the real traces
    #[arg(long, default_value = "../shared/data/traces")]
    from: PathBuf,
}

/// Runs the suite and writes `bench-harness/results/DATE-NAME/`.
pub(crate) fn run(suite: &Suite) -> anyhow::Result<()> {
    policies::run()?;
    demo::build_bench()?;
    let root = workspace::root();
    let name = PathBuf::from(&suite.name);
    let name = name.file_stem().context("the suite has no name")?;
    let date = workspace::today()?;
    let folder = format!("bench-harness/results/{date}-{}", name.to_string_lossy());
    let output = workspace::bench(&root)
        .args(["compare", "--suite", &suite.name, "--out", &folder])
        .arg("--data")
        .arg(&suite.from)
        .env("COLUMNS", "160")
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("elis-bench did not start")?;
    ensure!(
        output.status.success(),
        "elis-bench ended with {}",
        output.status
    );
    let table = String::from_utf8_lossy(&output.stdout);
    println!("{table}");
    // The last line names the page by its place on this machine.
    let tables = table
        .rsplit_once("report: ")
        .map_or(&*table, |(tables, _)| tables);
    let stamp = workspace::stamp(&root);
    let text = format!(
        "# The suite {}\n\n{stamp}\n\n`cargo xtask suite`; all figures are simulated. \
         [The page](suite.html), [all figures](suite.json).\n\n```text\n{}\n```\n",
        suite.name,
        tables.trim_end()
    );
    let path = root.join(&folder).join("README.md");
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{folder}");
    Ok(())
}
