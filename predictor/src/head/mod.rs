//! The head: from what is known about a request to a distribution of its remaining tokens.
//!
//! A head is a few fully connected layers with ReLU between them over standardised inputs. The
//! paper's is one configuration of it (8 layers, hidden 1024: section 4.2); see [`Spec`]. Heads are
//! trained with candle and run on our own kernels, which take tens of microseconds for a batch.

mod bins;
mod inputs;
mod store;

use elis_ragged::{Cpu, Linear, Precision, Scratch};
use serde::{Deserialize, Serialize};

pub use bins::{Bins, Summary};
pub use inputs::{Evidence, Input};
pub use store::HeadError;

/// Standardised inputs are cut off here, so that one odd prompt does not drown the rest.
const CLIP: f32 = 4.0;

/// What a head looks at and how large it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// What it looks at, in the order of the row.
    pub inputs: Vec<Input>,
    /// Widths of the hidden layers; none makes it a linear model.
    pub hidden: Vec<usize>,
    /// Bins of the distribution; 0 for one number, trained on the logarithm of the length.
    pub bins: usize,
    /// Networks of these sizes whose answers are averaged, each fitted from another seed.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub members: usize,
}

impl Spec {
    /// Whether it looks at any embedding.
    pub fn reads_embeddings(&self) -> bool {
        self.inputs.iter().any(|input| input.is_embedding())
    }

    /// Whether it looks at embeddings of what is generated, so that each window must be encoded.
    pub fn reads_windows(&self) -> bool {
        self.inputs.iter().any(|input| input.is_of_windows())
    }
}

fn one() -> usize {
    1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out a reference"
)]
fn is_one(members: &usize) -> bool {
    *members == 1
}

/// Everything of a head but its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// What was asked for.
    pub spec: Spec,
    /// Numbers of an embedding.
    pub embedding: usize,
    /// Models that were trained on.
    pub models: usize,
    /// The bins; `None` for one number.
    pub bins: Option<Bins>,
}

/// One fully connected layer, row-major, a row for each output.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Outputs.
    pub outputs: usize,
    /// Inputs.
    pub inputs: usize,
    /// `outputs * inputs` weights.
    pub weights: Vec<f32>,
    /// One for each output.
    pub bias: Vec<f32>,
}

/// A trained head.
#[derive(Debug)]
pub struct Head {
    shape: Shape,
    mean: Vec<f32>,
    scale: Vec<f32>,
    layers: Vec<Layer>,
    linear: Vec<Linear>,
    scratch: Scratch,
}

impl Shape {
    /// Numbers of a row.
    pub fn width(&self) -> usize {
        let width = |input: &Input| input.width(self.embedding, self.models);
        self.spec.inputs.iter().map(width).sum()
    }

    /// Numbers that the last layer gives.
    pub fn outputs(&self) -> usize {
        self.bins.as_ref().map_or(1, Bins::len)
    }

    /// Outputs and inputs of each layer of one member.
    pub fn layers(&self) -> Vec<(usize, usize)> {
        let widths = [self.width()]
            .into_iter()
            .chain(self.spec.hidden.iter().copied());
        let outputs = self.spec.hidden.iter().copied().chain([self.outputs()]);
        outputs.zip(widths).collect()
    }

    /// Appends the row of one request.
    pub fn write_row(&self, evidence: &Evidence<'_>, rows: &mut Vec<f32>) {
        for input in &self.spec.inputs {
            input.write(input.width(self.embedding, self.models), evidence, rows);
        }
    }
}

/// Standardises rows in place: `(x - mean) * scale`, cut off at four deviations.
pub fn standardise(rows: &mut [f32], mean: &[f32], scale: &[f32]) {
    for row in rows.chunks_exact_mut(mean.len().max(1)) {
        for ((value, mean), scale) in row.iter_mut().zip(mean).zip(scale) {
            *value = ((*value - mean) * scale).clamp(-CLIP, CLIP);
        }
    }
}

