//! `cargo xtask demo`: the main job on the embedded default, from nothing to a report.

use std::path::Path;

use clap::Args;

use crate::{live, policies, workspace};

/// Responses with their text, which are not part of this repository.
const RESPONSES: &str =
    "../shared/data/responses/castillo_responses_meta-llama--Llama-3.1-8B-Instruct.jsonl.gz";

/// Options of the demo.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Seeds of the stream, 10 by default and 2 live; ten give an interval that can be trusted
    #[arg(long)]
    seeds: Option<u64>,
    /// Serve the small real model and let policies take turns on it
    #[arg(long)]
    live: bool,
}

/// Installs what is missing, builds, and compares the built-in policies on the industrial stream.
pub(crate) fn run(demo: &Demo) -> anyhow::Result<()> {
    if demo.live {
        return live::run(demo.seeds.unwrap_or(2));
    }
    let seeds = demo.seeds.unwrap_or(10).to_string();
    policies::run()?;
    let root = workspace::root();
    build_bench()?;
    workspace::run(
        workspace::bench(&root)
            .args([
                "compare",
                "--workload",
                "industrial",
                "--max-num-seqs",
                "16",
            ])
            .args(["--policy", "fcfs", "--policy", "sjf", "--policy", "isrtf"])
            .args([
                "--predictor",
                "elis-paper",
                "--worker",
                "sim:llama2-13b-a100",
            ])
            .args(["--loads", "0.5,0.8,1,1.2"])
            .args(["--seeds", &seeds, "--out", "results/demo"]),
    )?;
    with_text(&root, &seeds)
}

/// Real responses, where they are at hand, under the trained predictor that ships: it reads their
/// text, and of their prompts it gets only those that it was not fitted to.
fn with_text(root: &Path, seeds: &str) -> anyhow::Result<()> {
    if !root.join(RESPONSES).is_file() {
        return Ok(());
    }
    println!("== the same policies over real responses, with the trained predictor that ships");
    let stream = format!("responses:{RESPONSES}");
    workspace::run(
        workspace::bench(root)
            .args(["compare", "--workload", &stream, "--unseen"])
            .args(["--rate", "1", "--take", "400"])
            .args(["--policy", "fcfs", "--policy", "sjf", "--policy", "isrtf"])
            .args(["--predictor", "predictor/shipped"])
            .args(["--worker", "sim:llama2-13b-a100"])
            .args(["--seeds", seeds, "--out", "results/demo-text"]),
    )
}

/// Builds the `elis-bench` command, optimised.
pub(crate) fn build_bench() -> anyhow::Result<()> {
    let root = workspace::root();
    let mut build = workspace::cargo(&root);
    // Where there is a history, reports name the commit that they were made with.
    if let Some(commit) = workspace::commit(&root) {
        build.env("ELIS_COMMIT", commit);
    }
    workspace::run(build.args(["build", "--release", "--package", "elis-bench-harness"]))
}
