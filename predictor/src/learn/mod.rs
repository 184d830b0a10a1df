//! Learning to predict: responses become samples, samples become rows, and rows a head.

mod corpus;
mod embed;
mod fit;
mod judge;
mod recipe;
mod sampling;

pub use corpus::{Corpus, Part, Split};
pub use embed::{EmbedError, Vectors, embed};
pub use fit::{Epoch, Fit, FitError, FitOptions, Rows, fit};
pub use judge::{Row, Way, countdown, heads_way, judge, mean_by, of_part, prompt_only, step_name};
pub use recipe::{Heads, Recipe, lengths, train};
pub use sampling::{STEP_TOKENS, Sample, Step, rows, samples};
