//! `elis model`: what models are known, what is on disk, what a file is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use elis_llm::{Cache, Source};
use hf_hub::api::sync::ApiBuilder;

/// Models that this release was tried with: where each comes from, and what it is.
const KNOWN: &[(&str, &str)] = &[
    (
        "smollm2-135m-instruct",
        "`cargo xtask models`; 135 M parameters, Q4_1, Apache-2.0",
    ),
    (
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "the hub; the same in bf16",
    ),
    (
        "HuggingFaceTB/SmolLM2-360M-Instruct",
        "the hub; 360 M parameters, bf16, Apache-2.0",
    ),
    (
        "Qwen/Qwen2.5-0.5B-Instruct",
        "the hub; 494 M parameters, bf16, Apache-2.0",
    ),
];

/// What a model from the hub needs, the weights last.
const FILES: &[&str] = &["config.json", "tokenizer.json", "tokenizer_config.json"];

/// Look at models
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Models that are known, and those in a folder
    List {
        /// Where models are kept
        #[arg(long, value_name = "FOLDER", default_value = "models")]
        models: PathBuf,
    },
    /// Bring a model from the Hugging Face hub
    Fetch {
        /// Its name there, as in Qwen/Qwen2.5-0.5B-Instruct
        name: String,
        /// Where models are kept
        #[arg(long, value_name = "FOLDER", default_value = "models")]
        models: PathBuf,
    },
    /// Say what a file or folder is
    Inspect {
        /// A GGUF file, or a folder with one or with safetensors
        path: PathBuf,
        /// Write it as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Does what was asked.
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List { models } => list(&models),
        Command::Fetch { name, models } => fetch(&name, &models)?,
        Command::Inspect { path, json } => inspect(&path, json)?,
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "the list is what the command is for")]
fn list(models: &Path) {
    println!("known:");
    for (name, from) in KNOWN {
        println!("  {name:<40} {from}");
    }
    println!("in {}:", models.display());
    let entries = fs::read_dir(models).into_iter().flatten().flatten();
    let mut here: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    here.sort();
    let mut any = false;
    for path in here {
        // What is no language model, an encoder for example, is not for serving.
        if let Ok(source) = Source::open(&path) {
            any = true;
            let millions = source.config.parameters() / 1_000_000;
            let path = path.display().to_string();
            println!("  {path:<40} {millions} M parameters, {}", source.weights);
        }
    }
    if !any {
        println!("  none; `cargo xtask models` brings a small one");
    }
}

#[expect(clippy::print_stdout, reason = "where the model is, is the answer")]
fn fetch(name: &str, models: &Path) -> anyhow::Result<()> {
    if Path::new(name).exists() {
        bail!("{name} is here already; `elis serve --model {name}` serves it");
    }
    if !name.contains('/') {
        let known = KNOWN.iter().find(|(known, _)| *known == name);
        let from = known.map_or("`elis model list` names those that are", |(_, from)| from);
        bail!("{name} is not a name of the hub (OWNER/MODEL): {from}");
    }
    let unreachable = "the hub cannot be reached or has no such model; a local path always works";
    let repo = ApiBuilder::from_env().build()?.model(name.to_owned());
    let folder = models.join(name.rsplit('/').next().unwrap_or(name));
    let bring = |file: &str| -> anyhow::Result<()> {
        let from = repo
            .get(file)
            .with_context(|| format!("{name}: {file}: {unreachable}"))?;
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let to = folder.join(file);
        // Under its name only when it is whole.
        let partial = to.with_extension("partial");
        fs::copy(&from, &partial).and_then(|_| fs::rename(&partial, &to))?;
        Ok(())
    };
    for file in FILES {
        bring(file)?;
    }
    if bring("model.safetensors").is_err() {
        bring("model.safetensors.index.json")?;
        let index = fs::read_to_string(folder.join("model.safetensors.index.json"))?;
        let index: serde_json::Value = serde_json::from_str(&index)?;
        let map = index["weight_map"]
            .as_object()
            .context("the index names no files")?;
        let mut shards: Vec<&str> = map.values().filter_map(|file| file.as_str()).collect();
        shards.sort_unstable();
        shards.dedup();
        for shard in shards {
            bring(shard)?;
        }
    }
    println!("{}", folder.display());
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "the description is what the command is for"
)]
fn inspect(path: &Path, json: bool) -> anyhow::Result<()> {
    let source = Source::open(path)?;
    let config = &source.config;
    let token_bytes = Cache::block_bytes(config.kv_layout()) / Cache::block_tokens() as usize;
    let rows = [
        ("name", source.name.clone()),
        ("path", source.path.display().to_string()),
        ("architecture", config.architecture.clone()),
        ("weights", source.weights.clone()),
        ("parameters", config.parameters().to_string()),
        ("layers", config.layers.to_string()),
        ("width", config.width.to_string()),
        (
            "heads",
            format!(
                "{} of queries, {} of keys and values",
                config.heads, config.kv_heads
            ),
        ),
        ("context_tokens", config.context_tokens.to_string()),
        ("vocabulary", config.vocabulary.to_string()),
        ("kv_bytes_per_token", token_bytes.to_string()),
        ("chat_template", source.chat_template.is_some().to_string()),
    ];
    if json {
        let object: serde_json::Map<String, serde_json::Value> = rows
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect();
        println!("{}", serde_json::to_string_pretty(&object)?);
    } else {
        for (key, value) in rows {
            println!("{key:<20} {value}");
        }
    }
    Ok(())
}
