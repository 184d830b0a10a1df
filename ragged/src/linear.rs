//! A linear layer `y = x * wT + bias`, of floats or of quantised weights.

use crate::cpu::Cpu;
use crate::dense::Dense;
use crate::quant::{BLOCK, Block, Format, Quant, quantise_weights};
use crate::scratch::Scratch;

/// What weights are kept and multiplied as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// Blocks of 32 bytes with a scale, times activations of the same kind.
    Q8,
}

/// Weights and bias of a layer, laid out for the processor.
#[derive(Debug)]
pub struct Linear(Kind);

#[derive(Debug)]
enum Kind {
    Dense(Dense),
    Quant(Quant),
}

impl Linear {
    /// A layer of `shape.0` outputs and `shape.1` inputs. `weights` is row-major, a row for each
    /// output; `bias` has one value for each output.
    ///
    /// # Panics
    ///
    /// If the lengths do not match the shape.
    pub fn new(
        cpu: Cpu,
        precision: Precision,
        shape: (usize, usize),
        weights: &[f32],
        bias: &[f32],
    ) -> Self {
        let (n, k) = shape;
        assert_eq!((weights.len(), bias.len()), (n * k, n));
        match precision {
            Precision::F32 => Self(Kind::Dense(Dense::new(cpu, n, k, weights, bias))),
            Precision::Q8 => Self::from_blocks(cpu, shape, Format::Q8, bias, |output, block| {
                let row = &weights[output * k..(output + 1) * k];
                quantise_weights(&row[block * BLOCK..k.min((block + 1) * BLOCK)])
            }),
        }
    }

    /// A layer of weights that are quantised already: `block(output, i)` gives the weights of that
    /// output for the inputs from `32 * i`.
    ///
    /// # Panics
    ///
    /// If the bias has not one value for each output.
    pub fn from_blocks(
        cpu: Cpu,
        shape: (usize, usize),
        format: Format,
        bias: &[f32],
        block: impl FnMut(usize, usize) -> Block,
    ) -> Self {
        Self(Kind::Quant(Quant::new(cpu, shape, format, bias, block)))
    }

    /// Outputs and inputs.
    pub fn shape(&self) -> (usize, usize) {
        match &self.0 {
            Kind::Dense(dense) => dense.shape(),
            Kind::Quant(quant) => quant.shape(),
        }
    }

    /// Fills `out`, rows x outputs, from `x`, rows x inputs.
    ///
    /// # Panics
    ///
    /// If the slices are not the same number of whole rows.
    pub fn forward(&self, x: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        let (n, k) = self.shape();
        assert!(x.len().is_multiple_of(k) && x.len() / k * n == out.len());
        match &self.0 {
            Kind::Dense(dense) => dense.forward(x, out, scratch),
            Kind::Quant(quant) => quant.forward(x, out, scratch),
        }
    }
}
