//! Statistics: exact percentiles, fairness, rank correlation and paired comparison of policies.

pub mod bootstrap;
pub mod fairness;
#[cfg(test)]
pub(crate) mod fixture;
pub mod interval;
pub mod kendall;
pub mod metric;
pub mod paired;
pub mod reduction;
pub mod sample;
pub mod timed;

pub use metric::Metric;
pub use paired::{
    CompareError, CompareOptions, compare, control_rerolled, control_split, paired_sums,
};
pub use reduction::{Basis, Reduction, Verdict};
pub use sample::{Distribution, Sample};
