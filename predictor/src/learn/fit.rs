//! Fits a head to rows with candle's AdamW, seeded: the same rows and seed give the same head.
//!
//! With a checkpoint, a fit that was interrupted goes on after its last whole epoch. Weights, best
//! weights, the order of rows and the random numbers go on as they were. The optimiser's moments
//! do not: candle-nn 0.11 neither shows nor takes them. They begin anew, and the learning rate
//! rises to its place over 100 steps again, so the head is not, bit by bit, the one that an
//! uninterrupted fit comes to. [`Fit::resumed_after`] says where that happened.

use std::path::Path;

use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::checkpoint::{Checkpoint, CheckpointError};
use super::net::Net;
use crate::encoder::{Backend, EncoderError};
use crate::head::{Head, HeadError, Shape, standardise};

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
    /// How far a length counts for the bins beside its own: [`crate::head::Bins::add_target`].
    pub spread_bins: f32,
    /// Seed of the first weights, the order of the rows and what is dropped.
    pub seed: u64,
    /// What computes: candle on the processor, or on a GPU. There sums come in any order, and the
    /// same seed gives nearly the same head.
    pub backend: Backend,
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
            spread_bins: 1.0,
            seed: 0,
            backend: Backend::default(),
        }
    }
}

/// How an epoch went.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
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
    /// The epoch after which it went on from a checkpoint, if it did.
    pub resumed_after: Option<usize>,
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
    /// What was kept of an interrupted fit cannot be read, or nothing can be kept.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The backend is not there.
    #[error(transparent)]
    Backend(#[from] EncoderError),
    /// Candle failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// Fits a head of a shape; `each` hears of every epoch. Where there is a checkpoint of the same
/// rows, shape and options, the fit goes on from there; after each epoch it is written.
///
/// # Errors
///
/// [`FitError`].
pub fn fit(
    shape: &Shape,
    train: &Rows,
    validation: &Rows,
    options: &FitOptions,
    checkpoint: Option<&Path>,
    mut each: impl FnMut(&Epoch),
) -> Result<Fit, FitError> {
    let task = Task::new(shape, train, validation, options)?;
    let digest = task.digest();
    let kept = match checkpoint {
        Some(path) => Checkpoint::read(path, &digest, shape)?,
        None => None,
    };
    let mut run = match kept {
        Some(kept) => Run::resumed(&task, kept)?,
        None => Run::begun(&task)?,
    };
    while !run.is_over(options) {
        let report = run.epoch(&task)?;
        if let Some(path) = checkpoint {
            run.kept()?.write(path, &digest)?;
        }
        each(&report);
    }
    let best = run
        .best
        .ok_or(FitError::TooLittle("not one epoch was asked for"))?;
    Ok(Fit {
        best: best.0,
        head: best.1,
        epochs: run.epochs,
        resumed_after: run.resumed_after,
    })
}

/// What is to be fitted.
struct Task<'a> {
    shape: &'a Shape,
    options: &'a FitOptions,
    validation: &'a Rows,
    inputs: Vec<f32>,
    targets: Vec<f32>,
    mean: Vec<f32>,
    scale: Vec<f32>,
    count: usize,
}

impl<'a> Task<'a> {
    fn new(
        shape: &'a Shape,
        train: &Rows,
        validation: &'a Rows,
        options: &'a FitOptions,
    ) -> Result<Self, FitError> {
        let count = train.lengths_tokens.len();
        if count < 2 || validation.lengths_tokens.is_empty() {
            return Err(FitError::TooLittle(
                "there are no rows to train or to validate on",
            ));
        }
        let mut inputs = train.inputs.clone();
        let (mean, scale) = moments(&inputs, shape.width());
        standardise(&mut inputs, &mean, &scale);
        let lengths = train.lengths_tokens.iter();
        let targets = lengths.flat_map(|lengths| target(shape, lengths, options.spread_bins));
        Ok(Self {
            targets: targets.collect(),
            shape,
            options,
            validation,
            inputs,
            mean,
            scale,
            count,
        })
    }

    /// Names everything that the head depends on.
    fn digest(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("{:?} {:?}", self.shape, self.options));
        let lengths = self.validation.lengths_tokens.iter().flatten();
        let parts = [&self.inputs, &self.targets, &self.validation.inputs];
        for value in parts.into_iter().flatten().chain(lengths) {
            hash.update(value.to_le_bytes());
        }
        let bytes = hash.finalize();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn head(&self, net: &Net) -> Result<Head, FitError> {
        let layers = net.layers()?;
        let (mean, scale) = (self.mean.clone(), self.scale.clone());
        Ok(Head::new(self.shape.clone(), mean, scale, layers)?)
    }
}

