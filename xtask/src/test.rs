//! `cargo xtask test`: everything that must hold before a change lands; CI calls exactly this.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::{cuda, interpreted, models, policies, workspace};

/// Builds what the tests need.
const BUILD: [&str; 4] = ["build", "--workspace", "--bins", "--tests"];

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
    // What is brought from package indices comes while others are compiled.
    std::thread::scope(|scope| {
        scope.spawn(bring);
        compile()
    })?;
    step("tests", tests)?;
    step("documentation", documentation)?;
    println!("== all of it passed");
    Ok(())
}

fn bring() {
    optional("policies in Python and JavaScript", interpreted::run);
    optional("models", models::run);
    optional("a compiler of kernels", || cuda::nvrtc().map(drop));
}

fn compile() -> anyhow::Result<()> {
    step("policies", policies::run)?;
    step("lints", lints)?;
    // With the tests, so that dependencies are built once, with the features that both need.
    cargo("build", &BUILD)?;
    step("warnings of the build", no_warnings)
}

/// Lints of everything, what is for CUDA only included: one pass for both, since a second would
/// check half of the dependencies again.
fn lints() -> anyhow::Result<()> {
    let command = ["clippy", "--workspace", "--all-targets"];
    let mut clippy = cuda::checking(&workspace::root(), &command)?;
    workspace::run(clippy.args(["--", "--deny", "warnings"]))
}

/// What the compiler warns of where CUDA is off, which the lints do not see. Nothing is compiled:
/// cargo says again what it said.
fn no_warnings() -> anyhow::Result<()> {
    let mut cargo = workspace::cargo(&workspace::root());
    cargo.args(BUILD).args(["--quiet", "--message-format=json"]);
    let output = cargo.output().context("cannot run cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| {
        let said: serde_json::Value = serde_json::from_str(line).ok()?;
        said["message"]["rendered"].as_str().map(str::to_owned)
    });
    let messages: Vec<String> = messages.collect();
    ensure!(messages.is_empty(), "{}", messages.concat());
    Ok(())
}

fn tests() -> anyhow::Result<()> {
    let mut tests = workspace::cargo(&workspace::root());
    match cuda::nvrtc() {
        Ok(libraries) => _ = tests.env("ELIS_NVRTC", libraries),
        Err(why) => println!("kernels are not compiled: {why:#}"),
    }
    // One more than there are cores: many tests wait for a server.
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        tests.env("RUST_TEST_THREADS", (cores + 1).to_string());
    }
    workspace::run(tests.args(["test", "--workspace"]))
}

fn documentation() -> anyhow::Result<()> {
    // With the features of the lints, which have checked the dependencies.
    let mut doc = cuda::checking(&workspace::root(), &["doc", "--workspace", "--no-deps"])?;
    workspace::run(doc.env("RUSTDOCFLAGS", "--deny warnings"))
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
