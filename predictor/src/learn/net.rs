//! The layers of a head while they are trained.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ops};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::fit::{FitError, FitOptions};
use crate::head::{Layer, Shape};

/// Trainable layers.
pub(super) struct Net {
    layers: Vec<(Var, Var)>,
    device: Device,
}

impl Net {
    /// He's initialisation; the last layer smaller, so that it begins near `start`.
    pub(super) fn new(
        shape: &Shape,
        start: &[f32],
        device: Device,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, FitError> {
        let sizes = shape.layers();
        let last = sizes.len() - 1;
        let layer = |(i, (outputs, inputs)): (usize, (usize, usize))| {
            let size = (2.0 / inputs as f32).sqrt() * if i == last { 0.1 } else { 1.0 };
            // Uniform numbers with the deviation that normal ones would have.
            let bound = size * 3.0f32.sqrt();
            let weights: Vec<f32> = (0..outputs * inputs)
                .map(|_| rng.random_range(-bound..=bound))
                .collect();
            let weights = Tensor::from_vec(weights, (outputs, inputs), &device)?;
            let bias = if i == last {
                Tensor::from_slice(start, outputs, &device)?
            } else {
                Tensor::zeros(outputs, DType::F32, &device)?
            };
            Ok((Var::from_tensor(&weights)?, Var::from_tensor(&bias)?))
        };
        let layers = sizes.into_iter().enumerate().map(layer);
        Ok(Self {
            layers: layers.collect::<Result<_, FitError>>()?,
            device,
        })
    }

    /// Layers that were kept.
    pub(super) fn of_layers(layers: &[Layer], device: Device) -> Result<Self, FitError> {
        let layer = |layer: &Layer| {
            let size = (layer.outputs, layer.inputs);
            let weights = Tensor::from_slice(&layer.weights, size, &device)?;
            let bias = Tensor::from_slice(&layer.bias, layer.outputs, &device)?;
            Ok((Var::from_tensor(&weights)?, Var::from_tensor(&bias)?))
        };
        Ok(Self {
            layers: layers.iter().map(layer).collect::<Result<_, FitError>>()?,
            device,
        })
    }

    /// What the optimiser moves.
    pub(super) fn vars(&self) -> Vec<Var> {
        let pairs = self.layers.iter();
        pairs.flat_map(|(w, b)| [w.clone(), b.clone()]).collect()
    }

    /// One step of the optimiser; the loss before it.
    pub(super) fn step(
        &self,
        optimiser: &mut AdamW,
        shape: &Shape,
        mut x: Vec<f32>,
        y: Vec<f32>,
        options: &FitOptions,
        rng: &mut ChaCha8Rng,
    ) -> Result<f32, FitError> {
        let (width, outputs) = (shape.width(), shape.outputs());
        let count = x.len() / width;
        let kept = keep(x.len(), options.drop_inputs, rng);
        x.iter_mut().zip(&kept).for_each(|(x, keep)| *x *= keep);
        let mut h = Tensor::from_vec(x, (count, width), &self.device)?;
        for (i, (w, b)) in self.layers.iter().enumerate() {
            if i > 0 {
                let size = h.dims2()?;
                let kept = keep(size.0 * size.1, options.drop_hidden, rng);
                let kept = Tensor::from_vec(kept, size, &self.device)?;
                h = h.relu()?.mul(&kept)?;
            }
            h = h.matmul(&w.t()?)?.broadcast_add(b)?;
        }
        let y = Tensor::from_vec(y, (count, outputs), &self.device)?;
        let loss = if shape.bins.is_some() {
            let log = ops::log_softmax(&h, 1)?;
            (y.mul(&log)?.sum_all()?.neg()? / count as f64)?
        } else {
            candle_nn::loss::huber(&h, &y, 1.0)?
        };
        optimiser.backward_step(&loss)?;
        Ok(loss.to_scalar()?)
    }

    /// The weights as they are now.
    pub(super) fn layers(&self) -> Result<Vec<Layer>, FitError> {
        let layer = |(w, b): &(Var, Var)| {
            let (outputs, inputs) = w.dims2()?;
            Ok(Layer {
                outputs,
                inputs,
                weights: w.flatten_all()?.to_vec1()?,
                bias: b.to_vec1()?,
            })
        };
        self.layers.iter().map(layer).collect()
    }
}

/// Factors that drop a share of values and make up for it.
pub(super) fn keep(count: usize, share: f32, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let kept = 1.0 / (1.0 - share);
    let mut draw = || {
        if rng.random::<f32>() < share {
            0.0
        } else {
            kept
        }
    };
    (0..count).map(|_| draw()).collect()
}
