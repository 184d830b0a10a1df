//! `cargo xtask test`: everything that must hold before a change lands; CI calls exactly this.

use anyhow::Context as _;
use clap::Args;

use crate::{cuda, interpreted, models, policies, workspace};

/// What is tested.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Only the tests of models, on the NVIDIA GPU of this machine
    #[arg(long)]
    cuda: bool,
}

/// Formatting, lints, the core without a standard library, all tests, the documentation.
pub(crate) fn run(options: &Test) -> anyhow::Result<()> {
    if options.cuda {
        return cuda::test();
    }
    let root = workspace::root();
    workspace::add_target("wasm32v1-none")?;
    step("format", &["fmt", "--all", "--check"])?;
    step(
        "the core without std",
        &["check", "-p", "elis-scheduler", "--target", "wasm32v1-none"],
    )?;
    println!("== policies");
    policies::run()?;
    println!("== policies in Python and JavaScript");
    if let Err(why) = interpreted::run() {
        println!("left out, their tests will say so too: {why:#}");
    }
    println!("== models");
    if let Err(why) = models::run() {
        println!("left out, their tests will say so too: {why:#}");
    }
    let lints = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ];
    step("lints", &lints)?;
    println!("== lints of what is for CUDA only");
    cuda::check().context("lints of what is for CUDA only")?;
    // With the tests, so that dependencies are built once, with the features that both need.
    step("build", &["build", "--workspace", "--bins", "--tests"])?;
    println!("== tests");
    let mut tests = workspace::cargo(&root);
    match cuda::nvrtc() {
        Ok(libraries) => _ = tests.env("ELIS_NVRTC", libraries),
        Err(why) => println!("kernels are not compiled: {why:#}"),
    }
    workspace::run(tests.args(["test", "--workspace"])).context("tests")?;
    println!("== documentation");
    let mut doc = workspace::cargo(&root);
    doc.env("RUSTDOCFLAGS", "--deny warnings");
    workspace::run(doc.args(["doc", "--workspace", "--no-deps"])).context("documentation")?;
    println!("== all of it passed");
    Ok(())
}

fn step(what: &str, arguments: &[&str]) -> anyhow::Result<()> {
    println!("== {what}");
    workspace::run(workspace::cargo(&workspace::root()).args(arguments)).context(what.to_owned())
}
