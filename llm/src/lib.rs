//! Llama-family language models over packed sequences, each with its own KV blocks.
//!
//! A [`Vocabulary`] turns text into tokens and back; [`Decoder`] does that a token at a time.

mod sampling;
mod vocabulary;

pub use sampling::Sampling;
pub use vocabulary::{Decoder, Vocabulary, VocabularyError};
