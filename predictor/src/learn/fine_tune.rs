//! Fits an encoder to lengths: its layers learn, with a passing head, how long several models
//! answered to a prompt, and what they learned stays in the embedding that later heads read.
//!
//! Each model has its own outputs over one embedding, so that what several say to a prompt is
//! learned from together; a prompt is seen once an epoch, whoever answered it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Tensor, Var};
use candle_nn::{AdamW, Optimizer as _, ParamsAdamW, ops};
use elis_workloads::responses::{Answered, Part};
use rand::{RngExt as _, SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;

use super::fit::{Epoch, FitError, rate};
use super::net::keep;
use crate::encoder::{Backend, Trainable};
use crate::head::Bins;

/// Batches whose prompts are sorted by length together, so that little is padded.
const POOL_BATCHES: usize = 16;

/// How an encoder is fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct FineTune {
    /// The most epochs.
    pub epochs: usize,
    /// Epochs without a better validation error after which it stops.
    pub patience: usize,
    /// Prompts of a step.
    pub batch: usize,
    /// Highest learning rate of the encoder; it rises over the first 100 steps and falls as a
    /// cosine.
    pub learning_rate: f64,
    /// That of the passing head, which begins at nothing.
    pub head_learning_rate: f64,
    /// AdamW's decay of weights.
    pub weight_decay: f64,
    /// Share of a prompt's tokens that a step does not see.
    pub drop_tokens: f32,
    /// Share of the embedding's numbers that a step does not see.
    pub drop_embedding: f32,
    /// How far a length counts for the bins beside its own: [`Bins::add_target`].
    pub spread_bins: f32,
    /// Bins of the passing head.
    pub bins: usize,
    /// Longer responses count as this long.
    pub cap_tokens: u32,
    /// Seed of the order of prompts and of what is dropped.
    pub seed: u64,
    /// What computes: candle on the processor, or on a GPU. There sums come in any order, and the
    /// same seed gives nearly the same encoder.
    pub backend: Backend,
}

impl Default for FineTune {
    fn default() -> Self {
        Self {
            epochs: 6,
            patience: 2,
            batch: 32,
            learning_rate: 5e-5,
            head_learning_rate: 2e-3,
            weight_decay: 0.01,
            drop_tokens: 0.1,
            drop_embedding: 0.1,
            spread_bins: 1.0,
            bins: 40,
            cap_tokens: 2048,
            seed: 0,
            backend: Backend::Candle,
        }
    }
}

/// Prompts with the lengths of what models answered to them.
#[derive(Debug, Default)]
pub struct Lengths {
    /// The models, sorted.
    pub models: Vec<String>,
    /// Each prompt once.
    prompts: Vec<Prompt>,
}

#[derive(Debug)]
struct Prompt {
    text: Arc<str>,
    part: Part,
    /// By the number of the model.
    lengths_tokens: BTreeMap<usize, Vec<u32>>,
}

impl Lengths {
    /// Numbers prompts and models. Of several accounts of one model's answers to one prompt the
    /// first counts: files may say the same twice.
    pub fn new(answers: Vec<Answered>) -> Self {
        let mut models: Vec<String> = answers.iter().map(|a| a.model.clone()).collect();
        models.sort_unstable();
        models.dedup();
        let mut known: BTreeMap<Arc<str>, BTreeMap<usize, Vec<u32>>> = BTreeMap::new();
        for answer in answers {
            let model = models.partition_point(|name| *name < answer.model);
            let of_prompt = known.entry(answer.prompt).or_default();
            of_prompt.entry(model).or_insert(answer.samples_tokens);
        }
        let prompts = known.into_iter().map(|(text, lengths_tokens)| Prompt {
            part: Part::of_prompt(&text),
            text,
            lengths_tokens,
        });
        Self {
            prompts: prompts.collect(),
            models,
        }
    }

    /// How many prompts are in a part.
    pub fn prompts(&self, part: Part) -> usize {
        self.of(part).count()
    }

