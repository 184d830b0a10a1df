//! Where the repository is, and how its tools are run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// The root of the repository that this program was built from.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The build folder: cargo's own setting where there is one.
pub(crate) fn target_dir(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

/// The cargo that runs this program. What it says of xtask's own crate is not meant for another:
/// build scripts that ask for it, as ring's does, would run anew whenever somebody else calls
/// cargo, and all that stands on them would be built again.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let own = ["CARGO_PKG_", "CARGO_MANIFEST_"];
        if own.iter().any(|of| name.to_string_lossy().starts_with(of)) {
            command.env_remove(name);
        }
    }
    command.current_dir(root);
    command
}

/// Runs a command to its end; its output goes to the terminal.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let line = format!("{command:?}");
    let status = command
        .status()
        .with_context(|| format!("cannot run {line}"))?;
    ensure!(status.success(), "{line} ended with {status}");
    Ok(())
}

/// The `elis-bench` command that `demo` has built.
pub(crate) fn bench(root: &Path) -> Command {
    let mut command = Command::new(target_dir(root).join("release/elis-bench"));
    command.current_dir(root);
    command
}

/// Installs a compilation target unless it is there.
pub(crate) fn add_target(target: &str) -> anyhow::Result<()> {
    run(Command::new("rustup").args(["--quiet", "target", "add", target]))
}

/// What a command prints, without the line's end; nothing if it fails.
fn said(command: &mut Command) -> Option<String> {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// The commit that is checked out, if this is a checkout.
pub(crate) fn commit(root: &Path) -> Option<String> {
    said(
        Command::new("git")
            .args(["rev-parse", "--short=12", "HEAD"])
            .current_dir(root),
    )
}

/// Today in UTC, as `2026-01-31`.
pub(crate) fn today() -> anyhow::Result<String> {
    said(Command::new("date").args(["--utc", "+%F"])).context("the `date` command gave no date")
}

/// Date, machine, compiler and commit of a kept result.
pub(crate) fn stamp(root: &Path) -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown CPU", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let rustc = said(Command::new("rustc").arg("--version")).unwrap_or_default();
    let commit = commit(root).unwrap_or_else(|| "no commit".into());
    let date = today().unwrap_or_default();
    format!("{date}, {cores} cores of {model}, {rustc}, commit {commit}.")
}