/// A fit under way.
struct Run {
    net: Net,
    optimiser: AdamW,
    /// Steps since the optimiser knew nothing.
    optimiser_steps: usize,
    rng: ChaCha8Rng,
    order: Vec<usize>,
    epochs: Vec<Epoch>,
    best: Option<(Epoch, Head)>,
    resumed_after: Option<usize>,
}

impl Run {
    fn begun(task: &Task<'_>) -> Result<Self, FitError> {
        let mut rng = ChaCha8Rng::seed_from_u64(task.options.seed);
        let device = task.options.backend.device()?;
        let start = start(task.shape, &task.targets);
        let net = Net::new(task.shape, &start, device, &mut rng)?;
        Ok(Self {
            optimiser: optimiser(&net, task.options)?,
            optimiser_steps: 0,
            net,
            rng,
            order: (0..task.count).collect(),
            epochs: Vec::new(),
            best: None,
            resumed_after: None,
        })
    }

    fn resumed(task: &Task<'_>, kept: Checkpoint) -> Result<Self, FitError> {
        let mut rng = ChaCha8Rng::seed_from_u64(task.options.seed);
        rng.set_word_pos(kept.word_pos);
        let device = task.options.backend.device()?;
        let best_net = Net::of_layers(&kept.best_layers, device.clone())?;
        let net = Net::of_layers(&kept.layers, device)?;
        let best = kept.epochs.iter().copied().reduce(|best, epoch| {
            let better = epoch.validation_mae_tokens < best.validation_mae_tokens;
            if better { epoch } else { best }
        });
        let head = task.head(&best_net)?;
        Ok(Self {
            optimiser: optimiser(&net, task.options)?,
            optimiser_steps: 0,
            net,
            rng,
            order: kept.order.iter().map(|&row| row as usize).collect(),
            resumed_after: Some(kept.epochs.len()),
            epochs: kept.epochs,
            best: best.map(|best| (best, head)),
        })
    }

    fn kept(&self) -> Result<Checkpoint, FitError> {
        let best = self.best.as_ref().map(|(_, head)| head.layers().to_vec());
        Ok(Checkpoint {
            epochs: self.epochs.clone(),
            word_pos: self.rng.get_word_pos(),
            order: self.order.iter().map(|&row| row as u32).collect(),
            layers: self.net.layers()?,
            best_layers: best.unwrap_or_default(),
        })
    }

    fn is_over(&self, options: &FitOptions) -> bool {
        let best = self.best.as_ref().map_or(0, |(best, _)| best.epoch);
        let done = self.epochs.len();
        done >= options.epochs || (done > 0 && done - best >= options.patience)
    }

    fn epoch(&mut self, task: &Task<'_>) -> Result<Epoch, FitError> {
        let options = task.options;
        let per_epoch = task.count.div_ceil(options.batch);
        let first = self.epochs.len() * per_epoch;
        self.order.shuffle(&mut self.rng);
        let mut loss = 0.0;
        for (step, batch) in (first..).zip(self.order.chunks(options.batch)) {
            let at = (step, options.epochs * per_epoch, self.optimiser_steps);
            self.optimiser
                .set_learning_rate(rate(options.learning_rate, at));
            self.optimiser_steps += 1;
            let x = gather(&task.inputs, task.shape.width(), batch);
            let y = gather(&task.targets, task.shape.outputs(), batch);
            let (net, rng) = (&self.net, &mut self.rng);
            let of_batch = net.step(&mut self.optimiser, task.shape, x, y, options, rng)?;
            loss += of_batch * batch.len() as f32;
        }
        let mut head = task.head(&self.net)?;
        let report = Epoch {
            epoch: self.epochs.len() + 1,
            loss: loss / task.count as f32,
            validation_mae_tokens: mae(&mut head, task.validation),
        };
        self.epochs.push(report);
        let better =
            |(best, _): &(Epoch, Head)| report.validation_mae_tokens < best.validation_mae_tokens;
        if self.best.as_ref().is_none_or(better) {
            self.best = Some((report, head));
        }
        Ok(report)
    }
}

