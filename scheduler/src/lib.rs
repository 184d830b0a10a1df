//! The scheduler core of Elis: which requests an LLM worker runs next, iteration by iteration.
//!
//! It owns correctness: the life of every request, the KV and batch budgets, the check of every
//! plan, the trusted fallback. What it does not own is the decision itself, which it asks a policy
//! for ([`Output::Decide`]), and anything that takes time or touches the world: it has no clock, no
//! threads, no I/O and no randomness. A driver feeds it [`Input`]s and performs its [`Output`]s;
//! the simulator and the live host are two such drivers.
//!
//! ```
//! use elis_scheduler::config::{Batching, Boundary, Config, CostHint, Placement, WorkerConfig};
//! use elis_scheduler::{Input, NO_DEADLINE, Output, Request, Scheduler, Span, Time};
//! use elis_scheduler::plan::Plan;
//!
//! let worker = WorkerConfig {
//!     max_num_seqs: 4, max_batched_tokens: 512, block_size_tokens: 16, gpu_blocks: 64,
//!     cpu_blocks: 0, watermark_blocks: 0, batching: Batching::Mixed, cost: CostHint::default(),
//! };
//! let mut scheduler = Scheduler::new(Config {
//!     boundary: Boundary::Slot, placement: Placement::Jobs, window_tokens: 50,
//!     repredict_tokens: 0, prediction_wait: Span::ZERO, decision_deadline: NO_DEADLINE,
//!     max_wait: Span::ZERO, jobs_max: 100, seed: 0, workers: vec![worker],
//! })?;
//! let mut now = Time::ZERO;
//! scheduler.handle(now, Input::Arrive(Request::new(1, 20, 3)));
//! // The queue changed, so a policy is asked; an empty plan means arrival order.
//! let Some(Output::Decide { worker, revision }) = scheduler.poll_output() else { panic!() };
//! scheduler.handle(now, Input::Decided { worker, revision, plan: Plan::default() });
//! // The prompt is read in one iteration, which also gives the first token.
//! assert_eq!(scheduler.poll_output(), Some(Output::Dispatch { worker }));
//! assert_eq!(scheduler.step(worker).unwrap().prefill[0].tokens, 20);
//! now += Span::from_ms(30);
//! scheduler.handle(now, Input::StepDone { worker, iterations: 1, finished: &[] });
//! assert_eq!(scheduler.poll_output(), Some(Output::Dispatch { worker }));
//! // Two more tokens; the driver saw that the second one ended the response.
//! now += Span::from_ms(20);
//! scheduler.handle(now, Input::StepDone { worker, iterations: 2, finished: &[1] });
//! assert!(matches!(scheduler.poll_output(), Some(Output::Finished(_))));
//! assert_eq!(scheduler.jobs(), 0);
//! # Ok::<(), elis_scheduler::config::ConfigError>(())
//! ```
//!
//! With the feature `serde` inputs and outputs are data, and so is the whole [`Scheduler`] between
//! two inputs: one that is read back goes on exactly as the one that was written.
#![no_std]

extern crate alloc;

mod boundary;
mod check;
#[cfg(feature = "serde")]
mod checkpoint;
pub mod columns;
mod compose;
pub mod config;
mod fallback;
mod index;
pub mod job;
mod kv;
pub mod limits;
mod memory;
mod message;
mod placement;
pub mod plan;
mod progress;
mod queue;
mod scheduler;
pub mod snapshot;
pub mod stats;
mod step;
mod time;
mod timer;
mod worker;

pub use job::Request;
pub use message::{Ended, Input, Output, Predicted, RejectReason};
pub use scheduler::{NO_DEADLINE, Scheduler};
pub use step::{BlockMove, PrefillChunk, Step};
pub use time::{Span, Time};
