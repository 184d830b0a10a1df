//! The bench harness of Elis: replays request streams across policies and says which won, by how
//! much, and how sure we are.

pub mod experiment;
pub mod metrics;
pub mod paper;
pub mod report;
pub mod stats;
