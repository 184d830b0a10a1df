//! Records a scheduler and replays it.
//!
//! The core has no clock, no threads and no randomness: the same inputs at the same times give the
//! same outputs. A log therefore holds a checkpoint of the core, every input after it, and now and
//! then a digest of all that the core said and showed to policies. Snapshots and steps are not
//! stored; [`Replay`] makes them again, and the digests prove that they are the same, bit for bit.
//!
//! A driver tells a [`Recorder`] what it tells the core and what the core tells it. Compressing and
//! writing is done on a thread of its own behind a bounded queue. The format stands in the README
//! of this crate.

mod digest;
mod frame;
mod reader;
mod record;
mod recorder;
mod replay;
mod writer;

pub use frame::VERSION;
pub use reader::{Ending, LogError, Reader};
pub use record::{Checkpoint, Happened, Policy, Post, Record, Start};
pub use recorder::{Pace, Recorder};
pub use replay::{Replay, ReplayError, Replayed, Witness};
pub use writer::{RecordError, Tally};

#[cfg(test)]
mod tests;
