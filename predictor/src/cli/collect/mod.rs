//! `elis-predictor collect`: responses of a live server to prompts of a file.

mod drive;
mod prompts;
mod server;
mod stop;
mod store;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use drive::{Drive, Tally};
use prompts::Choice;
use server::{Access, Endpoint, Sampling, Server};
use stop::Stop;
pub(crate) use store::RESPONSES;
use store::Store;

/// Ask a live server for responses and keep them, with their lengths.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  elis-predictor collect --url http://127.0.0.1:8000/v1 --prompts prompts.jsonl --out resp.jsonl
  elis-predictor collect --url http://127.0.0.1:8000/v1 --prompts all.jsonl.gz --licence MIT \\
      --licence Apache-2.0 --per-source 1500 --shuffle-seed 1 --samples 4 --out resp.jsonl
  ELIS_API_KEY=… elis-predictor collect --url https://host/v1 --model m --rate 2 \\
      --prompts p.jsonl --out resp.jsonl

A line of a prompt file is a JSON object with 'prompt', and if wanted 'id' (or 'prompt_id'),
'source' (or 'dataset'), 'licence' and 'max_tokens'. What --out holds already is not asked again,
so the same command continues after an interruption. Requests that failed stand beside it in
OUT.failures.jsonl (its extension replaced) and are asked again by the next run. The first Ctrl-C
waits for the answers under way, the second does not.

Exit codes: 0 done, 1 error, 2 usage, 3 some requests failed, 130 interrupted.")]
pub(crate) struct Collect {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    prompts: PromptArgs,
    #[command(flatten)]
    responses: ResponseArgs,
    /// Where the responses go, one JSON object a line (schema elis-responses/1)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// The server and how hard it is pressed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
struct ServerArgs {
    /// Base address of an OpenAI-compatible API, with its /v1
    #[arg(long)]
    url: String,
    /// Model to ask for; without it the first that the server lists
    #[arg(long)]
    model: Option<String>,
    /// Key for the server
    #[arg(long, env = "ELIS_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Option<String>,
    /// Ask /completions, where the prompt gets no chat template, instead of /chat/completions
    #[arg(long)]
    completions: bool,
    /// Requests under way at the same time
    #[arg(long, default_value_t = 4, value_name = "N")]
    concurrency: usize,
    /// The most requests to begin in a second; without it as many as --concurrency lets through
    #[arg(long, value_name = "RPS")]
    rate: Option<f64>,
    /// How often a request is sent again after 429, 5xx or a broken connection
    #[arg(long, default_value_t = 6, value_name = "N")]
    retries: usize,
    /// Wait before the first time, doubled each time after; a Retry-After goes before it
    #[arg(long, default_value_t = 500, value_name = "MS")]
    retry_wait_ms: u64,
    /// How long a response may take
    #[arg(long, default_value_t = 600.0, value_name = "SECONDS")]
    timeout_s: f64,
    /// Stop when so many requests in a row have failed
    #[arg(long, default_value_t = 20, value_name = "N")]
    give_up_after: u32,
}

/// Which prompts are asked.
#[derive(Debug, Args)]
#[command(next_help_heading = "Prompts")]
struct PromptArgs {
    /// Files of prompts, .jsonl or .jsonl.gz
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    prompts: Vec<PathBuf>,
    /// Only prompts whose licence contains this, in any case; may be given again
    #[arg(long = "licence", value_name = "SUBSTR")]
    licences: Vec<String>,
    /// Only prompts whose source contains this, in any case; may be given again
    #[arg(long = "source", value_name = "SUBSTR")]
    sources: Vec<String>,
    /// Ask in an order drawn with this seed, so that any beginning of the work is a mix
    #[arg(long, value_name = "SEED")]
    shuffle_seed: Option<u64>,
    /// The most prompts of one source
    #[arg(long, value_name = "N")]
    per_source: Option<usize>,
    /// The most prompts in all
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// How responses are drawn.
#[derive(Debug, Args)]
#[command(next_help_heading = "Responses")]
struct ResponseArgs {
    /// The most tokens of a response; a prompt's own max_tokens goes before it
    #[arg(long, default_value_t = 1024, value_name = "TOKENS")]
    max_tokens: u32,
    /// Sampling temperature; 1 draws from the model's own distribution, 0 is greedy
    #[arg(long, default_value_t = 1.0)]
    temperature: f64,
    /// Nucleus sampling; without it the server's default
    #[arg(long)]
    top_p: Option<f64>,
    /// Seed of the server's sampling; sample k of a prompt is drawn with SEED + k
    #[arg(long)]
    seed: Option<u64>,
    /// Responses to each prompt
    #[arg(long, default_value_t = 1, value_name = "N")]
    samples: u32,
}

impl Collect {
    pub(crate) fn run(self) -> Result<ExitCode> {
        self.check()?;
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?
            .block_on(self.collect())
    }

