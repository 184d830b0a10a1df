//! Memory that kernels work in, kept between calls.

use crate::packed::Arrays;
use crate::quant::Activations;

/// Buffers that grow to the largest call so far and are then reused: a fresh allocation of this
/// size costs page faults, which took a quarter of the time where every step made its own.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Rows of the left matrix that a tile needs, beside one another.
    pub(crate) rows: Vec<f32>,
    /// Quantised rows.
    pub(crate) activations: Activations,
    /// A panel of quantised weights.
    pub(crate) panel: Arrays,
    /// Keys and values of one head as panels, and the scores of a few queries.
    pub(crate) keys: Vec<f32>,
    pub(crate) values: Vec<f32>,
    pub(crate) scores: Vec<f32>,
}

/// The first `len` elements, after growing the buffer to hold them. Their values are left over.
pub fn grown<T: Copy + Default>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
    &mut buffer[..len]
}