    fn of(&self, part: Part) -> impl Iterator<Item = &Prompt> {
        self.prompts
            .iter()
            .filter(move |prompt| prompt.part == part)
    }
}

/// What [`fine_tune`] tells of itself.
#[derive(Debug, Clone, Copy)]
pub enum Seen<'a> {
    /// So many steps of at most so many are done.
    Steps(usize, usize),
    /// An epoch is over.
    Epoch(&'a Epoch),
}

/// How a fit went.
#[derive(Debug, Clone, PartialEq)]
pub struct FineTuned {
    /// All epochs.
    pub epochs: Vec<Epoch>,
    /// The one whose weights were kept.
    pub best: Epoch,
}

/// Fits the encoder in `folder` to the lengths of the training part; `each` hears how it goes. The
/// weights of the best epoch by the validation part are written to `weights`, after each that is
/// the best so far: what is interrupted loses no more than an epoch.
///
/// # Errors
///
/// [`FitError`].
pub fn fine_tune(
    folder: &Path,
    lengths: &Lengths,
    options: &FineTune,
    weights: &Path,
    mut each: impl FnMut(Seen<'_>),
) -> Result<FineTuned, FitError> {
    let model = Trainable::load(folder, options.backend)?;
    let task = Task::new(&model, lengths, options)?;
    let mut run = Run::new(&task)?;
    let mut epochs: Vec<Epoch> = Vec::new();
    let mut best: Option<Epoch> = None;
    while epochs.len() < options.epochs {
        let report = Epoch {
            epoch: epochs.len() + 1,
            loss: run.epoch(&task, &mut each)?,
            validation_mae_tokens: run.mae(&task)?,
        };
        epochs.push(report);
        each(Seen::Epoch(&report));
        match best {
            Some(best) if best.validation_mae_tokens <= report.validation_mae_tokens => {
                if report.epoch - best.epoch >= options.patience {
                    break;
                }
            }
            _ => {
                model.save(weights)?;
                best = Some(report);
            }
        }
    }
    let best = best.ok_or(FitError::TooLittle("not one epoch was asked for"))?;
    Ok(FineTuned { epochs, best })
}

/// A prompt as it is learned from.
struct Example<'a> {
    ids: Vec<u32>,
    prompt: &'a Prompt,
}

/// What is to be fitted.
struct Task<'a> {
    model: &'a Trainable,
    options: &'a FineTune,
    models: usize,
    bins: Bins,
    train: Vec<Example<'a>>,
    validation: Vec<Example<'a>>,
}

impl<'a> Task<'a> {
    fn new(
        model: &'a Trainable,
        lengths: &'a Lengths,
        options: &'a FineTune,
    ) -> Result<Self, FitError> {
        let of = |part: Part| -> Vec<Example<'a>> {
            let example = |prompt: &'a Prompt| Example {
                ids: model.tokenize(&prompt.text),
                prompt,
            };
            lengths.of(part).map(example).collect()
        };
        let (train, mut validation) = (of(Part::Train), of(Part::Validation));
        if train.len() < 2 || validation.is_empty() {
            return Err(FitError::TooLittle(
                "there are no prompts to train or to validate on",
            ));
        }
        validation.sort_by_key(|example| example.ids.len());
        let all = train.iter().flat_map(|e| e.prompt.lengths_tokens.values());
        let all: Vec<f32> = all.flatten().map(|&l| capped(l, options)).collect();
        let bins = Bins::of(&all, options.bins).ok_or(FitError::TooLittle(
            "the lengths do not differ enough for bins",
        ))?;
        Ok(Self {
            model,
            options,
            models: lengths.models.len(),
            bins,
            train,
            validation,
        })
    }

    fn outputs(&self) -> usize {
        self.models * self.bins.len()
    }

    /// Adds what the outputs should come to for a prompt: a distribution for each model that
    /// answered, nothing for others. Says how many answered.
    fn add_target(&self, prompt: &Prompt, target: &mut [f32]) -> usize {
        for (&model, lengths) in &prompt.lengths_tokens {
            let target = &mut target[model * self.bins.len()..][..self.bins.len()];
            let weight = 1.0 / lengths.len().max(1) as f32;
            for &length in lengths {
                let length = capped(length, self.options);
                self.bins
                    .add_target(length, weight, self.options.spread_bins, target);
            }
        }
        prompt.lengths_tokens.len()
    }

    /// The logarithm of each model's lengths over all training prompts, where the head begins.
    fn start(&self) -> Vec<f32> {
        let mut sums = vec![0.0; self.outputs()];
        for example in &self.train {
            self.add_target(example.prompt, &mut sums);
        }
        for of_model in sums.chunks_exact_mut(self.bins.len()) {
            let total = of_model.iter().sum::<f32>().max(1.0);
            of_model
                .iter_mut()
                .for_each(|p| *p = libm::logf((*p / total).max(1e-6)));
        }
        sums
    }
}

