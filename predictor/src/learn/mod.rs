//! Learning to predict: responses become samples, samples become rows, and rows a head.

mod corpus;
mod embed;
mod fit;
mod recipe;
mod sampling;

pub use corpus::{Corpus, Part, Split};
pub use embed::{EmbedError, Vectors, embed};
pub use fit::{Epoch, Fit, FitError, FitOptions, Rows, fit};
pub use recipe::{Heads, Recipe, lengths, train};
pub use sampling::{STEP_TOKENS, Sample, Step, rows, samples};
