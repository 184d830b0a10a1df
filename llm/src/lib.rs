//! Llama-family language models over packed sequences, each with its own KV blocks.
//!
//! [`Source::open`] finds out what a file or folder is; [`Model::load`] reads its weights. A batch
//! is any set of [`Sequence`]s at any lengths: [`Model::forward`] computes a [`Part`] of each, be
//! it a chunk of a prompt or one token, over the blocks that a [`Cache`] lends. A [`Sampler`]
//! chooses tokens, a [`Decoder`] makes text of them, a [`Stopper`] finds where to stop. A
//! [`Backend`] is a model with its blocks, on the processor or on another [`device`].

mod backend;
mod cache;
mod config;
pub mod device;
mod error;
mod load;
mod model;
mod sampling;
mod sequence;
mod stop;
mod vocabulary;

pub use backend::{Backend, CpuBackend, DeviceError};
pub use cache::{Cache, HostPool, NoBlock, Pool};
pub use config::Config;
pub use elis_ragged::{Cpu, Pairing, Precision};
pub use error::LoadError;
pub use load::Source;
pub use model::{Model, Part, Workspace};
pub use sampling::{Sampler, Sampling, likeliest, log_probabilities};
pub use sequence::{Sequence, SequenceError};
pub use stop::{Released, Stopper};
pub use vocabulary::{Decoder, Vocabulary, VocabularyError};
