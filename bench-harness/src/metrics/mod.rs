//! From the runs of one policy to the figures that are reported of it.

pub mod classes;
pub mod client;
pub mod counters;
pub mod policy;
pub mod prediction;
pub mod service;
pub mod slo;

pub use classes::{ClassResult, TenantResult};
pub use client::ClientSide;
pub use counters::DecisionSpread;
pub use policy::{MetricOptions, MetricsError, PolicyResult, policy_result};
pub use prediction::PredictionError;
pub use service::{ServiceDifference, service_difference};
pub use slo::{Goodput, Slo};