fn capped(length_tokens: u32, options: &FineTune) -> f32 {
    length_tokens.min(options.cap_tokens) as f32
}

/// A fit under way.
struct Run {
    head: [Var; 2],
    optimiser: AdamW,
    head_optimiser: AdamW,
    rng: ChaCha8Rng,
    order: Vec<usize>,
    steps: usize,
}

impl Run {
    fn new(task: &Task<'_>) -> Result<Self, FitError> {
        let device = task.model.device();
        let shape = (task.model.dim(), task.outputs());
        let head = [
            Var::zeros(shape, DType::F32, device)?,
            Var::from_slice(&task.start(), shape.1, device)?,
        ];
        let params = |rate| ParamsAdamW {
            lr: rate,
            weight_decay: task.options.weight_decay,
            ..ParamsAdamW::default()
        };
        Ok(Self {
            optimiser: AdamW::new(task.model.vars(), params(task.options.learning_rate))?,
            head_optimiser: AdamW::new(head.to_vec(), params(task.options.head_learning_rate))?,
            head,
            rng: ChaCha8Rng::seed_from_u64(task.options.seed),
            order: (0..task.train.len()).collect(),
            steps: 0,
        })
    }

    /// Logits of all models over all bins, from embeddings whose numbers are of size 1.
    fn logits(&self, task: &Task<'_>, embedding: &Tensor) -> Result<Tensor, FitError> {
        let logits = embedding.matmul(&self.head[0])?;
        let logits = logits.broadcast_add(&self.head[1])?;
        Ok(logits.reshape(((), task.models, task.bins.len()))?)
    }

