//! Learning to predict: responses become samples, samples become rows, and rows a head.

mod boosted;
mod calibration;
mod ceiling;
mod checkpoint;
mod corpus;
mod embed;
mod fine_tune;
mod fit;
mod judge;
mod net;
mod probe;
mod recipe;
mod sampling;
mod states;
mod ways;

pub use boosted::{BoostError, Words, boosted};
pub use calibration::{Calibration, Decile, QuantileShare, StepError, calibrate};
pub use ceiling::{Ceiling, ceilings};
pub use checkpoint::CheckpointError;
pub use corpus::{Corpus, Split};
pub use elis_workloads::responses::Part;
pub use embed::{EmbedError, Vectors, embed};
pub use fine_tune::{FineTune, FineTuned, Lengths, Seen, fine_tune};
pub use fit::{Epoch, Fit, FitError, FitOptions, Rows, fit};
pub use judge::{Only, Row, judge, of_part, step_name};
pub use probe::{ProbeRecipe, fit_probe};
pub use recipe::{Fitted, Heads, Recipe, clear_checkpoints, lengths, train};
pub use sampling::{STEP_TOKENS, Sample, Step, rows, samples};
pub use states::{States, StatesError, prompt_number};
pub use ways::{LEVELS, Way, constant, countdown, heads_way, mean_by, prompt_only};
