//! The simulator of Elis: the scheduler core, driven in virtual time by modelled GPUs.
//!
//! It runs the same core and the same policy bytes as the live host. Everything it reports is
//! simulated, except what is marked as real time.

mod decider;
mod driver;
mod engine;
pub mod hindsight;
pub mod options;
pub mod outcome;
mod recorder;

pub use decider::{Answer, Decider};
pub use driver::{SimError, simulate, simulate_recorded};
pub use elis_cost::{Profile, fit, model as cost, profile};
pub use options::{DecisionCost, Failure, Options};
