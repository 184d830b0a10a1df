//! Runs policies: loads untrusted bytes, starts instances, asks for decisions, survives them all.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use elis_policy_runtime::{Options, Runtime, resolve};
//!
//! let runtime = Runtime::new(Options::default())?;
//! let policy = runtime.load(&std::fs::read(resolve::resolve("isrtf")?)?)?;
//! let mut slot = policy.start("count_down = true")?;
//! println!("{} wants to be asked on {:?}", policy.info().name, slot.interest());
//! # Ok(())
//! # }
//! ```

mod cache;
mod contract;
mod engine;
mod error;
mod inspect;
mod instance;
mod limits;
mod load;
mod packed;
pub mod resolve;
mod slot;

pub use engine::{CACHE_VARIABLE, Metering, Options, Runtime, cache_folder};
pub use error::{LoadError, RuntimeError, StartError};
pub use inspect::{CONTRACT_VERSION, Kind};
pub use instance::{Decision, PolicyInstance};
pub use load::{Info, LoadedPolicy};
pub use slot::{Counters, Ladder, PolicySlot};
