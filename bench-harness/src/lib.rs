//! The bench harness of Elis: replays request streams across policies, in simulation and against
//! real servers, and says which won, by how much, and how sure we are.

pub mod experiment;
pub mod load;
pub mod metrics;
pub mod paper;
pub mod replay;
pub mod report;
pub mod setup;
pub mod stats;
pub mod suite;
