//! Fits a head to rows with candle's AdamW, seeded: the same rows and seed give the same head.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, ops};
use rand::{RngExt as _, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::head::{Head, HeadError, Layer, Shape, standardise};

/// Rows with what they should come to.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// The inputs, as [`Shape::write_row`] writes them, not standardised.
    pub inputs: Vec<f32>,
    /// The lengths that each row may turn out to have, equally likely: several where one prompt
    /// was answered several times.
    pub lengths_tokens: Vec<Vec<f32>>,
}

/// How a head is fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct FitOptions {
    /// The most epochs.
    pub epochs: usize,
    /// Epochs without a better validation error after which it stops.
    pub patience: usize,
    /// Rows of a step.
    pub batch: usize,
    /// Highest learning rate; it rises over the first 100 steps and falls as a cosine.
    pub learning_rate: f64,
    /// AdamW's decay of weights.
    pub weight_decay: f64,
    /// Share of inputs that a step does not see.
    pub drop_inputs: f32,
    /// Share of hidden units that a step does not see.
    pub drop_hidden: f32,
    /// Seed of the first weights, the order of the rows and what is dropped.
    pub seed: u64,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self {
            epochs: 10,
            patience: 3,
            batch: 1024,
            learning_rate: 3e-3,
            weight_decay: 0.05,
            drop_inputs: 0.05,
            drop_hidden: 0.2,
            seed: 0,
        }
    }
}

/// How an epoch went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epoch {
    /// Its number, from 1.
    pub epoch: usize,
    /// Mean training loss: cross entropy over the bins, or Huber's over the log of the length.
    pub loss: f32,
    /// Mean absolute error of the median on the validation rows.
    pub validation_mae_tokens: f32,
}

/// A fitted head and how it came about.
#[derive(Debug)]
pub struct Fit {
    /// The head of the best epoch.
    pub head: Head,
    /// All epochs.
    pub epochs: Vec<Epoch>,
    /// The best of them.
    pub best: Epoch,
}

/// Why no head could be fitted.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// There is too little to learn from.
    #[error("{0}; give more responses")]
    TooLittle(&'static str),
    /// The fitted numbers are no head: the learning rate was too high, most likely.
    #[error("the fit came to nothing: {0}; try a lower learning rate")]
    Head(#[from] HeadError),
    /// Candle failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// Trainable layers.
struct Net {
    layers: Vec<(Var, Var)>,
}

/// Fits a head of a shape; `each` hears of every epoch.
///
/// # Errors
///
/// [`FitError`].
pub fn fit(
    shape: &Shape,
    train: Rows,
    validation: &Rows,
    options: &FitOptions,
    mut each: impl FnMut(&Epoch),
) -> Result<Fit, FitError> {
    let width = shape.width();
    let count = train.lengths_tokens.len();
    if count < 2 || validation.lengths_tokens.is_empty() {
        return Err(FitError::TooLittle(
            "there are no rows to train or to validate on",
        ));
    }
    let Rows {
        mut inputs,
        lengths_tokens,
    } = train;
    let (mean, scale) = moments(&inputs, width);
    standardise(&mut inputs, &mean, &scale);
    let outputs = shape.outputs();
    let targets: Vec<f32> = lengths_tokens
        .iter()
        .flat_map(|lengths| target(shape, lengths))
        .collect();
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let net = Net::new(shape, &start(shape, &targets), &mut rng)?;
    let mut optimiser = AdamW::new(
        net.vars(),
        ParamsAdamW {
            weight_decay: options.weight_decay,
            ..ParamsAdamW::default()
        },
    )?;
    let steps = options.epochs * count.div_ceil(options.batch);
    let mut order: Vec<usize> = (0..count).collect();
    let (mut epochs, mut best): (Vec<Epoch>, Option<(Epoch, Head)>) = (Vec::new(), None);
    let mut step = 0;
    for epoch in 1..=options.epochs {
        order.shuffle(&mut rng);
        let mut loss = 0.0;
        for batch in order.chunks(options.batch) {
            optimiser.set_learning_rate(rate(options.learning_rate, step, steps));
            step += 1;
            let x = gather(&inputs, width, batch);
            let y = gather(&targets, outputs, batch);
            loss += net.step(&mut optimiser, shape, x, y, options, &mut rng)? * batch.len() as f32;
        }
        let mut head = net.head(shape, &mean, &scale)?;
        let report = Epoch {
            epoch,
            loss: loss / count as f32,
            validation_mae_tokens: mae(&mut head, validation),
        };
        epochs.push(report);
        each(&report);
        let better = best
            .as_ref()
            .is_none_or(|(best, _)| report.validation_mae_tokens < best.validation_mae_tokens);
        if better {
            best = Some((report, head));
        }
        let since = best.as_ref().map_or(0, |(best, _)| epoch - best.epoch);
        if since >= options.patience {
            break;
        }
    }
    let (best, head) = best.ok_or(FitError::TooLittle("not one epoch was asked for"))?;
    Ok(Fit { head, epochs, best })
}

/// What one row should come to: a distribution, or the mean logarithm.
fn target(shape: &Shape, lengths: &[f32]) -> Vec<f32> {
    let weight = 1.0 / lengths.len().max(1) as f32;
    match &shape.bins {
        Some(bins) => {
            let mut target = vec![0.0; bins.len()];
            lengths
                .iter()
                .for_each(|&length| bins.add_target(length, weight, &mut target));
            target
        }
        None => vec![
            lengths
                .iter()
                .map(|&length| weight * libm::log1pf(length))
                .sum(),
        ],
    }
}

/// What the last layer says before it has learned anything: the overall mean, or the distribution
/// of all rows, so that no step is spent on finding that.
fn start(shape: &Shape, targets: &[f32]) -> Vec<f32> {
    let outputs = shape.outputs();
    let count = (targets.len() / outputs) as f32;
    let mut mean = vec![0.0; outputs];
    for row in targets.chunks_exact(outputs) {
        for (mean, value) in mean.iter_mut().zip(row) {
            *mean += value / count;
        }
    }
    if shape.bins.is_some() {
        mean.iter_mut().for_each(|p| *p = libm::logf(p.max(1e-6)));
    }
    mean
}

/// A short rise, then half a cosine.
fn rate(highest: f64, step: usize, steps: usize) -> f64 {
    let rise = ((step + 1) as f64 / 100.0).min(1.0);
    let fall = 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / steps.max(1) as f64).cos());
    highest * rise * fall + 1e-6
}

