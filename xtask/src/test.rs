//! `cargo xtask test`: everything that must hold before a change lands; CI calls exactly this.

use std::time::Instant;

use anyhow::Context as _;
use clap::Args;

use crate::{cuda, interpreted, models, policies, workspace};

/// What is tested.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Only the tests of models and of the predictor, on the NVIDIA GPU of this machine
    #[arg(long)]
    cuda: bool,
}

/// Formatting, lints, the core without a standard library, all tests, the documentation.
pub(crate) fn run(options: &Test) -> anyhow::Result<()> {
    if options.cuda {
        return cuda::test();
    }
    workspace::add_target("wasm32v1-none")?;
    cargo("format", &["fmt", "--all", "--check"])?;
    cargo(
        "the core without std",
        &["check", "-p", "elis-scheduler", "--target", "wasm32v1-none"],
    )?;
    step("policies", policies::run)?;
    optional("policies in Python and JavaScript", interpreted::run);
    optional("models", models::run);
    let lints = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ];
    cargo("lints", &lints)?;
    step("lints of what is for CUDA only", cuda::check)?;
    // With the tests, so that dependencies are built once, with the features that both need.
    cargo("build", &["build", "--workspace", "--bins", "--tests"])?;
    step("tests", tests)?;
    step("documentation", documentation)?;
    println!("== all of it passed");
    Ok(())
}

fn tests() -> anyhow::Result<()> {
    let mut tests = workspace::cargo(&workspace::root());
    match cuda::nvrtc() {
        Ok(libraries) => _ = tests.env("ELIS_NVRTC", libraries),
        Err(why) => println!("kernels are not compiled: {why:#}"),
    }
    workspace::run(tests.args(["test", "--workspace"]))
}

fn documentation() -> anyhow::Result<()> {
    let mut doc = workspace::cargo(&workspace::root());
    doc.env("RUSTDOCFLAGS", "--deny warnings");
    workspace::run(doc.args(["doc", "--workspace", "--no-deps"]))
}

fn cargo(what: &str, arguments: &[&str]) -> anyhow::Result<()> {
    step(what, || {
        workspace::run(workspace::cargo(&workspace::root()).args(arguments))
    })
}

/// A part of the whole, with the time that it took.
fn step(what: &str, part: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    println!("== {what}");
    let start = Instant::now();
    part().with_context(|| what.to_owned())?;
    println!("== {what}: {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// A part for which this machine may lack what it takes; the tests that need it say so again.
fn optional(what: &str, part: impl FnOnce() -> anyhow::Result<()>) {
    if let Err(why) = step(what, part) {
        println!("left out, their tests will say so too: {why:#}");
    }
}
