//! What a recorded log says of other policies: its requests, predictions and iterations, simulated.

mod counterfactual;
mod observe;
mod recorded;
mod refit;

pub use counterfactual::{Calibration, Counterfactual, CounterfactualError};
pub use observe::{Job, Observed, Observer, Outcome};
pub use recorded::RecordedPredictor;
pub use refit::{Refit, RefitError, refit};

#[cfg(test)]
mod tests;
