//! Builds policies: each crate under policies/ becomes a component that imports nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest as _, Sha256};
use wit_component::{ComponentEncoder, DecodedWasm};

use crate::workspace;

/// The target of policies: it has no WASI, so a policy cannot even name the outside world.
const TARGET: &str = "wasm32-unknown-unknown";

/// A crate to build and the component to make of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    /// The package.
    pub(crate) package: String,
    /// The component.
    pub(crate) out: PathBuf,
}

/// A component that has been built.
#[derive(Debug)]
struct Built {
    name: String,
    bytes: usize,
    digest: String,
    /// Whether the file already had this content.
    unchanged: bool,
}

/// Builds every policy of the repository into target/policies.
pub(crate) fn run() -> anyhow::Result<()> {
    let root = workspace::root();
    let out = workspace::target_dir(&root).join("policies");
    let mut jobs = discover(&root.join("policies"), &out)?;
    // The guest that the tests of the sandbox misbehave with, in a folder where no name finds it.
    jobs.push(Job {
        package: "elis-rogue".to_owned(),
        out: out.join("rogue/rogue.wasm"),
    });
    build(&root, &jobs)
}

/// Every folder of `policies` that holds a crate; the component is named like the folder.
fn discover(policies: &Path, out: &Path) -> anyhow::Result<Vec<Job>> {
    let mut jobs = Vec::new();
    let entries =
        fs::read_dir(policies).with_context(|| format!("cannot read {}", policies.display()))?;
    for entry in entries {
        let folder = entry?.path();
        let manifest = folder.join("Cargo.toml");
        if !manifest.is_file() {
            continue;
        }
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        jobs.push(Job {
            package: package_name(&fs::read_to_string(&manifest)?)
                .with_context(|| format!("{} has no `name = ` line", manifest.display()))?,
            out: out.join(format!("{name}.wasm")),
        });
    }
    jobs.sort_by(|a, b| a.out.cmp(&b.out));
    ensure!(
        !jobs.is_empty(),
        "there is no policy in {}",
        policies.display()
    );
    Ok(jobs)
}

/// The package name in a manifest: its first `name` key, which is that of `[package]`.
fn package_name(manifest: &str) -> Option<String> {
    manifest.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "name").then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// Builds packages of the workspace into components, in one call of cargo.
pub(crate) fn build(root: &Path, jobs: &[Job]) -> anyhow::Result<()> {
    ensure_target()?;
    let target_dir = workspace::target_dir(root).join("wasm");
    let mut cargo = workspace::cargo(root);
    cargo
        .args([
            "build",
            "--profile",
            "policy",
            "--target",
            TARGET,
            "--target-dir",
        ])
        .arg(&target_dir);
    for job in jobs {
        cargo.args(["--package", &job.package]);
    }
    // Flags for the host, such as its CPU, would break or change the policies; these replace them.
    cargo
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", flags(root).join("\u{1f}"));
    workspace::run(&mut cargo)?;
    for job in jobs {
        let module = target_dir
            .join(TARGET)
            .join("policy")
            .join(format!("{}.wasm", job.package.replace('-', "_")));
        let built = componentise(&module, &job.out)
            .with_context(|| format!("cannot make a component of {}", job.package))?;
        report(&built);
    }
    Ok(())
}

/// Flags of rustc for policies.
fn flags(root: &Path) -> Vec<String> {
    // Scoring a queue is what a policy does, and it vectorises.
    let mut flags = vec!["-Ctarget-feature=+simd128".to_owned()];
    // Panic messages name source files. Without the folders of this machine the same source gives
    // the same bytes, and therefore the same digest, on every one.
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    if let Some(home) = cargo_home {
        flags.push(format!("--remap-path-prefix={}=cargo", home.display()));
    }
    flags.push(format!("--remap-path-prefix={}=elis", root.display()));
    flags
}

#[expect(clippy::print_stdout, reason = "the report of the command")]
fn report(built: &Built) {
    let note = if built.unchanged { " (unchanged)" } else { "" };
    println!(
        "{:<12} {:>7} bytes  {}{note}",
        built.name, built.bytes, built.digest
    );
}

fn componentise(module: &Path, out: &Path) -> anyhow::Result<Built> {
    let module = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let component = ComponentEncoder::default()
        .module(&module)?
        .validate(true)
        .encode()?;
    check_imports(&component)?;
    // An unchanged file keeps its time, so that what depends on it is not built again.
    let unchanged = fs::read(out).is_ok_and(|old| old == component);
    if !unchanged {
        let folder = out.parent().unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(folder)?;
        let temporary = out.with_extension(format!("wasm.{}", std::process::id()));
        fs::write(&temporary, &component)?;
        fs::rename(&temporary, out)?;
    }
    Ok(Built {
        name: out
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        bytes: component.len(),
        digest: Sha256::digest(&component)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        unchanged,
    })
}

/// A component that imports anything is not a policy.
fn check_imports(component: &[u8]) -> anyhow::Result<()> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component)? else {
        bail!("the encoder gave a WIT package instead of a component");
    };
    let imports: Vec<String> = resolve.worlds[world]
        .imports
        .keys()
        .map(|key| resolve.name_world_key(key))
        .collect();
    ensure!(
        imports.is_empty(),
        "it imports {}; a policy may import nothing",
        imports.join(", ")
    );
    Ok(())
}

/// Installs the Rust target of policies where rustup manages the toolchain and it is missing.
fn ensure_target() -> anyhow::Result<()> {
    let installed = Command::new("rustup")
        .args(["target", "list", "--installed"])
        .output();
    let Ok(installed) = installed else {
        // Without rustup the toolchain has the target, or cargo says that it has not.
        return Ok(());
    };
    let installed = String::from_utf8_lossy(&installed.stdout);
    if installed.lines().any(|line| line.trim() == TARGET) {
        return Ok(());
    }
    workspace::run(Command::new("rustup").args(["target", "add", TARGET]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_with_a_manifest_is_a_policy() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b", "a", "notes"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        for name in ["a", "b"] {
            let manifest = format!("[package]\nname = \"elis-policy-{name}\"\n");
            fs::write(dir.path().join(name).join("Cargo.toml"), manifest).unwrap();
        }
        let jobs = discover(dir.path(), Path::new("out")).unwrap();
        let job = |name: &str| Job {
            package: format!("elis-policy-{name}"),
            out: Path::new("out").join(format!("{name}.wasm")),
        };
        assert_eq!(jobs, [job("a"), job("b")]);
        fs::remove_dir_all(dir.path()).unwrap();
        assert!(discover(dir.path(), Path::new("out")).is_err());
    }
}
