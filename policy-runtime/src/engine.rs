//! One engine for all policies of a process, and how their time is metered.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Config, Engine};

use crate::RuntimeError;
use crate::cache::Cache;

/// How often a live engine looks at the clock: the resolution of a time budget.
pub(crate) const TICK: Duration = Duration::from_micros(250);

/// The budget of what runs once, `describe` and `configure`, in budgets of a decision: an
/// interpreted language starts its interpreter there.
const START_BUDGETS: u64 = 100;

/// What a decision may cost before it is cut off, and how that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metering {
    /// By fuel, about one unit for each instruction: the same on every machine and in every replay.
    Fuel {
        /// Units for one decision.
        per_decision: u64,
    },
    /// By the clock, for live service: cheaper, and not reproducible. What counts is the time that
    /// the calling thread runs: a machine that is busy with others uses up nobody's budget.
    Epoch {
        /// Time of the thread for one decision, in milliseconds.
        budget_ms: u32,
    },
    /// Not at all: for benches only, since an endless loop would never end.
    Off,
}

/// The variable that names a folder for compiled policies, as in [`Options::cache_dir`].
pub const CACHE_VARIABLE: &str = "ELIS_POLICY_CACHE";

/// The folder that [`CACHE_VARIABLE`] names.
pub fn cache_folder() -> Option<PathBuf> {
    std::env::var_os(CACHE_VARIABLE).map(PathBuf::from)
}

/// Settings of a [`Runtime`].
#[derive(Debug, Clone)]
pub struct Options {
    /// How decisions are metered.
    pub metering: Metering,
    /// Linear memory that one instance may have, in bytes.
    pub memory_bytes: usize,
    /// The largest policy that is looked at, in bytes.
    pub policy_bytes: usize,
    /// The longest list that a plan may hold, in entries.
    pub answer_entries: usize,
    /// Where compiled code is kept; `None` compiles on every load. The folder must be one that only
    /// the user of this process can write.
    pub cache_dir: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            // A decision over 10,000 jobs takes about a million; this ends a loop within 0.1 s.
            metering: Metering::Fuel {
                per_decision: 50_000_000,
            },
            memory_bytes: 64 << 20,
            policy_bytes: 64 << 20,
            answer_entries: 1 << 17,
            cache_dir: None,
        }
    }
}

/// Loads policies. Cheap to clone; every clone is the same engine.
#[derive(Debug, Clone)]
pub struct Runtime {
    pub(crate) shared: Arc<Shared>,
}

/// What policies keep of the runtime that loaded them.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) options: Options,
    pub(crate) cache: Option<Cache>,
}

impl Runtime {
    /// Sets up an engine.
    ///
    /// # Errors
    ///
    /// The engine refuses to run on this machine, or the cache folder cannot be made.
    pub fn new(options: Options) -> Result<Self, RuntimeError> {
        let engine =
            Engine::new(&config(options.metering)).map_err(|e| RuntimeError::Engine(text(&e)))?;
        let cache = match &options.cache_dir {
            Some(dir) => Some(Cache::open(dir, &engine)?),
            None => None,
        };
        if matches!(options.metering, Metering::Epoch { .. }) {
            start_ticker(&engine)?;
        }
        let shared = Arc::new(Shared {
            engine,
            options,
            cache,
        });
        Ok(Self { shared })
    }

    /// The settings.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }
}

/// Settings under which the same bytes and the same snapshot give the same plan on every machine.
fn config(metering: Metering) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        // Policies are synchronous; the machinery of asynchronous components makes calls dearer.
        .concurrency_support(false)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .parallel_compilation(true)
        .consume_fuel(matches!(metering, Metering::Fuel { .. }))
        .epoch_interruption(matches!(metering, Metering::Epoch { .. }));
    config
}

/// Advances the engine's epoch for as long as the engine lives.
fn start_ticker(engine: &Engine) -> Result<(), RuntimeError> {
    let engine = engine.weak();
    std::thread::Builder::new()
        .name("elis-policy-clock".to_owned())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(TICK);
            }
        })
        .map(drop)
        .map_err(|e| RuntimeError::Ticker(e.to_string()))
}

/// What a call may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Budget {
    /// Units of fuel.
    Fuel(u64),
    /// Time of the thread.
    Time(Duration),
    /// No limit.
    Unlimited,
}

impl Metering {
    /// The budget of one decision.
    pub(crate) fn decision(self) -> Budget {
        match self {
            Self::Fuel { per_decision } => Budget::Fuel(per_decision),
            Self::Epoch { budget_ms } => Budget::Time(Duration::from_millis(u64::from(budget_ms))),
            Self::Off => Budget::Unlimited,
        }
    }

    /// The budget of `describe` and `configure`.
    pub(crate) fn start(self) -> Budget {
        match self.decision() {
            Budget::Fuel(units) => Budget::Fuel(units.saturating_mul(START_BUDGETS)),
            Budget::Time(cpu) => Budget::Time(cpu.saturating_mul(START_BUDGETS as u32)),
            Budget::Unlimited => Budget::Unlimited,
        }
    }
}

/// An error of wasmtime with its causes on one line.
pub(crate) fn text(error: &wasmtime::Error) -> String {
    format!("{error:#}").replace('\n', " ")
}
