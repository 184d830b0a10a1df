//! What a simulated run is told beside its workload and its policy.

use elis_scheduler::Span;
use elis_scheduler::config::{Boundary, Config, Placement, WorkerConfig};

use elis_cost::Profile;

/// What a decision costs in virtual time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum DecisionCost {
    /// Nothing.
    #[default]
    Free,
    /// Always the same.
    Fixed {
        /// Nanoseconds.
        ns: u64,
    },
    /// By the fuel that the policy burnt, which is the same on every machine.
    Fuel {
        /// Nanoseconds for each unit.
        ns_per_unit: f64,
    },
}

/// One worker that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub worker: u16,
    /// When it is lost.
    pub at_ns: u64,
    /// For how long.
    pub down_ns: u64,
}

/// A simulated run's options.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Number of workers, all of the same profile.
    pub workers: u16,
    /// What the workers are.
    pub profile: Profile,
    /// When jobs come back.
    pub boundary: Boundary,
    /// Which worker a request goes to.
    pub placement: Placement,
    /// Tokens between two boundaries of a job.
    pub window_tokens: u32,
    /// Tokens after which a length is predicted again; 0 never.
    pub repredict_tokens: u32,
    /// Whether a boundary waits until its predictions are in, as in the paper. Otherwise only for
    /// predictions that come at once.
    pub wait_for_predictions: bool,
    /// The starvation guard; zero is none.
    pub max_wait: Span,
    /// The decision watchdog, in virtual time.
    pub decision_deadline: Span,
    /// What a decision costs.
    pub decision_cost: DecisionCost,
    /// Workers that fail.
    pub failures: Vec<Failure>,
    /// Weights of tenants by their number, 1 for those beyond the list.
    pub tenant_weights: Vec<f32>,
    /// Whether to keep a record of each request.
    pub records: bool,
    /// Whether to keep every plan, for the comparison of decision logs.
    pub decision_log: bool,
    /// Seed of what policies may use as randomness.
    pub seed: u64,
}

impl Options {
    /// Defaults for a profile: slots, windows of 50 tokens, predictions every 50, as in the paper.
    pub fn new(profile: Profile) -> Self {
        Self {
            workers: 1,
            profile,
            boundary: Boundary::Slot,
            placement: Placement::Jobs,
            window_tokens: 50,
            repredict_tokens: 50,
            wait_for_predictions: false,
            max_wait: Span::ZERO,
            decision_deadline: elis_scheduler::NO_DEADLINE,
            decision_cost: DecisionCost::Free,
            failures: Vec::new(),
            tenant_weights: Vec::new(),
            records: true,
            decision_log: false,
            seed: 0,
        }
    }

    /// The core's configuration, for a predictor with or without latency.
    pub(crate) fn config(&self, prediction_latency_ns: u64) -> Config {
        let worker: WorkerConfig = self.profile.worker_config();
        let prediction_wait = if self.wait_for_predictions {
            elis_scheduler::NO_DEADLINE
        } else if prediction_latency_ns == 0 {
            // It answers at once, so that no time passes while it is waited for.
            Span::from_ms(1)
        } else {
            Span::ZERO
        };
        Config {
            boundary: self.boundary,
            placement: self.placement,
            window_tokens: self.window_tokens,
            repredict_tokens: self.repredict_tokens,
            prediction_wait,
            decision_deadline: self.decision_deadline,
            max_wait: self.max_wait,
            jobs_max: elis_scheduler::limits::JOBS_MAX,
            seed: self.seed,
            workers: vec![worker; usize::from(self.workers)],
        }
    }
}
