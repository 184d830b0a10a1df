//! The HTTP server: OpenAI's API over something that can [`Generate`](crate::engine::Generate),
//! with health, metrics and an admin port.
//!
//! ```text
//! let server = Server::bind(engine, options).await?;
//! println!("listening on {}", server.address());
//! server.run(on_signals()?).await?;
//! ```
//!
//! What goes beyond OpenAI: `priority`, `deadline_ms` and `ttft_deadline_ms` in requests, tenants
//! by API key or `user`, and vLLM's `top_k`, `repetition_penalty` and `ignore_eos`.

mod admin;
mod answer;
mod body;
mod chat;
mod completions;
mod connections;
mod error;
mod health;
mod keys;
mod limits;
mod logs;
mod messages;
mod models;
mod options;
mod params;
mod record;
mod recording;
mod router;
mod running;
mod server;
mod template;
mod unsupported;

pub use keys::KeysError;
pub use logs::{LogError, LogOptions};
pub use options::{ApiKey, ApiKeyError, Secret, ServerOptions};
pub use server::{Ending, ServeError, Server, on_signals};
