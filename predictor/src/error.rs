//! What can go wrong when a predictor is built or asked.

use crate::parse::FORMS;

/// Why a predictor could not be built or could not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PredictError {
    /// The text names no predictor.
    #[error("'{given}' names no predictor; write one of {FORMS}")]
    Unknown {
        /// What the user wrote.
        given: String,
    },
    /// The text names a predictor but one of its numbers is unusable.
    #[error("predictor '{given}': {problem}; write one of {FORMS}")]
    BadNumber {
        /// What the user wrote.
        given: String,
        /// What is wrong with which number.
        problem: String,
    },
    /// A predictor that knows the future was asked where nobody does.
    #[error(
        "predictor '{predictor}' needs the true length of job {job}, which only a simulator \
         knows; use it in a simulation, or choose 'none' or 'constant:N'"
    )]
    NoTruth {
        /// The predictor's name.
        predictor: String,
        /// The job asked about.
        job: u64,
    },
    /// A folder that should hold a trained predictor does not, or the model behind it failed.
    #[error("predictor '{predictor}': {problem}")]
    Trained {
        /// What the user wrote.
        predictor: String,
        /// What is wrong.
        problem: String,
    },
    /// A predictor that reads was asked about a request without text.
    #[error(
        "predictor '{predictor}' reads text, and job {job} has none; use a workload that carries \
         text ('responses:FILE'), or another predictor"
    )]
    NoText {
        /// The predictor's name.
        predictor: String,
        /// The job asked about.
        job: u64,
    },
}