    /// One pass over the training prompts; the mean loss.
    fn epoch(&mut self, task: &Task<'_>, each: &mut impl FnMut(Seen<'_>)) -> Result<f32, FitError> {
        let batches = self.batches(task);
        let all = task.options.epochs * batches.len();
        let (mut sum, count) = (0.0, batches.len());
        for batch in batches {
            let at = (self.steps, all, self.steps);
            let options = task.options;
            self.optimiser
                .set_learning_rate(rate(options.learning_rate, at));
            self.head_optimiser
                .set_learning_rate(rate(options.head_learning_rate, at));
            sum += self.step(task, &batch)?;
            self.steps += 1;
            each(Seen::Steps(self.steps, all));
        }
        Ok(sum / count.max(1) as f32)
    }

    /// The prompts of each step: in any order, but of about the same length in one step.
    fn batches(&mut self, task: &Task<'_>) -> Vec<Vec<usize>> {
        let size = task.options.batch.max(1);
        self.order.shuffle(&mut self.rng);
        let mut batches = Vec::new();
        for pool in self.order.chunks_mut(size * POOL_BATCHES) {
            pool.sort_by_key(|&number| task.train[number].ids.len());
            batches.extend(pool.chunks(size).map(<[usize]>::to_vec));
        }
        batches.shuffle(&mut self.rng);
        batches
    }

    fn step(&mut self, task: &Task<'_>, batch: &[usize]) -> Result<f32, FitError> {
        let mut target = vec![0.0; batch.len() * task.outputs()];
        let rows = target.chunks_exact_mut(task.outputs());
        let answers: usize = rows
            .zip(batch)
            .map(|(row, &number)| task.add_target(task.train[number].prompt, row))
            .sum();
        let share = task.options.drop_tokens;
        let texts: Vec<Vec<u32>> = batch
            .iter()
            .map(|&number| thinned(&task.train[number].ids, share, &mut self.rng))
            .collect();
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let embedding = scaled(&task.model.forward(&texts)?)?;
        let share = task.options.drop_embedding;
        let kept = keep(embedding.elem_count(), share, &mut self.rng);
        let kept = Tensor::from_vec(kept, embedding.shape(), task.model.device())?;
        let logits = self.logits(task, &(embedding * kept)?)?;
        let target = Tensor::from_vec(target, logits.shape(), task.model.device())?;
        let log = ops::log_softmax(&logits, 2)?;
        let loss = ((target * log)?.sum_all()? * (-1.0 / answers.max(1) as f64))?;
        let gradients = loss.backward()?;
        self.optimiser.step(&gradients)?;
        self.head_optimiser.step(&gradients)?;
        Ok(loss.to_scalar()?)
    }

    /// Mean absolute error of the median, over all lengths of the validation part.
    fn mae(&self, task: &Task<'_>) -> Result<f32, FitError> {
        let (mut sum, mut count) = (0.0f64, 0u32);
        for batch in task.validation.chunks(task.options.batch.max(1)) {
            let texts: Vec<&[u32]> = batch.iter().map(|example| &*example.ids).collect();
            let embedding = scaled(&task.model.forward(&texts)?.detach())?;
            let shares = ops::softmax(&self.logits(task, &embedding)?.detach(), 2)?;
            let shares: Vec<f32> = shares.flatten_all()?.to_vec1()?;
            let of_prompts = shares.chunks_exact(task.outputs());
            for (example, of_prompt) in batch.iter().zip(of_prompts) {
                for (&model, lengths) in &example.prompt.lengths_tokens {
                    let bins = task.bins.len();
                    let said = task.bins.summarise(&of_prompt[model * bins..][..bins]);
                    for &length in lengths {
                        let error = said.median_tokens - capped(length, task.options);
                        sum += f64::from(error.abs());
                        count += 1;
                    }
                }
            }
        }
        Ok((sum / f64::from(count.max(1))) as f32)
    }
}

/// Embeddings scaled to a mean square of 1, whatever the encoder's own length is, so that one
/// learning rate of the head suits all.
fn scaled(embedding: &Tensor) -> Result<Tensor, FitError> {
    let length = (embedding.sqr()?.mean_keepdim(1)? + 1e-24)?.sqrt()?;
    Ok(embedding.broadcast_div(&length)?)
}

