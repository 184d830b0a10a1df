//! `elis policy push`, `promote` and so on: the policies of a running server.

mod canary;
mod client;
mod render;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Value, json};

use client::Client;

pub(crate) use canary::{Canary, canary};

/// The server.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Server {
    /// The admin address of the server
    #[arg(
        long = "to",
        value_name = "URL",
        env = "ELIS_ADMIN_URL",
        default_value = "http://127.0.0.1:8081"
    )]
    url: String,
    #[command(flatten)]
    access: Access,
}

/// How to talk to it, and how to answer.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Access {
    /// The admin token; prefer the variable, since arguments are visible to others
    #[arg(
        long,
        value_name = "TOKEN",
        env = "ELIS_ADMIN_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Options of `push`.
#[derive(Debug, clap::Args)]
pub(crate) struct Push {
    /// The .wasm file, or the name of a policy that is here
    file: String,
    /// Its signature, by default FILE.minisig if that is there
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
}

/// Options of `show` and `remove`.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// The digest, or its first digits
    digest: String,
    #[command(flatten)]
    server: Server,
}

/// Options of `promote`.
#[derive(Debug, clap::Args)]
pub(crate) struct Promote {
    /// The digest, or its first digits
    digest: String,
    /// Configuration of the policy, a TOML file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only if this is still the epoch, as `list` and `promote` tell it
    #[arg(long)]
    epoch: Option<u64>,
    /// Leave the state of the live policy behind
    #[arg(long)]
    fresh_state: bool,
    #[command(flatten)]
    server: Server,
}

/// Options of `shadow`.
#[derive(Debug, clap::Args)]
pub(crate) struct Shadow {
    /// The digest, or its first digits; without it the shadow run ends
    digest: Option<String>,
    /// Configuration of the policy, a TOML file
    #[arg(long, value_name = "FILE", requires = "digest")]
    config: Option<PathBuf>,
    /// What it may take of one core, at most 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    share: f64,
    #[command(flatten)]
    server: Server,
}

/// Options of `rollback`.
#[derive(Debug, clap::Args)]
pub(crate) struct Rollback {
    /// Only if this is still the epoch
    #[arg(long)]
    epoch: Option<u64>,
    #[command(flatten)]
    server: Server,
}

/// Options of `watch`.
#[derive(Debug, clap::Args)]
pub(crate) struct Watch {
    /// Time between two lines, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    every: f64,
    /// Lines to print; by default it goes on until it is interrupted
    #[arg(long, value_name = "LINES")]
    lines: Option<u64>,
    #[command(flatten)]
    server: Server,
}

/// `elis policy push`.
pub(crate) fn push(args: &Push) -> anyhow::Result<ExitCode> {
    let path = elis_policy_runtime::resolve::resolve(&args.file)?;
    let bytes = read(&path)?;
    let beside = path.with_added_extension("minisig");
    let signature = match &args.signature {
        Some(path) => Some(read_text(path)?),
        None if beside.is_file() => Some(read_text(&beside)?),
        None => None,
    };
    let client = Client::new(&args.server)?;
    let pushed = client.push(bytes, signature.as_deref())?;
    show_answer(&args.server, &pushed, render::pushed);
    let checks = pushed["checks"].as_array();
    let sound = checks.is_some_and(|checks| checks.iter().all(|check| check["ok"] == true));
    Ok(if sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// `elis policy list --to URL`.
pub(crate) fn list(url: &str, access: &Access) -> anyhow::Result<ExitCode> {
    let server = Server {
        url: url.to_owned(),
        access: access.clone(),
    };
    let listed = Client::new(&server)?.get("policies")?;
    show_answer(&server, &listed, render::list);
    Ok(ExitCode::SUCCESS)
}

/// `elis policy show`.
pub(crate) fn show(args: &One) -> anyhow::Result<ExitCode> {
    let row = Client::new(&args.server)?.get(&format!("policies/{}", args.digest))?;
    show_answer(&args.server, &row, render::row);
    Ok(ExitCode::SUCCESS)
}

/// `elis policy remove`.
pub(crate) fn remove(args: &One) -> anyhow::Result<ExitCode> {
    Client::new(&args.server)?.delete(&format!("policies/{}", args.digest))?;
    show_answer(&args.server, &Value::Null, |_| "removed\n".to_owned());
    Ok(ExitCode::SUCCESS)
}

/// `elis policy promote`.
pub(crate) fn promote(args: &Promote) -> anyhow::Result<ExitCode> {
    let body = json!({
        "config": config(args.config.as_deref())?,
        "epoch": args.epoch,
        "fresh_state": args.fresh_state,
    });
    let path = format!("policies/{}/promote", args.digest);
    let promoted = Client::new(&args.server)?.post(&path, &body)?;
    show_answer(&args.server, &promoted, render::promoted);
    Ok(ExitCode::SUCCESS)
}

/// `elis policy rollback`.
pub(crate) fn rollback(args: &Rollback) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.server)?;
    let rolled = client.post("rollback", &json!({ "epoch": args.epoch }))?;
    show_answer(&args.server, &rolled, render::promoted);
    Ok(ExitCode::SUCCESS)
}

/// `elis policy shadow`.
pub(crate) fn shadow(args: &Shadow) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.server)?;
    let Some(digest) = &args.digest else {
        client.delete("shadow")?;
        show_answer(&args.server, &Value::Null, |_| {
            "the shadow run is over\n".to_owned()
        });
        return Ok(ExitCode::SUCCESS);
    };
    let body = json!({ "config": config(args.config.as_deref())?, "share": args.share });
    let shaded = client.post(&format!("policies/{digest}/shadow"), &body)?;
    show_answer(&args.server, &shaded, render::shadow);
    Ok(ExitCode::SUCCESS)
}

/// `elis policy watch`.
pub(crate) fn watch(args: &Watch) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.server)?;
    watch::run(&client, args.every, args.lines, args.server.access.json)?;
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "the output of the command")]
fn show_answer(server: &Server, answer: &Value, text: impl Fn(&Value) -> String) {
    if server.access.json {
        println!("{answer:#}");
    } else {
        print!("{}", text(answer));
    }
}

fn config(path: Option<&Path>) -> anyhow::Result<String> {
    path.map_or(Ok(String::new()), read_text)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
