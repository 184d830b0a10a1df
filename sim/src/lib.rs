//! The simulator of Elis: the scheduler core, driven in virtual time by modelled GPUs.
//!
//! It runs the same core and the same policy bytes as the live host. Everything it reports is
//! simulated, except what is marked as real time.

pub mod cost;
mod decider;
mod driver;
mod engine;
pub mod fit;
pub mod options;
pub mod outcome;
pub mod profile;
mod recorder;

pub use decider::{Answer, Decider};
pub use driver::{SimError, simulate};
pub use options::{DecisionCost, Failure, Options};
pub use profile::Profile;
