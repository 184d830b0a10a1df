//! Everything that needs more than one crate, in one binary, so that it links once.

#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

mod arrows;
mod cli;
mod conformance;
mod conformance_service;
mod core_properties;
mod determinism;
mod interpreted;
mod rogue;
mod sandbox;
mod scenarios;
mod serve;
mod support;
mod tidy;
mod truth;
mod twins;
