//! `elis policy canary`: a policy for a share of the workers.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::Client;
use super::render::{number, short};
use super::{Server, config, show_answer};
use crate::record::span;

/// Options of `canary`.
#[derive(Debug, clap::Args)]
pub(crate) struct Canary {
    /// The digest, or its first digits; without it the canary is shown
    digest: Option<String>,
    /// Its share of the workers, above 0 and below 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.25)]
    share: f64,
    /// Take it back when more than one of 100 first tokens takes longer
    #[arg(long, value_name = "MS")]
    max_p99_ttft_ms: Option<f64>,
    /// Take it back when a larger share of requests fails or is refused by it
    #[arg(long, value_name = "0..1", default_value_t = 0.01)]
    max_error_rate: f64,
    /// Take it back when it has more failed decisions and faults of plans
    #[arg(long, value_name = "FAULTS", default_value_t = 0)]
    max_faults: u64,
    /// Shares are of so many requests at least, and before so many nothing is promoted
    #[arg(long, value_name = "REQUESTS", default_value_t = 100)]
    min_requests: u64,
    /// How long the guard has to hold: 90s, 5m, 2h
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = span)]
    lasts: Duration,
    /// Make it the live policy when its time is over; otherwise it stays, guarded
    #[arg(long)]
    promote: bool,
    /// Configuration of the policy, a TOML file
    #[arg(long, value_name = "FILE", requires = "digest")]
    config: Option<PathBuf>,
    /// Only if this is still the epoch
    #[arg(long, requires = "digest")]
    epoch: Option<u64>,
    /// Leave the state of the live policy behind
    #[arg(long)]
    fresh_state: bool,
    /// End the canary: the live policy decides everywhere
    #[arg(long, conflicts_with_all = ["digest", "promote_now"])]
    end: bool,
    /// Make the canary the live policy now
    #[arg(long, conflicts_with = "digest")]
    promote_now: bool,
    #[command(flatten)]
    server: Server,
}

/// `elis policy canary`.
pub(crate) fn canary(args: &Canary) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.server)?;
    let answer = match &args.digest {
        Some(digest) => client.post(&format!("policies/{digest}/canary"), &body(args)?)?,
        None if args.end => {
            client.delete("canary")?;
            client.get("canary")?
        }
        None if args.promote_now => {
            client.post("canary/promote", &Value::Null)?;
            client.get("canary")?
        }
        None => client.get("canary")?,
    };
    show_answer(&args.server, &answer, |answer| {
        if answer.is_null() {
            "there was no canary\n".to_owned()
        } else {
            shown(answer)
        }
    });
    Ok(ExitCode::SUCCESS)
}

fn body(args: &Canary) -> anyhow::Result<Value> {
    Ok(json!({
        "config": config(args.config.as_deref())?,
        "epoch": args.epoch,
        "share": args.share,
        "max_p99_ttft_ms": args.max_p99_ttft_ms,
        "max_error_rate": args.max_error_rate,
        "max_faults": args.max_faults,
        "min_requests": args.min_requests,
        "for_s": args.lasts.as_secs_f64(),
        "promote": args.promote,
        "fresh_state": args.fresh_state,
    }))
}

/// A canary and both sides of it.
pub(super) fn shown(canary: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let workers = canary["workers"].as_array().into_iter().flatten();
    let workers: Vec<String> = workers.map(Value::to_string).collect();
    let mut out = format!(
        "canary     {} {}: {} after {:.0} s of {:.0} s, on workers {}\n",
        text(&canary["name"]),
        short(&canary["digest"]),
        text(&canary["stage"]),
        number(&canary["elapsed_s"]),
        number(&canary["for_s"]),
        workers.join(", "),
    );
    if let Some(why) = canary["why"].as_str() {
        out.push_str(&format!("why        {why}\n"));
    }
    for side in ["control", "canary"] {
        out.push_str(&format!("{side:<10} {}\n", sums(&canary[side])));
    }
    out
}

/// One side on a line.
pub(super) fn sums(side: &Value) -> String {
    let seconds = |value: &Value| {
        let seconds = value.as_f64();
        seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.3} s"))
    };
    format!(
        "{} requests, mean JCT {}, TTFT mean {}, p99 {}; {} late, {} errors, {} faults",
        number(&side["requests"]),
        seconds(&side["jct_mean_s"]),
        seconds(&side["ttft_mean_s"]),
        seconds(&side["ttft_p99_s"]),
        number(&side["late"]),
        number(&side["errors"]),
        number(&side["faults"]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_are_shown_and_why_it_is_over() {
        let side = |jct: f64| {
            json!({
                "requests": 120, "errors": 0, "faults": 3, "late": 1,
                "jct_mean_s": jct, "ttft_mean_s": 0.5, "ttft_p99_s": null,
            })
        };
        let canary = json!({
            "name": "mine", "digest": "ab".repeat(32), "stage": "rolled-back",
            "why": "3 faults, and 0 are allowed", "workers": [3], "elapsed_s": 12.3, "for_s": 300.0,
            "control": side(2.0), "canary": side(1.0),
        });
        let text = shown(&canary);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("rolled-back after 12 s of 300 s, on workers 3"));
        assert_eq!(lines[1], "why        3 faults, and 0 are allowed");
        assert!(lines[2].starts_with("control    120 requests, mean JCT 2.000 s"));
        assert!(lines[3].contains("p99 -; 1 late, 0 errors, 3 faults"));
    }
}
