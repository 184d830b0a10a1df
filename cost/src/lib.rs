//! How long an iteration takes: cost models of workers, their profiles and their fits.
//!
//! The simulator asks them in virtual time; the live host paces a modelled worker by them.

pub mod fit;
pub mod model;
pub mod profile;

pub use model::{CostModel, DecodeCurve, Load};
pub use profile::Profile;