fn optimiser(net: &Net, options: &FitOptions) -> Result<AdamW, FitError> {
    let params = ParamsAdamW {
        weight_decay: options.weight_decay,
        ..ParamsAdamW::default()
    };
    Ok(AdamW::new(net.vars(), params)?)
}

/// What one row should come to: a distribution, or the mean logarithm.
fn target(shape: &Shape, lengths: &[f32], spread_bins: f32) -> Vec<f32> {
    let weight = 1.0 / lengths.len().max(1) as f32;
    match &shape.bins {
        Some(bins) => {
            let mut target = vec![0.0; bins.len()];
            for &length in lengths {
                bins.add_target(length, weight, spread_bins, &mut target);
            }
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

/// Half a cosine over all steps; the first steps of an optimiser are small, since its moments are
/// those of a few rows.
pub(super) fn rate(highest: f64, (step, steps, optimiser_steps): (usize, usize, usize)) -> f64 {
    let rise = ((optimiser_steps + 1) as f64 / 100.0).min(1.0);
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
pub(super) fn mae(head: &mut Head, rows: &Rows) -> f32 {
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

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::encoder::tests::candle;
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
                members: 1,
            },
            embedding: 2,
            models: 0,
            bins: (bins > 0).then(|| Bins::of(&lengths, bins).unwrap()),
        }
    }

    fn options(seed: u64) -> FitOptions {
        FitOptions {
            epochs: 60,
            patience: 60,
            batch: 50,
            seed,
            drop_inputs: 0.0,
            drop_hidden: 0.0,
            backend: candle(),
            ..FitOptions::default()
        }
    }

    fn run(bins: usize, seed: u64) -> Fit {
        let options = options(seed);
        fit(&shape(bins), &rows(500), &rows(100), &options, None, |_| ()).unwrap()
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
            &Rows::default(),
            &rows(5),
            &FitOptions::default(),
            None,
            |_| (),
        );
        assert!(
            empty
                .unwrap_err()
                .to_string()
                .contains("give more responses")
        );
    }

    /// Fits until an epoch is over, then dies as a killed process does: in the middle.
    fn killed_after(epoch: usize, path: &Path, options: &FitOptions) {
        let each = |report: &Epoch| assert!(report.epoch < epoch, "killed");
        let fit = || {
            fit(
                &shape(20),
                &rows(500),
                &rows(100),
                options,
                Some(path),
                each,
            )
        };
        catch_unwind(AssertUnwindSafe(fit)).unwrap_err();
    }

    #[test]
    fn an_interrupted_fit_goes_on_after_its_last_epoch() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fit.checkpoint");
        let options = options(7);
        killed_after(20, &path, &options);
        let mut seen = Vec::new();
        let again = |each: &mut dyn FnMut(&Epoch)| {
            let each = |epoch: &Epoch| each(epoch);
            fit(
                &shape(20),
                &rows(500),
                &rows(100),
                &options,
                Some(&path),
                each,
            )
            .unwrap()
        };
        let resumed = again(&mut |epoch| seen.push(epoch.epoch));
        assert_eq!(seen, (21..=60).collect::<Vec<_>>());
        assert_eq!(resumed.resumed_after, Some(20));
        // What was done before the interruption is what an uninterrupted fit does.
        let whole = run(20, 7);
        assert_eq!(resumed.epochs[..20], whole.epochs[..20]);
        assert!(
            resumed.best.validation_mae_tokens < 25.0,
            "{:?}",
            resumed.best
        );

        // A fit that is over is not begun again, and comes to the same head.
        let mut over = again(&mut |_| panic!("an epoch too many"));
        let mut head = resumed.head;
        let said = |head: &mut Head| head.predict(&mut rows(100).inputs);
        assert_eq!(said(&mut over.head), said(&mut head));
        assert_eq!(over.epochs, resumed.epochs);
    }

    #[test]
    fn a_checkpoint_of_another_fit_is_left_alone_and_a_damaged_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fit.checkpoint");
        killed_after(3, &path, &options(1));
        let fit = |options: &FitOptions| {
            fit(
                &shape(20),
                &rows(500),
                &rows(100),
                options,
                Some(&path),
                |_| (),
            )
        };
        let other = fit(&options(2)).unwrap();
        assert_eq!((other.resumed_after, other.epochs.len()), (None, 60));
        std::fs::write(&path, b"half of it").unwrap();
        let said = fit(&options(2)).unwrap_err().to_string();
        assert!(said.contains("fit.checkpoint"), "{said}");
    }
}