/// A text without a share of its tokens; the two around it stay.
fn thinned(ids: &[u32], share: f32, rng: &mut ChaCha8Rng) -> Vec<u32> {
    let last = ids.len() - 1;
    let tokens = ids.iter().enumerate();
    let kept = tokens.filter(|&(i, _)| i == 0 || i == last || rng.random::<f32>() >= share);
    kept.map(|(_, &id)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::Options;
    use crate::encoder::tests::candle;
    use crate::encoder::tests::small::{Folder, Small};

    /// Answers of two models: as long as the first letter of the prompt says, and twice that.
    fn lengths() -> Lengths {
        let answer = |i: u8, times: u32| {
            let letter = |n: u8| char::from(b'a' + n % 26);
            let prompt = format!("{} {} {}", letter(i % 9), letter(i / 9), letter(i / 3));
            Answered {
                source: "s".to_owned(),
                licence: String::new(),
                model: format!("times {times}"),
                prompt: prompt.as_str().into(),
                samples_tokens: vec![times * (20 + 40 * u32::from(i % 9))],
            }
        };
        let both = (0..220).flat_map(|i| [answer(i, 1), answer(i, 2)]);
        Lengths::new(both.collect())
    }

    fn options() -> FineTune {
        FineTune {
            epochs: 12,
            patience: 12,
            batch: 16,
            learning_rate: 1e-3,
            head_learning_rate: 1e-2,
            drop_tokens: 0.0,
            backend: candle(),
            ..FineTune::default()
        }
    }

    /// The weights take the place of those that the fit began with.
    fn fitted(folder: &Folder, options: &FineTune) -> FineTuned {
        let weights = folder.path().join("model.safetensors");
        fine_tune(folder.path(), &lengths(), options, &weights, |_| ()).unwrap()
    }

    #[test]
    fn layers_learn_what_prompts_say_of_lengths() {
        let of = |learning_rate| {
            let options = FineTune {
                learning_rate,
                ..options()
            };
            fitted(&Small::default().write(), &options)
        };
        let (moved, still) = (of(1e-3), of(0.0));
        let [moved_mae, still_mae] = [&moved, &still].map(|fit| fit.best.validation_mae_tokens);
        assert!(moved_mae < 0.6 * still_mae, "{moved_mae} {still_mae}");
        assert!(moved.epochs[0].loss > moved.best.loss);
        let all = moved.epochs.iter().map(|e| e.validation_mae_tokens);
        assert_eq!(all.reduce(f32::min), Some(moved_mae));
    }

    #[test]
    fn what_is_kept_is_an_encoder_that_says_what_the_fit_saw() {
        let folder = Small::default().write();
        let texts = ["c a b", "a", ""];
        let before = folder.load(Options::default()).encode(&texts).unwrap();
        let options = FineTune {
            epochs: 2,
            ..options()
        };
        fitted(&folder, &options);
        let mut encoder = folder.load(Options::default());
        let after = encoder.encode(&texts).unwrap();
        assert_ne!(after.row(0), before.row(0));
        // With gradients and without, padded or not, the weights say the same.
        let model = Trainable::load(folder.path(), options.backend).unwrap();
        let ids = texts.map(|text| model.tokenize(text));
        let ids = ids.each_ref().map(Vec::as_slice);
        let again = model.forward(&ids).unwrap().to_vec2::<f32>().unwrap();
        for (after, again) in after.iter().zip(&again) {
            let apart = after.iter().zip(again).map(|(a, b)| (a - b).abs());
            let apart = apart.fold(0.0, f32::max);
            assert!(apart < 1e-4, "{apart}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_encoder() {
        let of = |seed| {
            let options = FineTune {
                epochs: 2,
                seed,
                backend: Backend::Candle,
                ..options()
            };
            fitted(&Small::default().write(), &options).epochs
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn of_two_accounts_the_first_counts_and_models_are_numbered() {
        let answer = |model: &str, tokens| Answered {
            source: String::new(),
            licence: String::new(),
            model: model.to_owned(),
            prompt: "p".into(),
            samples_tokens: vec![tokens],
        };
        let lengths = Lengths::new(vec![answer("b", 1), answer("a", 2), answer("b", 3)]);
        assert_eq!(lengths.models, ["a", "b"]);
        let known = &lengths.prompts[0].lengths_tokens;
        assert_eq!(known[&0], [2]);
        assert_eq!(known[&1], [1]);
    }

    #[test]
    fn nothing_to_learn_from_is_an_error() {
        let folder = Small::default().write();
        let said = |lengths: &Lengths, epochs| {
            let options = FineTune {
                epochs,
                ..options()
            };
            let weights = folder.path().join("new.safetensors");
            let fit = fine_tune(folder.path(), lengths, &options, &weights, |_| ());
            assert!(!weights.exists());
            fit.unwrap_err().to_string()
        };
        let nothing = said(&Lengths::default(), 1);
        assert!(nothing.contains("give more responses"), "{nothing}");
        let none = said(&lengths(), 0);
        assert!(none.contains("not one epoch"), "{none}");
    }
}