    fn check(&self) -> Result<()> {
        let server = &self.server;
        ensure!(
            server.concurrency > 0,
            "--concurrency 0 asks nobody; give 1 or more"
        );
        ensure!(
            server.rate.is_none_or(|rate| (1e-4..=1e6).contains(&rate)),
            "--rate must lie between 0.0001 and 1000000 requests a second"
        );
        ensure!(
            (0.001..=1e6).contains(&server.timeout_s),
            "--timeout-s must lie between 0.001 and 1000000 seconds"
        );
        let temperature = self.responses.temperature;
        ensure!(
            (0.0..=10.0).contains(&temperature),
            "--temperature must lie between 0 and 10"
        );
        Ok(())
    }

    async fn collect(self) -> Result<ExitCode> {
        let prompts = prompts::choose(prompts::read(&self.prompts.prompts)?, &self.choice());
        ensure!(
            !prompts.is_empty(),
            "no prompt is left; loosen --licence, --source or --limit"
        );
        let stop = Stop::new();
        let server = Server::new(self.access(), stop.clone()).context("cannot make a client")?;
        let model = match &self.server.model {
            Some(model) => model.clone(),
            None => server
                .first_model()
                .await
                .with_context(|| format!("cannot ask {} for its models", self.server.url))?,
        };
        let store = Store::open(&self.out, &model)?;
        if store.torn_bytes > 0 {
            let (out, bytes) = (self.out.display(), store.torn_bytes);
            eprintln!("cut a torn last line of {bytes} bytes off {out}");
        }
        let mut drive = Drive {
            server,
            model,
            store,
            sampling: Sampling {
                temperature: self.responses.temperature,
                top_p: self.responses.top_p,
                max_tokens: self.responses.max_tokens,
                seed: self.responses.seed,
            },
            concurrency: self.server.concurrency,
            rate_rps: self.server.rate,
            give_up_after: self.server.give_up_after,
            stop: stop.clone(),
        };
        let tally = tokio::select! {
            tally = drive.run(&prompts, self.responses.samples) => Some(tally?),
            () = stop.listen() => None,
            () = stop.asked(2) => None,
        };
        let Some(tally) = tally else {
            eprintln!("stopped at once; what was answered before is saved");
            return Ok(ExitCode::from(130));
        };
        Self::report(&tally, &drive)
    }

    /// Says what came of it, and how the program ends.
    fn report(tally: &Tally, drive: &Drive) -> Result<ExitCode> {
        eprintln!("{tally}");
        if tally.failed > 0 {
            let path = drive.store.failures_path();
            eprintln!("what failed, and why: {}", path.display());
        }
        ensure!(
            !tally.gave_up,
            "gave up after {} failures in a row, the last: {}; see that the server is well and \
             run the same command again",
            drive.give_up_after,
            tally.last_failure
        );
        Ok(match tally {
            Tally { left: 1.., .. } => ExitCode::from(130),
            Tally { failed: 1.., .. } => ExitCode::from(3),
            _ => ExitCode::SUCCESS,
        })
    }

    fn choice(&self) -> Choice {
        let prompts = &self.prompts;
        Choice {
            licences: prompts.licences.clone(),
            sources: prompts.sources.clone(),
            shuffle_seed: prompts.shuffle_seed,
            per_source: prompts.per_source,
            limit: prompts.limit,
        }
    }

    fn access(&self) -> Access {
        let server = &self.server;
        Access {
            url: server.url.trim_end_matches('/').to_owned(),
            api_key: server.api_key.clone(),
            endpoint: if server.completions {
                Endpoint::Completions
            } else {
                Endpoint::Chat
            },
            timeout: Duration::from_secs_f64(server.timeout_s),
            retries: server.retries,
            first_wait: Duration::from_millis(server.retry_wait_ms),
        }
    }
}