/// Mean and inverse deviation of each column; a column that never changes is left at zero.
fn moments(rows: &[f32], width: usize) -> (Vec<f32>, Vec<f32>) {
    let count = (rows.len() / width.max(1)).max(1) as f64;
    let (mut sum, mut square) = (vec![0.0f64; width], vec![0.0f64; width]);
    for row in rows.chunks_exact(width.max(1)) {
        for (column, &value) in row.iter().enumerate() {
            sum[column] += f64::from(value);
            square[column] += f64::from(value) * f64::from(value);
        }
    }
    let moments = sum.iter().zip(&square).map(|(sum, square)| {
        let mean = sum / count;
        let deviation = (square / count - mean * mean).max(0.0).sqrt();
        let scale = if deviation > 1e-7 {
            1.0 / deviation
        } else {
            0.0
        };
        (mean as f32, scale as f32)
    });
    moments.unzip()
}

fn gather(rows: &[f32], width: usize, batch: &[usize]) -> Vec<f32> {
    let rows = batch
        .iter()
        .map(|&row| &rows[row * width..(row + 1) * width]);
    rows.flatten().copied().collect()
}

/// Mean absolute error of the median against every length of a row.
fn mae(head: &mut Head, rows: &Rows) -> f32 {
    let summaries = head.predict(&mut rows.inputs.clone());
    let (mut sum, mut count) = (0.0f64, 0u32);
    for (summary, lengths) in summaries.iter().zip(&rows.lengths_tokens) {
        for length in lengths {
            sum += f64::from((summary.median_tokens - length).abs());
            count += 1;
        }
    }
    (sum / f64::from(count.max(1))) as f32
}

impl Net {
    /// He's initialisation; the last layer smaller, so that it begins near `start`.
    fn new(shape: &Shape, start: &[f32], rng: &mut ChaCha8Rng) -> Result<Self, FitError> {
        let sizes = shape.layers();
        let last = sizes.len() - 1;
        let layer = |(i, (outputs, inputs)): (usize, (usize, usize))| {
            let size = (2.0 / inputs as f32).sqrt() * if i == last { 0.1 } else { 1.0 };
            // Uniform numbers with the deviation that normal ones would have.
            let bound = size * 3.0f32.sqrt();
            let weights: Vec<f32> = (0..outputs * inputs)
                .map(|_| rng.random_range(-bound..=bound))
                .collect();
            let weights = Tensor::from_vec(weights, (outputs, inputs), &Device::Cpu)?;
            let bias = if i == last {
                Tensor::from_slice(start, outputs, &Device::Cpu)?
            } else {
                Tensor::zeros(outputs, DType::F32, &Device::Cpu)?
            };
            Ok((Var::from_tensor(&weights)?, Var::from_tensor(&bias)?))
        };
        let layers = sizes.into_iter().enumerate().map(layer);
        Ok(Self {
            layers: layers.collect::<Result<_, FitError>>()?,
        })
    }

