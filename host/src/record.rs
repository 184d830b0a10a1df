//! `elis record`: the log of a running server, into a file.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use elis_host::http::Secret;
use futures_util::StreamExt as _;
use jiff::SignedDuration;
use reqwest::Client;
use serde_json::{Value, json};

/// Record what a running server is told, shows its policies and decides
///
/// The log holds a checkpoint and every input after it: arrivals with their lengths, predictions,
/// plans, ends of steps; no prompt and no response. `elis-bench replay` makes all else of it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  elis record --out run.elog --for 10m                 from the server on this machine
  elis record --out run.elog --for 90s --from http://10.0.0.7:8081
  elis serve --record run.elog …                       all of a server's life
  elis-bench replay run.elog --verify                  does it reproduce, bit for bit
  elis-bench replay run.elog --policy other.wasm       what would have been")]
pub(crate) struct Record {
    /// The file; one that exists is not overwritten
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// How long: 90s, 10m, 2h
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = span)]
    span: Duration,
    /// The server's admin API
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8081")]
    from: String,
    /// The admin token
    #[arg(
        long,
        value_name = "TOKEN",
        env = "ELIS_ADMIN_TOKEN",
        hide_env_values = true
    )]
    admin_token: Option<Secret>,
}

/// A time as people write it: 90s, 10m, 2h.
pub(crate) fn span(given: &str) -> Result<Duration, String> {
    let span: SignedDuration = given
        .parse()
        .map_err(|e| format!("{e}; write 90s or 10m"))?;
    let span = Duration::try_from(span).map_err(|_| "a time is above 0".to_owned())?;
    if span < Duration::from_millis(1) {
        return Err("a time is above 0".to_owned());
    }
    Ok(span)
}

/// Records.
pub(crate) fn run(options: &Record) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(record(options))
}

/// A new file for a log.
pub(crate) fn create(path: &Path) -> anyhow::Result<File> {
    File::create_new(path).with_context(|| format!("cannot make the log {}", path.display()))
}

async fn record(options: &Record) -> anyhow::Result<ExitCode> {
    // Another crate may have installed one first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = format!("{}/admin/record", options.from.trim_end_matches('/'));
    let for_ms = u64::try_from(options.span.as_millis()).unwrap_or(u64::MAX);
    let mut request = Client::new().post(&url).json(&json!({ "for_ms": for_ms }));
    if let Some(Secret(token)) = &options.admin_token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await;
    let response = response.with_context(|| {
        format!("cannot reach {url}; is `elis serve` there, and its admin API on this port?")
    })?;
    let status = response.status();
    if !status.is_success() {
        let said: Value = response.json().await.unwrap_or_default();
        let why = said["error"]["message"]
            .as_str()
            .unwrap_or("no reason given");
        bail!("the server does not record ({status}): {why}");
    }
    let mut file = create(&options.out)?;
    let at = || format!("cannot write {}", options.out.display());
    let mut bytes = 0;
    let mut pieces = response.bytes_stream();
    while let Some(piece) = pieces.next().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                eprintln!("elis: {bytes} bytes were recorded, then the server was gone: {error}");
                eprintln!("elis: what there is can be replayed up to the cut");
                return Ok(ExitCode::FAILURE);
            }
        };
        file.write_all(&piece).with_context(at)?;
        bytes += piece.len();
    }
    file.sync_all().with_context(at)?;
    ensure!(bytes > 0, "the server sent nothing");
    eprintln!("{bytes} bytes in {}", options.out.display());
    Ok(ExitCode::SUCCESS)
}
