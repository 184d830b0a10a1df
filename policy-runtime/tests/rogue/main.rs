//! Policies that misbehave in every way we could think of, and what the sandbox makes of them.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which the exception for tests does not see"
)]

mod decisions;
mod forge;
mod ladder;
mod loading;
mod smith;
mod states;
