//! Replays a trace with NVIDIA's AISimulate and prints the figures that our simulator has to match.

mod replay;
mod resimulate;
mod table;
mod timing;
mod trace;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Parser;
use serde::Serialize;

/// Tokens of one KV block; AISimulate's default for vLLM.
const BLOCK_TOKENS: u32 = 16;

/// Replays a trace with AISimulate under its built-in timing, and again with its rules rewritten.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// CSV with the columns arrival_s_at_1rps, prompt_tokens, output_tokens.
    trace: PathBuf,
    /// Requests per second; the arrivals in the trace are divided by it.
    rate: f64,
    /// KV blocks of 16 tokens.
    #[arg(long, default_value_t = 16_384)]
    blocks: u32,
    /// Most sequences in one pass.
    #[arg(long, default_value_t = 256)]
    seqs: u32,
    /// Most tokens in one pass.
    #[arg(long, default_value_t = 8_192)]
    tokens: u32,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// The engine that both replays model.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Engine {
    /// KV blocks of `BLOCK_TOKENS`.
    pub blocks: u32,
    /// Most sequences in one pass.
    pub seqs: u32,
    /// Most tokens in one pass.
    pub tokens: u32,
}

impl Engine {
    /// Tokens for which there is KV memory.
    pub fn kv_tokens(&self) -> u64 {
        u64::from(self.blocks) * u64::from(BLOCK_TOKENS)
    }
}

/// What one replay came to; times in milliseconds unless the name says otherwise.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Who simulated, by which rule.
    pub simulator: String,
    /// Mean time to the first token.
    pub ttft_ms: f64,
    /// Mean over the requests of the time per token after the first.
    pub tpot_ms: f64,
    /// Mean time from arrival to the last token.
    pub e2e_ms: f64,
    /// Its 99th percentile.
    pub p99_e2e_ms: f64,
    /// Finished requests over the virtual time that they took.
    pub requests_per_s: f64,
    /// Passes in which somebody decoded. All but the first few passes of a replay have one.
    pub iterations: u64,
    /// CPU time of the replay alone; none where the system does not tell.
    pub cpu_s: Option<f64>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(
        arguments.rate.is_finite() && arguments.rate > 0.0,
        "the rate must be above 0, not {}",
        arguments.rate
    );
    let engine = Engine {
        blocks: arguments.blocks,
        seqs: arguments.seqs,
        tokens: arguments.tokens,
    };
    ensure!(
        engine.blocks > 0 && engine.seqs > 0 && engine.tokens > 0,
        "--blocks, --seqs and --tokens must be above 0"
    );
    let requests = trace::read(&arguments.trace, arguments.rate)?;
    let mut rows = vec![replay::run(&requests, engine)?];
    // These are worth a row only as long as memory suffices: they know no preemption.
    let resimulated = [
        ("re-simulated, cut mean", resimulate::Prefill::CutMean),
        (
            "re-simulated, sum",
            resimulate::Prefill::Sum { extra_tokens: 0.0 },
        ),
        (
            "re-simulated, sum + 0.001 tokens",
            resimulate::Prefill::Sum {
                extra_tokens: 0.001,
            },
        ),
    ];
    for (name, rule) in resimulated {
        match resimulate::run(name, &requests, engine, rule) {
            Some(figures) => rows.push(figures),
            None => eprintln!("no row `{name}`: KV memory runs out and it cannot preempt"),
        }
    }
    if arguments.json {
        let report = serde_json::json!({
            "requests": requests.len(),
            "rate": arguments.rate,
            "engine": engine,
            "rows": rows,
        });
        println!("{report:#}");
    } else {
        print!("{}", table::of(&rows));
    }
    Ok(())
}

/// Nanoseconds that this thread has been on a processor, where Linux tells.
pub fn cpu_ns() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Runs `work` and tells the CPU seconds that it took.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Option<f64>) {
    let before = cpu_ns();
    let value = work();
    let spent = before
        .zip(cpu_ns())
        .map(|(before, after)| (after - before) as f64 / 1e9);
    (value, spent)
}
