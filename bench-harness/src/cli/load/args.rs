//! The options of `elis-bench load`.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Args, ValueEnum, value_parser};
use elis_bench_harness::load::{Api, Ramp};
use serde_json::{Map, Value};

/// Which endpoint is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ApiArg {
    /// /v1/completions: prompts as text, or as token ids where the stream has lengths only.
    Completions,
    /// /v1/chat/completions: prompts as text, or as so many words.
    Chat,
}

impl From<ApiArg> for Api {
    fn from(api: ApiArg) -> Self {
        match api {
            ApiArg::Completions => Self::Completions,
            ApiArg::Chat => Self::Chat,
        }
    }
}

/// The server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub(super) struct ServerArgs {
    /// Base address of an OpenAI-compatible server, with or without its /v1
    #[arg(long)]
    pub(super) url: String,
    /// The endpoint
    #[arg(long, default_value = "completions")]
    pub(super) api: ApiArg,
    /// Model to ask for; without it the first that the server lists
    #[arg(long)]
    pub(super) model: Option<String>,
    /// Key for the server
    #[arg(long, env = "ELIS_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub(super) api_key: Option<String>,
    /// How long a response may take, from its sending
    #[arg(long = "timeout", default_value_t = 600.0, value_name = "SECONDS")]
    pub(super) timeout_s: f64,
    /// The most requests at the server at once; others wait, and their latencies with them
    #[arg(
        long,
        default_value_t = 1000,
        value_name = "N",
        value_parser = value_parser!(u32).range(1..)
    )]
    pub(super) max_requests_in_flight: u32,
}

/// When requests are sent; without either, at the times of the stream.
#[derive(Debug, Args)]
#[command(next_help_heading = "Pace")]
pub(super) struct PaceArgs {
    /// Closed loop: so many users, each of whom sends the next request when the last is answered
    #[arg(
        long,
        value_name = "USERS",
        value_parser = value_parser!(u32).range(1..),
        conflicts_with_all = ["rate", "speedup", "for_s", "arrivals"]
    )]
    pub(super) concurrency: Option<u32>,
    /// Rates that go in straight lines, FROM:TO:SECONDS with commas between; the last one holds.
    /// Without --requests, as many as fill the ramp
    #[arg(
        long,
        value_name = "FROM:TO:SECONDS",
        conflicts_with_all = ["concurrency", "rate", "speedup", "for_s"]
    )]
    pub(super) ramp: Option<Ramp>,
}

/// What is sent.
#[derive(Debug, Args)]
#[command(next_help_heading = "Requests")]
pub(super) struct RequestArgs {
    /// Let the model end by itself, after --max-output-tokens (1024) at the latest; otherwise
    /// max_tokens and vLLM's ignore_eos give each response the length that the stream has,
    /// and a server that looks at max_tokens knows all lengths: judge predictors with this
    #[arg(long)]
    pub(super) natural: bool,
    /// Tell the server how long each response will be, as the stream has it, in `oracle_tokens`:
    /// for `elis serve --predictor oracle`, where a first pass has shown the model's own lengths
    #[arg(long, requires = "natural")]
    pub(super) tell_lengths: bool,
    /// Where made-up token ids lie
    #[arg(
        long,
        default_value = "1000:29999",
        value_name = "LOW:HIGH",
        value_parser = super::token_ids
    )]
    pub(super) token_ids: RangeInclusive<u32>,
    /// Fields that are put into every request, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = super::object)]
    pub(super) extra_body: Option<Map<String, Value>>,
    /// Requests before each run that are not measured, one after the other
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(super) warm_up: u32,
}

/// What is compared.
#[derive(Debug, Args)]
#[command(next_help_heading = "Comparison")]
pub(super) struct ComparisonArgs {
    /// Policies that take turns on the same streams, in an order drawn anew for each stream
    #[arg(long, value_delimiter = ',', value_name = "POLICY,POLICY,…")]
    pub(super) compare: Vec<String>,
    /// The policy that the others are compared with; without it the first
    #[arg(long, value_name = "POLICY", requires = "compare")]
    pub(super) baseline: Option<String>,
    /// What a single run is called in the report
    #[arg(
        long,
        default_value = "server",
        value_name = "NAME",
        conflicts_with = "compare"
    )]
    pub(super) label: String,
    /// How many streams; seed 0 of a trace is the trace as it is, others start elsewhere in it
    #[arg(
        long,
        default_value_t = 1,
        value_name = "N",
        value_parser = value_parser!(u64).range(1..)
    )]
    pub(super) seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    pub(super) seed: u64,
    /// Change the policy with this command of the shell, {policy} standing for its name; it runs
    /// once before anything is asked too, so it may be what starts the server
    #[arg(long, value_name = "COMMAND", requires = "compare")]
    pub(super) switch_command: Option<String>,
    /// Otherwise POST {"policy": NAME} to /admin/policy here
    #[arg(long, default_value = "http://127.0.0.1:8081", value_name = "URL")]
    pub(super) admin_url: String,
    /// Token for that
    #[arg(
        long,
        env = "ELIS_ADMIN_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub(super) admin_token: Option<String>,
    /// Where the server has its Prometheus metrics, which tell when it is idle, unless
    /// /admin/status does; /metrics at --url
    #[arg(long, value_name = "URL")]
    pub(super) metrics_url: Option<String>,
    /// A gauge that is 0 when the server is idle, beside those of common servers; may be given
    /// again
    #[arg(long = "idle-gauge", value_name = "NAME")]
    pub(super) idle_gauges: Vec<String>,
    /// How long to wait between runs until the server is idle
    #[arg(long = "idle-timeout", default_value_t = 120.0, value_name = "SECONDS")]
    pub(super) idle_timeout_s: f64,
    /// How long to rest between runs, once it is
    #[arg(long = "settle", default_value_t = 1.0, value_name = "SECONDS")]
    pub(super) settle_s: f64,
}

/// What comes of it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Report")]
pub(super) struct ReportArgs {
    /// Objective for the first token, for goodput
    #[arg(long, value_name = "MS")]
    pub(super) slo_ttft_ms: Option<f64>,
    /// Objective for each token after it
    #[arg(long, value_name = "MS")]
    pub(super) slo_tpot_ms: Option<f64>,
    /// Objective for the whole response
    #[arg(long, value_name = "MS")]
    pub(super) slo_jct_ms: Option<f64>,
    /// Folder for report.html, report.json, requests.csv and latencies.hlog
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Write everything as one JSON document to a path, or to standard output for -
    #[arg(long, value_name = "PATH")]
    pub(super) json: Option<PathBuf>,
    /// The share of requests that may fail before the exit code is 3
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub(super) allow_errors: f64,
    /// Exit with 4 if for any policy a smaller share of requests meets the objectives
    #[arg(long, value_name = "SHARE")]
    pub(super) min_goodput: Option<f64>,
    /// Exit with 4 if any policy is significantly worse than the baseline
    #[arg(long)]
    pub(super) gate: bool,
}
