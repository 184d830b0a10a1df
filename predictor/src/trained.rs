//! A trained predictor in a folder: an encoder's name, a head for arrival and a head for later.

mod card;
mod memory;
mod model;
mod reader;
#[cfg(test)]
mod tests;

pub use card::{Card, Figures, Provenance};
pub use model::{Ask, Trained, TrainedError};
pub use reader::Reader;
