//! How the service batches, sheds and remembers.

use serde::{Deserialize, Serialize};

/// The knobs of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The most questions the model gets at once; as many that wait are a batch.
    pub max_batch: usize,
    /// A question that has waited so long makes a batch of whatever waits.
    pub max_delay_ns: u64,
    /// A question that is older than this when its turn comes is thrown away.
    pub max_age_ns: u64,
    /// Questions that may wait; one more, and the one that has waited longest is thrown away.
    pub queue_len: usize,
    /// Answers that are remembered; 0 remembers none.
    pub cache_len: usize,
}

impl Default for Options {
    /// Two milliseconds are a small part of an iteration, and after a second a job is elsewhere.
    fn default() -> Self {
        Self {
            max_batch: 16,
            max_delay_ns: 2_000_000,
            max_age_ns: 1_000_000_000,
            queue_len: 1024,
            cache_len: 4096,
        }
    }
}

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A knob stands at nothing.
    #[error("prediction service: {knob} is 0; give 1 or more")]
    Zero {
        /// Which one.
        knob: &'static str,
    },
    /// A question would be too old before its batch could go.
    #[error(
        "prediction service: max_age_ns {max_age_ns} is below max_delay_ns {max_delay_ns}, so that \
         whatever waits for its batch is thrown away; raise the one or lower the other"
    )]
    AgeBelowDelay {
        /// The age.
        max_age_ns: u64,
        /// The delay.
        max_delay_ns: u64,
    },
    /// The system gave no thread.
    #[error("prediction service: cannot start its thread: {0}; see the limits on threads")]
    Thread(#[from] std::io::Error),
}

impl Options {
    /// Refuses what cannot work.
    pub(super) fn check(&self) -> Result<(), ServiceError> {
        let knobs = [("max_batch", self.max_batch), ("queue_len", self.queue_len)];
        if let Some(&(knob, _)) = knobs.iter().find(|(_, value)| *value == 0) {
            return Err(ServiceError::Zero { knob });
        }
        if self.max_age_ns < self.max_delay_ns {
            return Err(ServiceError::AgeBelowDelay {
                max_age_ns: self.max_age_ns,
                max_delay_ns: self.max_delay_ns,
            });
        }
        Ok(())
    }
}