impl Head {
    /// A head of those layers, one member's after the other's; `mean` and `scale` standardise its
    /// inputs.
    ///
    /// # Errors
    ///
    /// [`HeadError`] where the parts do not belong together or hold what is no number.
    pub fn new(
        shape: Shape,
        mean: Vec<f32>,
        scale: Vec<f32>,
        layers: Vec<Layer>,
    ) -> Result<Self, HeadError> {
        store::check(&shape, &mean, &scale, &layers)?;
        let cpu = Cpu::detect();
        let linear = layers
            .iter()
            .map(|layer| {
                let size = (layer.outputs, layer.inputs);
                Linear::new(cpu, Precision::F32, size, &layer.weights, &layer.bias)
            })
            .collect();
        Ok(Self {
            shape,
            mean,
            scale,
            layers,
            linear,
            scratch: Scratch::default(),
        })
    }

    /// One head of several that were fitted to the same rows: its answers are their mean.
    ///
    /// # Errors
    ///
    /// [`HeadError`] where there is none, or they are not of one shape.
    #[cfg(feature = "learn")]
    pub(crate) fn joined(heads: Vec<Self>) -> Result<Self, HeadError> {
        let members = heads.len();
        let mut heads = heads.into_iter();
        let mut first = heads.next().ok_or(HeadError::Shape("it has no members"))?;
        for head in heads {
            if head.shape != first.shape {
                return Err(HeadError::Shape("its members differ in shape"));
            }
            first.layers.extend(head.layers);
            first.linear.extend(head.linear);
        }
        first.shape.spec.members *= members;
        Ok(first)
    }

    /// One of its members, alone.
    #[cfg(test)]
    pub(crate) fn member(&self, member: usize) -> Self {
        let mut shape = self.shape.clone();
        shape.spec.members = 1;
        let count = shape.layers().len();
        let layers = self.layers[member * count..(member + 1) * count].to_vec();
        Self::new(shape, self.mean.clone(), self.scale.clone(), layers).expect("a part of a head")
    }

    /// What it looks at.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Its layers, the first first.
    #[cfg(feature = "learn")]
    pub(crate) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Predicts for rows that [`Shape::write_row`] wrote; they are standardised in place.
    pub fn predict(&mut self, rows: &mut [f32]) -> Vec<Summary> {
        let outputs = self.outputs(rows);
        let rows = outputs.chunks_exact(self.shape.outputs());
        rows.map(|row| self.shape.summarise(row)).collect()
    }

    /// What it says of each row, [`Shape::outputs`] numbers: the probabilities of the bins, or
    /// `ln(1 + tokens)` where there are none, each the mean over its members. The rows are
    /// standardised in place.
    pub fn outputs(&mut self, rows: &mut [f32]) -> Vec<f32> {
        standardise(rows, &self.mean, &self.scale);
        let (width, outputs) = (self.shape.width().max(1), self.shape.outputs());
        let count = rows.len() / width;
        let share = 1.0 / self.shape.spec.members as f32;
        let mut mean = vec![0.0; count * outputs];
        for member in self.linear.chunks_exact(self.shape.layers().len()) {
            let mut said = forward(member, rows, count, &mut self.scratch);
            if self.shape.bins.is_some() {
                said.chunks_exact_mut(outputs).for_each(softmax);
            }
            for (mean, said) in mean.iter_mut().zip(said) {
                *mean += share * said;
            }
        }
        mean
    }
}

/// What one member's last layer says of `count` rows.
fn forward(layers: &[Linear], rows: &[f32], count: usize, scratch: &mut Scratch) -> Vec<f32> {
    let mut values = rows.to_vec();
    for (i, layer) in layers.iter().enumerate() {
        if i > 0 {
            values.iter_mut().for_each(|value| *value = value.max(0.0));
        }
        let mut out = vec![0.0; count * layer.shape().0];
        layer.forward(&values, &mut out, scratch);
        values = out;
    }
    values
}

/// Logits to probabilities.
fn softmax(logits: &mut [f32]) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut total = 0.0;
    for logit in logits.iter_mut() {
        *logit = libm::expf(*logit - largest);
        total += *logit;
    }
    logits.iter_mut().for_each(|value| *value /= total);
}

impl Shape {
    /// What [`Head::outputs`] says of one row, in tokens.
    pub fn summarise(&self, outputs: &[f32]) -> Summary {
        if let Some(bins) = &self.bins {
            return bins.summarise(outputs);
        }
        let tokens = (libm::expf(outputs[0].min(12.0)) - 1.0).max(0.0);
        Summary {
            median_tokens: tokens,
            mean_tokens: tokens,
            sigma_tokens: f32::NAN,
            p10_tokens: f32::NAN,
            p90_tokens: f32::NAN,
        }
    }
}

#[cfg(test)]
mod tests;
