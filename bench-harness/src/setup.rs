//! What a worker is and how it is scheduled, as a command line or a suite says it.

use elis_scheduler::config::{Boundary, Placement};
use elis_sim::profile::{BatchingKind, ProfileError};
use elis_sim::{Options, Profile};
use serde::{Deserialize, Serialize};

/// The worker where nobody says otherwise.
pub const DEFAULT_PROFILE: &str = "sim:llama2-13b-a100";

/// When jobs come back to the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum BoundaryKind {
    /// Each job on its own after its window.
    #[default]
    Slot,
    /// The whole batch, when all made their window or any one finished (the paper).
    Batch,
}

impl From<BoundaryKind> for Boundary {
    fn from(kind: BoundaryKind) -> Self {
        match kind {
            BoundaryKind::Slot => Self::Slot,
            BoundaryKind::Batch => Self::Batch,
        }
    }
}

/// Which worker a request goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PlacementKind {
    /// The one with the fewest requests.
    #[default]
    Jobs,
    /// The one whose requests are predicted to need the least work.
    Work,
}

impl From<PlacementKind> for Placement {
    fn from(kind: PlacementKind) -> Self {
        match kind {
            PlacementKind::Jobs => Self::Jobs,
            PlacementKind::Work => Self::Work,
        }
    }
}

/// The workers and how they are scheduled; what is left out is the profile's or the default.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerSetup {
    /// A built-in profile or the path of one in TOML.
    pub profile: Option<String>,
    /// How many workers.
    pub workers: Option<u16>,
    /// Sequences in one iteration.
    pub max_num_seqs: Option<u32>,
    /// Tokens in one iteration.
    pub max_batched_tokens: Option<u32>,
    /// KV blocks of the device.
    pub gpu_blocks: Option<u32>,
    /// KV blocks of host memory, 0 for a worker that cannot swap.
    pub cpu_blocks: Option<u32>,
    /// How prompts and decodes share iterations.
    pub batching: Option<BatchingKind>,
    /// When jobs come back to the scheduler.
    pub boundary: Option<BoundaryKind>,
    /// Which worker a request goes to.
    pub placement: Option<PlacementKind>,
    /// Tokens between two boundaries of a job.
    pub window_tokens: Option<u32>,
    /// Tokens after which a length is predicted again; 0 never.
    pub repredict_tokens: Option<u32>,
    /// Whether a boundary waits until its predictions are in.
    pub wait_for_predictions: Option<bool>,
}

impl WorkerSetup {
    /// This set-up, with `other` wherever it says nothing.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        let other = other.clone();
        Self {
            profile: self.profile.or(other.profile),
            workers: self.workers.or(other.workers),
            max_num_seqs: self.max_num_seqs.or(other.max_num_seqs),
            max_batched_tokens: self.max_batched_tokens.or(other.max_batched_tokens),
            gpu_blocks: self.gpu_blocks.or(other.gpu_blocks),
            cpu_blocks: self.cpu_blocks.or(other.cpu_blocks),
            batching: self.batching.or(other.batching),
            boundary: self.boundary.or(other.boundary),
            placement: self.placement.or(other.placement),
            window_tokens: self.window_tokens.or(other.window_tokens),
            repredict_tokens: self.repredict_tokens.or(other.repredict_tokens),
            wait_for_predictions: self.wait_for_predictions.or(other.wait_for_predictions),
        }
    }

    /// The simulator's options.
    ///
    /// # Errors
    /// There is no such profile.
    pub fn options(&self) -> Result<Options, ProfileError> {
        let profile = Profile::resolve(self.profile.as_deref().unwrap_or(DEFAULT_PROFILE))?;
        Ok(self.apply(Options::new(profile)))
    }

    /// `options` with everything that this set-up says, but for the profile.
    #[must_use]
    pub fn apply(&self, mut options: Options) -> Options {
        fn set<T: Copy>(field: &mut T, value: Option<T>) {
            *field = value.unwrap_or(*field);
        }
        set(&mut options.workers, self.workers);
        set(&mut options.profile.max_num_seqs, self.max_num_seqs);
        set(
            &mut options.profile.max_batched_tokens,
            self.max_batched_tokens,
        );
        set(&mut options.profile.gpu_blocks, self.gpu_blocks);
        set(&mut options.profile.cpu_blocks, self.cpu_blocks);
        set(&mut options.profile.batching, self.batching);
        set(&mut options.boundary, self.boundary.map(Boundary::from));
        set(&mut options.placement, self.placement.map(Placement::from));
        set(&mut options.window_tokens, self.window_tokens);
        set(&mut options.repredict_tokens, self.repredict_tokens);
        set(&mut options.wait_for_predictions, self.wait_for_predictions);
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_counts_and_the_rest_is_the_profiles() {
        let said = WorkerSetup {
            gpu_blocks: Some(900),
            boundary: Some(BoundaryKind::Batch),
            ..WorkerSetup::default()
        };
        let defaults = WorkerSetup {
            gpu_blocks: Some(1),
            max_num_seqs: Some(7),
            ..WorkerSetup::default()
        };
        let plain = WorkerSetup::default().options().unwrap();
        let options = said.or(&defaults).options().unwrap();
        assert_eq!(options.profile.gpu_blocks, 900);
        assert_eq!(options.profile.max_num_seqs, 7);
        assert_eq!(options.boundary, Boundary::Batch);
        assert_eq!(options.profile.cpu_blocks, plain.profile.cpu_blocks);
        assert_eq!(options.window_tokens, plain.window_tokens);
    }
}
