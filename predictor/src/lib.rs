//! Predicts how many tokens a response will still need, behind one trait for every driver.
//!
//! A driver (the simulator or the live host) asks a [`LengthPredictor`] about a batch of requests
//! once a scheduling window and hands the answers to the policies. [`parse`] builds a predictor
//! from the text a user writes on a command line.

mod constant;
pub mod drift;
pub mod encoder;
mod error;
pub mod features;
pub mod head;
mod latency;
#[cfg(feature = "learn")]
pub mod learn;
mod noise;
mod noisy;
mod none;
mod oracle;
mod parse;
mod predict;
pub mod probe;
mod profile;
pub mod service;
pub mod trained;

pub use constant::Constant;
pub use error::PredictError;
pub use latency::Latency;
pub use noise::{WINDOW_TOKENS, standard_normal};
pub use noisy::NoisyOracle;
pub use none::NoPrediction;
pub use oracle::Oracle;
pub use parse::{FORMS, parse};
pub use predict::{HiddenState, HiddenWanted, LengthPredictor, Prediction, Request, Source, Text};
pub use profile::{ELIS_LATENCY_MS, ELIS_MAE_TOKENS, ErrorProfile};
