//! What an operator says of the engine.

use std::path::PathBuf;

use anyhow::ensure;
use clap::{Args, ValueEnum};
use elis_host::engine::EngineOptions;
use elis_host::http::{LogOptions, ServerOptions};
use elis_host::telemetry::TraceOptions;
use elis_llm::device::Place;
use elis_scheduler::Span;
use elis_scheduler::config::{Boundary, Placement};

/// Serve a model
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  elis serve --model models/smollm2-135m-instruct --policy isrtf --predictor predictor/shipped
  elis serve --worker sim:llama2-13b-a100 --policy fcfs     no model: the pace of a modelled GPU
  curl http://127.0.0.1:8080/v1/chat/completions -H 'content-type: application/json' \\
       -d '{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'
  elis serve --worker sim:llama2-13b-a100 --workers 4       four of them, for a canary on one
  elis policy push isrtf && elis policy promote DIGEST      another policy, while requests flow")]
pub(crate) struct Serve {
    /// The model: a GGUF file, or a folder with one, or with safetensors
    #[arg(long, value_name = "PATH", required_unless_present = "worker")]
    pub(crate) model: Option<PathBuf>,
    /// Instead of a model, a modelled worker in real time: sim:NAME or the path of a profile
    #[arg(long, value_name = "PROFILE", conflicts_with = "model")]
    pub(crate) worker: Option<String>,
    /// How many times faster than real a modelled worker is
    #[arg(long, value_name = "TIMES", default_value_t = 1.0, requires = "worker")]
    pub(crate) speed: f64,
    /// How many workers there are: of a model on the CPU they share the weights, and each has its
    /// own thread and its own memory for keys and values
    #[arg(long, value_name = "WORKERS", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) workers: u16,
    /// The name that clients give the model, by default its own
    #[arg(long, value_name = "NAME")]
    pub(crate) served_model_name: Option<String>,
    /// The first policy, by name or path; with --state-dir the one that was live last goes on
    #[arg(long, default_value = "fcfs")]
    pub(crate) policy: String,
    /// The configuration of --policy, a TOML file
    #[arg(long, value_name = "FILE")]
    pub(crate) policy_config: Option<PathBuf>,
    /// Where policies, the live one's name and the audit log outlive the server
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Take only policies that are signed with this minisign key; may be repeated
    #[arg(long, value_name = "PUBLIC KEY FILE")]
    pub(crate) require_signature: Vec<PathBuf>,
    /// Who predicts lengths: none, oracle, constant:N, noisy:MAE, or the folder of a trained one
    #[arg(long, default_value = "none")]
    pub(crate) predictor: String,
    /// Where the trained predictor's encoder is, if not where it was trained with
    #[arg(long, value_name = "PATH|NAME")]
    pub(crate) encoder: Option<String>,
    /// Which of the models that the trained predictor knows answers; otherwise the one that is
    /// called like the served one
    #[arg(long, value_name = "MODEL")]
    pub(crate) predictor_model: Option<String>,
    #[command(flatten)]
    pub(crate) limits: Limits,
    /// Tokens between two boundaries of a job; 1 decides at every iteration
    #[arg(long, value_name = "TOKENS", default_value_t = 50, help_heading = "Scheduling",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) window_tokens: u32,
    /// Tokens after which a length is predicted again; 0 predicts on arrival only
    #[arg(
        long,
        value_name = "TOKENS",
        default_value_t = 50,
        help_heading = "Scheduling"
    )]
    pub(crate) repredict_tokens: u32,
    /// When jobs come back to the scheduler
    #[arg(long, default_value = "slot", help_heading = "Scheduling")]
    pub(crate) boundary: BoundaryKind,
    /// Which worker a request goes to
    #[arg(long, default_value = "jobs", help_heading = "Scheduling")]
    pub(crate) placement: PlacementKind,
    /// The longest that a request waits before it goes first; 0 for no guard
    #[arg(
        long = "max-wait-ms",
        value_name = "MS",
        default_value_t = 60_000,
        help_heading = "Scheduling"
    )]
    pub(crate) max_wait_ms: u64,
    /// Requests held at once; beyond it they get 429
    #[arg(long, value_name = "REQUESTS", default_value_t = 4096, help_heading = "Scheduling",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) queue: u32,
    /// What a decision may take of the processor before arrival order stands in
    #[arg(long, value_name = "MS", default_value_t = 2, help_heading = "Scheduling",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) decision_budget_ms: u32,
    /// Seed of what policies may use as randomness
    #[arg(long, default_value_t = 0, help_heading = "Scheduling")]
    pub(crate) seed: u64,
    /// Record each iteration here, for `elis-bench worker fit`
    #[arg(long, value_name = "CSV", help_heading = "Scheduling")]
    pub(crate) iteration_log: Option<PathBuf>,
    /// Record everything from the start here, for `elis-bench replay`; see `elis record`
    #[arg(long, value_name = "PATH", help_heading = "Scheduling")]
    pub(crate) record: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: ServerOptions,
    #[command(flatten)]
    pub(crate) log: LogOptions,
    #[command(flatten)]
    pub(crate) traces: TraceOptions,
}

