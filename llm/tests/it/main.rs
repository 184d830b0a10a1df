//! Models as a user has them: files in, tokens out.

#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

mod begin;
mod broken;
mod device;
mod real;
mod schedules;
mod toy;
