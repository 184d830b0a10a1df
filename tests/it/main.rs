//! Everything that needs more than one crate, in one binary, so that it links once.

#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

mod arrows;
mod cli;
mod conformance;
mod core_properties;
mod determinism;
mod endurance;
mod interpreted;
mod record;
mod rogue;
mod sandbox;
mod scenarios;
mod serve;
mod suite;
mod support;
mod swap;
mod tidy;
mod traces;
mod truth;
mod twins;