/// What a model may use.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct Limits {
    /// Where it is computed: cpu, or cuda:N in a build with CUDA
    #[arg(long, default_value_t = Place::Cpu)]
    pub(crate) device: Place,
    /// What weights are multiplied as; auto keeps what the file has on the CPU, and is bf16 on GPUs
    #[arg(long, default_value = "auto")]
    pub(crate) precision: PrecisionKind,
    /// Memory for keys and values, MiB: by default 1024 on the CPU, and on a GPU what
    /// --gpu-memory-utilization leaves
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) kv_memory_mib: Option<u32>,
    /// The share of a GPU's memory that weights, keys and values take together
    #[arg(long, value_name = "0..1", default_value_t = 0.9, value_parser = share)]
    pub(crate) gpu_memory_utilization: f64,
    /// Memory that jobs may be swapped to, MiB
    #[arg(long, value_name = "MIB", default_value_t = 0)]
    pub(crate) swap_memory_mib: u32,
    /// Sequences in one iteration
    #[arg(long, value_name = "SEQUENCES", default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_num_seqs: u32,
    /// Tokens in one iteration: longer prompts are read in chunks
    #[arg(long, value_name = "TOKENS", default_value_t = 128,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_batched_tokens: u32,
    /// The most tokens of prompt and response, by default what the model was made for
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) context_tokens: Option<u32>,
}

/// Weights as the command line names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrecisionKind {
    /// What the file has
    Auto,
    /// 32-bit floats
    F32,
    /// Blocks of 8-bit integers
    Q8,
    /// 16-bit brain floats, on GPUs
    Bf16,
}

/// Memory for keys and values on the CPU unless something else is said, MiB.
pub(crate) const DEFAULT_KV_MIB: u32 = 1024;

impl Limits {
    /// KV blocks of so many bytes in what was asked for, or in the default.
    pub(crate) fn kv_blocks(&self, default_mib: u32, block_bytes: usize) -> anyhow::Result<u32> {
        let mib = self.kv_memory_mib.unwrap_or(default_mib);
        let blocks = blocks(mib, block_bytes);
        ensure!(
            blocks > 0,
            "--kv-memory-mib {mib} is less than one KV block, which takes {} KiB",
            block_bytes >> 10
        );
        Ok(blocks)
    }
}

/// Blocks of so many bytes in so much memory.
pub(crate) fn blocks(mib: u32, block_bytes: usize) -> u32 {
    let blocks = (u64::from(mib) << 20) / block_bytes.max(1) as u64;
    u32::try_from(blocks).unwrap_or(u32::MAX)
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let fits = share > 0.0 && share <= 1.0;
    fits.then_some(share)
        .ok_or_else(|| "expected more than 0 and at most 1".to_owned())
}

/// Boundaries as the command line names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BoundaryKind {
    /// Each job on its own
    Slot,
    /// The whole batch, as in the paper
    Batch,
}

/// Placements as the command line names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlacementKind {
    /// The one with the fewest requests
    Jobs,
    /// The one whose requests are predicted to need the least work
    Work,
}

impl Serve {
    /// How the engine schedules.
    pub(crate) fn engine(&self) -> EngineOptions {
        EngineOptions {
            boundary: match self.boundary {
                BoundaryKind::Slot => Boundary::Slot,
                BoundaryKind::Batch => Boundary::Batch,
            },
            placement: match self.placement {
                PlacementKind::Jobs => Placement::Jobs,
                PlacementKind::Work => Placement::Work,
            },
            window_tokens: self.window_tokens,
            repredict_tokens: self.repredict_tokens,
            max_wait: Span::from_ms(self.max_wait_ms),
            jobs_max: self.queue as usize,
            seed: self.seed,
        }
    }
}