    fn vars(&self) -> Vec<Var> {
        let pairs = self.layers.iter();
        pairs.flat_map(|(w, b)| [w.clone(), b.clone()]).collect()
    }

    /// One step of the optimiser; the loss before it.
    fn step(
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
        let keep = keep(x.len(), options.drop_inputs, rng);
        x.iter_mut().zip(&keep).for_each(|(x, keep)| *x *= keep);
        let mut h = Tensor::from_vec(x, (count, width), &Device::Cpu)?;
        for (i, (w, b)) in self.layers.iter().enumerate() {
            if i > 0 {
                let size = h.dims2()?;
                let keep = keep_tensor(size, options.drop_hidden, rng)?;
                h = h.relu()?.mul(&keep)?;
            }
            h = h.matmul(&w.t()?)?.broadcast_add(b)?;
        }
        let y = Tensor::from_vec(y, (count, outputs), &Device::Cpu)?;
        let loss = if shape.bins.is_some() {
            let log = ops::log_softmax(&h, 1)?;
            (y.mul(&log)?.sum_all()?.neg()? / count as f64)?
        } else {
            candle_nn::loss::huber(&h, &y, 1.0)?
        };
        optimiser.backward_step(&loss)?;
        Ok(loss.to_scalar()?)
    }

    fn head(&self, shape: &Shape, mean: &[f32], scale: &[f32]) -> Result<Head, FitError> {
        let layer = |(w, b): &(Var, Var)| {
            let (outputs, inputs) = w.dims2()?;
            Ok(Layer {
                outputs,
                inputs,
                weights: w.flatten_all()?.to_vec1()?,
                bias: b.to_vec1()?,
            })
        };
        let layers = self
            .layers
            .iter()
            .map(layer)
            .collect::<Result<_, FitError>>()?;
        Ok(Head::new(
            shape.clone(),
            mean.to_vec(),
            scale.to_vec(),
            layers,
        )?)
    }
}

/// Factors that drop a share of values and make up for it.
fn keep(count: usize, share: f32, rng: &mut ChaCha8Rng) -> Vec<f32> {
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

fn keep_tensor(
    size: (usize, usize),
    share: f32,
    rng: &mut ChaCha8Rng,
) -> candle_core::Result<Tensor> {
    Tensor::from_vec(keep(size.0 * size.1, share, rng), size, &Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{Bins, Input, Spec};

    /// Lengths that depend on the first of two inputs.
    fn rows(count: usize) -> Rows {
        let x = |i: usize| (i * 37 % 101) as f32 / 101.0;
        Rows {
            inputs: (0..count).flat_map(|i| [x(i), x(i * 3 + 1)]).collect(),
            lengths_tokens: (0..count).map(|i| vec![20.0 + 400.0 * x(i)]).collect(),
        }
    }

    fn shape(bins: usize) -> Shape {
        let lengths: Vec<f32> = rows(500).lengths_tokens.concat();
        Shape {
            spec: Spec {
                inputs: vec![Input::PromptEmbedding],
                hidden: vec![32],
                bins,
            },
            embedding: 2,
            models: 0,
            bins: (bins > 0).then(|| Bins::of(&lengths, bins).unwrap()),
        }
    }

    fn run(bins: usize, seed: u64) -> Fit {
        let options = FitOptions {
            epochs: 60,
            patience: 60,
            batch: 50,
            seed,
            drop_inputs: 0.0,
            drop_hidden: 0.0,
            ..FitOptions::default()
        };
        fit(&shape(bins), rows(500), &rows(100), &options, |_| ()).unwrap()
    }

    #[test]
    fn what_can_be_learned_is_learned() {
        for bins in [0, 20] {
            let fit = run(bins, 1);
            // Guessing the mean would miss by 100 tokens.
            assert!(fit.best.validation_mae_tokens < 25.0, "{:?}", fit.best);
            assert!(fit.epochs[0].loss > fit.epochs.last().unwrap().loss);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_head() {
        assert_eq!(run(20, 7).epochs, run(20, 7).epochs);
        assert_ne!(run(20, 7).epochs, run(20, 8).epochs);
    }

    #[test]
    fn nothing_to_learn_from_is_an_error() {
        let empty = fit(
            &shape(0),
            Rows::default(),
            &rows(5),
            &FitOptions::default(),
            |_| (),
        );
        assert!(
            empty
                .unwrap_err()
                .to_string()
                .contains("give more responses")
        );
    }
}
