//! `cargo xtask test`: everything that must hold before a change lands; CI calls exactly this.

use anyhow::Context as _;

use crate::{interpreted, models, policies, workspace};

/// Formatting, lints, the core without a standard library, all tests, the documentation.
pub(crate) fn run() -> anyhow::Result<()> {
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
    // With the tests, so that dependencies are built once, with the features that both need.
    step("build", &["build", "--workspace", "--bins", "--tests"])?;
    step("tests", &["test", "--workspace"])?;
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
