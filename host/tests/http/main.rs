//! The HTTP server from outside: a real one on a free port, before an engine without a model.

#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

mod admin;
mod answers;
mod double;
mod ends;
mod errors;
mod load;
mod recording;
mod support;
