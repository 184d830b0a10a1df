//! A predictor that reads the served model's own mind: TRAIL (arXiv 2410.01035).
//!
//! After a layer of the served model, the hidden state at the newest token goes through a small
//! network (hidden width -> 512 -> 10, ReLU) to a distribution over ten bins of equal width of the
//! tokens that are still to come. Each answer is smoothed with those before it ([`Belief`]); in
//! between, the estimate counts down by one a token. Before the first state of a job another
//! predictor answers: TRAIL has a BERT model there, Elis whatever it is given.
//!
//! The network is a [`crate::head::Head`], so it is stored and checked like one; inputs are
//! standardised, which the paper does not say of its own. `learn::fit_probe` trains it.

mod belief;
mod card;
mod model;
#[cfg(test)]
mod tests;

pub use belief::Belief;
pub use card::ProbeCard;
pub use model::{Probe, ProbeError, Probing};
