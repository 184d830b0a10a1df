//! Policies that misbehave in every way we could think of, and what the sandbox makes of them.

mod decisions;
mod forge;
mod ladder;
mod loading;
