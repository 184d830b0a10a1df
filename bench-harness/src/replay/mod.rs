//! What a recorded log says: that it reproduces, and how another policy would have decided. What
//! would have come of that says `elis_sim::hindsight`.

mod divergence;
mod plans;

pub use divergence::{Divergence, DivergenceWitness};
pub use plans::{PlanCheck, PlanVerdict};

use std::collections::BTreeMap;

use elis_policy_runtime::{LoadedPolicy, Runtime, resolve};

use crate::experiment::ExperimentError;

/// Policies that are at hand, by the digest of their bytes.
#[derive(Debug, Default)]
pub struct AtHand(BTreeMap<String, LoadedPolicy>);

impl AtHand {
    /// Those that can be given by name and those of these files or names.
    ///
    /// # Errors
    /// One that was named is not there or no policy.
    pub fn gather(runtime: &Runtime, named: &[String]) -> Result<Self, ExperimentError> {
        let mut all = Self::default();
        for known in resolve::list() {
            // What lies in a folder may be anything; only what is asked for has to be sound.
            let bytes = std::fs::read(&known.path).unwrap_or_default();
            if let Ok(policy) = runtime.load(&bytes) {
                all.add(policy);
            }
        }
        for name in named {
            let contestant = crate::experiment::Contestant::load(runtime, name)?;
            all.add(contestant.policy);
        }
        Ok(all)
    }

    fn add(&mut self, policy: LoadedPolicy) {
        self.0.insert(policy.digest().to_owned(), policy);
    }

    /// The policy of that digest.
    pub fn get(&self, digest: &str) -> Option<&LoadedPolicy> {
        self.0.get(digest)
    }
}
