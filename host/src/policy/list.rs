//! `elis policy list`: the policies that can be given by name.

use std::process::ExitCode;

use elis_policy_runtime::{Options, Runtime, cache_folder, resolve};
use serde::Serialize;

use super::remote::{self, Access};

/// Options of the command.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The admin address of a running server: list what it has, not what is here
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    #[command(flatten)]
    access: Access,
}

/// One policy; a file that is none says why.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Runs the command.
#[expect(clippy::print_stdout, reason = "the output of the command")]
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(url) = &args.to {
        return remote::list(url, &args.access);
    }
    let runtime = Runtime::new(Options {
        cache_dir: cache_folder(),
        ..Options::default()
    })?;
    let rows: Vec<Row> = resolve::list()
        .iter()
        .map(|named| row(&runtime, named))
        .collect();
    if args.access.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print!("{}", text(&rows));
    }
    Ok(ExitCode::SUCCESS)
}

fn row(runtime: &Runtime, named: &resolve::Named) -> Row {
    let mut row = Row {
        name: named.name.clone(),
        path: named.path.display().to_string(),
        version: None,
        summary: None,
        error: None,
    };
    let loaded = std::fs::read(&named.path)
        .map_err(|e| e.to_string())
        .and_then(|bytes| runtime.load(&bytes).map_err(|e| e.to_string()));
    match loaded {
        Ok(policy) => {
            row.version = Some(policy.info().version.clone());
            row.summary = Some(policy.info().summary.clone());
        }
        Err(error) => row.error = Some(error),
    }
    row
}

fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        let folders: Vec<String> = resolve::folders()
            .iter()
            .map(|dir| dir.display().to_string())
            .collect();
        return format!(
            "no policies in {}; build them with `cargo xtask policies`\n",
            folders.join(", ")
        );
    }
    let mut out = String::new();
    for row in rows {
        let version = row.version.as_deref().unwrap_or("-");
        let note = row
            .summary
            .as_deref()
            .or(row.error.as_deref())
            .unwrap_or("");
        out.push_str(&format!("{:<10} {version:<8} {note}\n", row.name));
    }
    out
}
