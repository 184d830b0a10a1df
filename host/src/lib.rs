//! The live host of Elis: an OpenAI-compatible server whose every iteration a policy decides.

pub mod engine;
pub mod http;
pub mod shelf;
pub mod still;
pub mod synthetic;
pub mod telemetry;
pub mod worker;
