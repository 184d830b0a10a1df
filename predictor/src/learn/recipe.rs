//! The two heads of a predictor, from samples to figures, for one choice of inputs and sizes.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::Part;
use super::corpus::Corpus;
use super::embed::Vectors;
use super::fit::{Epoch, FitError, FitOptions, Rows, fit, mae};
use super::sampling::{Sample, Step, rows};
use crate::encoder::Backend;
use crate::head::{Bins, Head, Input, Shape, Spec};

/// Steps that a network has to learn in, at the least.
const STEPS_MIN: usize = 200;

/// What a predictor is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// The head for the prompt alone.
    pub arrival: Spec,
    /// How that is fitted.
    pub arrival_fit: FitOptions,
    /// The head for prompt and response so far.
    pub later: Spec,
    /// How that is fitted.
    pub later_fit: FitOptions,
}

impl Recipe {
    /// Ours: words and embeddings, a distribution over 40 bins, the mean of four networks.
    pub fn ours(seed: u64) -> Self {
        let spec = |inputs: &[Input], hidden: &[usize]| Spec {
            inputs: inputs.to_vec(),
            hidden: hidden.to_vec(),
            bins: 40,
            members: 4,
        };
        Self {
            arrival: spec(
                &[
                    Input::PromptLexical,
                    Input::PromptEmbedding,
                    Input::ServedModel,
                ],
                &[256, 128],
            ),
            // There are few prompts, and an epoch over them is a few dozen steps.
            arrival_fit: FitOptions {
                epochs: 40,
                patience: 6,
                batch: 256,
                learning_rate: 1e-3,
                drop_inputs: 0.1,
                drop_hidden: 0.3,
                seed,
                ..FitOptions::default()
            },
            later: spec(
                &[
                    Input::PromptLexical,
                    Input::ResponseLexical,
                    Input::WindowEmbedding,
                    Input::TextEmbedding,
                    Input::ServedModel,
                ],
                &[512, 256, 128],
            ),
            later_fit: FitOptions {
                epochs: 10,
                drop_inputs: 0.1,
                drop_hidden: 0.3,
                learning_rate: 2e-3,
                seed,
                ..FitOptions::default()
            },
        }
    }

    /// Words only: no encoder.
    pub fn lexical(seed: u64) -> Self {
        let mut recipe = Self::ours(seed);
        recipe.arrival.inputs.retain(|input| !input.is_embedding());
        recipe.later.inputs.retain(|input| !input.is_embedding());
        recipe.later_fit.drop_inputs = 0.05;
        recipe.later_fit.drop_hidden = 0.2;
        recipe.later_fit.learning_rate = 3e-3;
        recipe
    }

    /// The paper's head (section 4.2): the embedding mean-pooled over prompt and answer, eight
    /// fully connected layers with 1024 units between them, learning rate 1e-4. Loss and optimiser
    /// are not in the paper: Huber's on the logarithm and AdamW are ours, and batches are larger.
    pub fn paper(seed: u64) -> Self {
        let spec = Spec {
            inputs: vec![Input::TextEmbedding],
            hidden: vec![1024; 7],
            bins: 0,
            members: 1,
        };
        let fit = FitOptions {
            epochs: 6,
            batch: 256,
            learning_rate: 1e-4,
            weight_decay: 0.01,
            drop_inputs: 0.0,
            drop_hidden: 0.0,
            seed,
            ..FitOptions::default()
        };
        Self {
            arrival: spec.clone(),
            arrival_fit: fit.clone(),
            later: spec,
            later_fit: fit,
        }
    }

    /// Ours at arrival, where the prompt is all there is, and words alone later, where embeddings
    /// did not help: the best pair on validation prompts, and no window is encoded.
    pub fn mixed(seed: u64) -> Self {
        Self::ours(seed).with_later_of(Self::lexical(seed))
    }

    /// Its head for arrival beside the head for later of another.
    #[must_use]
    pub fn with_later_of(self, other: Self) -> Self {
        Self {
            arrival: self.arrival,
            arrival_fit: self.arrival_fit,
            later: other.later,
            later_fit: other.later_fit,
        }
    }

    /// A recipe by its name.
    pub fn named(name: &str, seed: u64) -> Option<Self> {
        match name {
            "ours" => Some(Self::ours(seed)),
            "lexical" => Some(Self::lexical(seed)),
            "paper" => Some(Self::paper(seed)),
            _ => None,
        }
    }

    /// The recipe whose heads have these specifications, but for their number of members. The two
    /// may be of different recipes.
    pub fn of(arrival: &Spec, later: &Spec, seed: u64) -> Option<Self> {
        let recipes = [Self::ours(seed), Self::lexical(seed), Self::paper(seed)];
        let is = |known: &Spec, wanted: &Spec| {
            let members = wanted.members;
            let known = known.clone();
            Spec { members, ..known } == *wanted
        };
        let at_arrival = recipes.iter().find(|of| is(&of.arrival, arrival))?;
        let at_later = recipes.iter().find(|of| is(&of.later, later))?;
        Some(Self {
            arrival: arrival.clone(),
            arrival_fit: at_arrival.arrival_fit.clone(),
            later: later.clone(),
            later_fit: at_later.later_fit.clone(),
        })
    }

    /// The same, computed elsewhere.
    #[must_use]
    pub fn on(mut self, backend: Backend) -> Self {
        self.arrival_fit.backend = backend;
        self.later_fit.backend = backend;
        self
    }

    /// The same with epochs enough for few samples: over some hundred prompts an epoch is a handful
    /// of steps, and ten of those leave weights about where they began.
    #[must_use]
    pub fn with_epochs_for(mut self, samples: &[Sample]) -> Self {
        let fits = [
            (Step::Arrival, &mut self.arrival_fit),
            (Step::Later, &mut self.later_fit),
        ];
        for (step, fit) in fits {
            let mine = |sample: &&Sample| sample.at() == step && sample.part == Part::Train;
            let steps = samples.iter().filter(mine).count().div_ceil(fit.batch);
            fit.epochs = fit.epochs.max(STEPS_MIN.div_ceil(steps.max(1)));
        }
        self
    }

    /// The most epochs of all members of both heads.
    pub fn epochs(&self) -> usize {
        let heads = [
            (&self.arrival, &self.arrival_fit),
            (&self.later, &self.later_fit),
        ];
        heads
            .iter()
            .map(|(spec, fit)| spec.members * fit.epochs)
            .sum()
    }

    /// Whether any of its heads reads embeddings.
    pub fn needs_encoder(&self) -> bool {
        self.arrival.reads_embeddings() || self.later.reads_embeddings()
    }

    /// How many of so many windows of a response have to be encoded: none where no head reads them.
    pub fn windows_encoded(&self, steps_max: u32) -> u32 {
        if self.later.reads_windows() {
            steps_max
        } else {
            0
        }
    }
}

/// The two heads, fitted.
#[derive(Debug)]
pub struct Heads {
    /// For arrival.
    pub arrival: Fitted,
    /// For later.
    pub later: Fitted,
}

/// A head whose members are fitted.
#[derive(Debug)]
pub struct Fitted {
    /// The head.
    pub head: Head,
    /// Rows that it was fitted to.
    pub rows: u64,
    /// Mean absolute error of its median on the validation rows.
    pub validation_mae_tokens: f32,
    /// The epoch after which the last member that was interrupted went on from a checkpoint.
    pub resumed_after: Option<usize>,
}

/// The lengths that a sample may turn out to have. At arrival those are all that the prompt was
/// answered with; later a response goes its own way.
pub fn lengths(corpus: &Corpus, sample: &Sample, cap_tokens: u32) -> Vec<f32> {
    if sample.step > 0 {
        return vec![sample.remaining_tokens];
    }
    let all = &corpus.responses[sample.response].samples_tokens;
    all.iter()
        .map(|&length| length.min(cap_tokens) as f32)
        .collect()
}

/// Where the fit of a member of a head is kept while it goes on.
fn checkpoint_path(folder: &Path, step: Step, member: usize) -> PathBuf {
    let head = match step {
        Step::Arrival => "arrival",
        Step::Later => "later",
    };
    folder.join(format!("{head}.{member}.checkpoint"))
}

/// Removes what [`train`] kept in a folder, once its heads are saved.
///
/// # Errors
///
/// Those of the file system; what is not there is no error.
pub fn clear_checkpoints(folder: &Path, recipe: &Recipe) -> io::Result<()> {
    let heads = [
        (Step::Arrival, &recipe.arrival),
        (Step::Later, &recipe.later),
    ];
    for (step, spec) in heads {
        for member in 0..spec.members {
            match fs::remove_file(checkpoint_path(folder, step, member)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Fits both heads to the training part of the samples; `each` hears of every epoch of every
/// member, counted from 0. With a folder for checkpoints, what was interrupted there goes on, and
/// what was fitted is not fitted again.
///
/// # Errors
///
/// [`FitError`].
pub fn train(
    corpus: &Corpus,
    vectors: &Vectors,
    samples: &[Sample],
    recipe: &Recipe,
    cap_tokens: u32,
    checkpoints: Option<&Path>,
    mut each: impl FnMut(Step, usize, &Epoch),
) -> Result<Heads, FitError> {
    let mut one = |step: Step, spec: &Spec, options: &FitOptions| {
        let task = Task::new((corpus, vectors), samples, step, spec, cap_tokens)?;
        task.fit(options, checkpoints, &mut |member, epoch| {
            each(step, member, epoch);
        })
    };
    Ok(Heads {
        arrival: one(Step::Arrival, &recipe.arrival, &recipe.arrival_fit)?,
        later: one(Step::Later, &recipe.later, &recipe.later_fit)?,
    })
}

/// A head that is to be fitted.
struct Task {
    step: Step,
    /// That of one member.
    shape: Shape,
    members: usize,
    train: Rows,
    validation: Rows,
}

impl Task {
    fn new(
        (corpus, vectors): (&Corpus, &Vectors),
        samples: &[Sample],
        step: Step,
        spec: &Spec,
        cap_tokens: u32,
    ) -> Result<Self, FitError> {
        let of = |part: Part| -> Vec<Sample> {
            let mine = |sample: &&Sample| sample.at() == step && sample.part == part;
            samples.iter().filter(mine).copied().collect()
        };
        let (train, validation) = (of(Part::Train), of(Part::Validation));
        let known: Vec<f32> = train
            .iter()
            .flat_map(|s| lengths(corpus, s, cap_tokens))
            .collect();
        let shape = Shape {
            spec: Spec {
                members: 1,
                ..spec.clone()
            },
            embedding: vectors.dim(),
            models: corpus.models.len(),
            bins: (spec.bins > 0)
                .then(|| Bins::of(&known, spec.bins))
                .flatten(),
        };
        if spec.bins > 0 && shape.bins.is_none() {
            return Err(FitError::TooLittle(
                "the lengths do not differ enough for bins",
            ));
        }
        let made = |samples: &[Sample]| Rows {
            inputs: rows(corpus, vectors, samples, &shape, |r| {
                Some(corpus.model_of[r])
            }),
            lengths_tokens: samples
                .iter()
                .map(|s| lengths(corpus, s, cap_tokens))
                .collect(),
        };
        Ok(Self {
            step,
            members: spec.members,
            train: made(&train),
            validation: made(&validation),
            shape,
        })
    }

    /// Members differ by their seeds alone.
    fn fit(
        &self,
        options: &FitOptions,
        checkpoints: Option<&Path>,
        each: &mut dyn FnMut(usize, &Epoch),
    ) -> Result<Fitted, FitError> {
        let mut heads = Vec::with_capacity(self.members);
        let mut resumed_after = None;
        for member in 0..self.members {
            let options = FitOptions {
                seed: options.seed.wrapping_add(SEED_STEP * member as u64),
                ..options.clone()
            };
            let path = checkpoints.map(|folder| checkpoint_path(folder, self.step, member));
            let each = |epoch: &Epoch| each(member, epoch);
            let (train, validation) = (&self.train, &self.validation);
            let fitted = fit(
                &self.shape,
                train,
                validation,
                &options,
                path.as_deref(),
                each,
            )?;
            resumed_after = fitted.resumed_after.or(resumed_after);
            heads.push(fitted.head);
        }
        let mut head = Head::joined(heads)?;
        Ok(Fitted {
            validation_mae_tokens: mae(&mut head, &self.validation),
            head,
            rows: self.train.lengths_tokens.len() as u64,
            resumed_after,
        })
    }
}

/// Between the seeds of members, so that those of two predictors do not meet.
const SEED_STEP: u64 = 1_000_003;

#[cfg(test)]
mod tests {
    use super::super::corpus::{Split, lists};
    use super::super::embed::embed;
    use super::super::sampling::samples;
    use super::super::ways::heads_way;
    use super::*;
    use crate::encoder::Options;
    use crate::encoder::tests::small::Small;

    fn recipe(members: usize) -> Recipe {
        let mut recipe = Recipe::lexical(3);
        for (spec, fit) in [
            (&mut recipe.arrival, &mut recipe.arrival_fit),
            (&mut recipe.later, &mut recipe.later_fit),
        ] {
            (spec.hidden, spec.members, fit.epochs) = (vec![16], members, 4);
        }
        recipe
    }

    fn trained(members: usize, folder: Option<&Path>) -> (Heads, usize) {
        let corpus = lists(400, 31);
        let all = samples(&corpus, Split::ByPrompt, 4, 2048);
        let mut epochs = 0;
        let each = |_, _, _: &Epoch| epochs += 1;
        let (none, recipe) = (Vectors::default(), recipe(members));
        let heads = train(&corpus, &none, &all, &recipe, 2048, folder, each).unwrap();
        (heads, epochs)
    }

    #[test]
    fn few_samples_are_gone_over_more_often() {
        let corpus = lists(400, 31);
        let few = samples(&corpus, Split::ByPrompt, 4, 2048);
        let recipe = Recipe::lexical(0).with_epochs_for(&few);
        assert!(recipe.later_fit.epochs > Recipe::lexical(0).later_fit.epochs);
        let many = few.repeat(1000);
        assert_eq!(
            Recipe::lexical(0).with_epochs_for(&many),
            Recipe::lexical(0)
        );
    }

    #[test]
    fn a_head_says_the_mean_of_its_members() {
        let (mut alone, _) = trained(1, None);
        let (mut both, _) = trained(2, None);
        let (head, joint) = (&mut alone.later.head, &mut both.later.head);
        let mut second = joint.member(1);
        let rows: Vec<f32> = (0..3 * head.shape().width())
            .map(|i| (i % 7) as f32)
            .collect();
        let said = |head: &mut Head| head.outputs(&mut rows.clone());
        assert_eq!(joint.shape().spec.members, 2);
        assert_eq!(
            joint.layers()[..2],
            *head.layers(),
            "the first has the seed of one alone"
        );
        let means = said(head).into_iter().zip(said(&mut second));
        for (joint, (a, b)) in said(joint).into_iter().zip(means) {
            assert!((joint - 0.5 * (a + b)).abs() < 1e-6, "{joint} {a} {b}");
            assert!(a != b);
        }
    }

    #[test]
    fn heads_of_two_recipes_are_one_predictor() {
        let corpus = lists(400, 31);
        let all = samples(&corpus, Split::ByPrompt, 4, 2048);
        let mut encoder = Small::default().write().load(Options::default());
        let mut both = Recipe::mixed(3);
        for (spec, fit) in [
            (&mut both.arrival, &mut both.arrival_fit),
            (&mut both.later, &mut both.later_fit),
        ] {
            (spec.members, fit.epochs) = (1, 2);
        }
        let windows = both.windows_encoded(4);
        let vectors = embed(&corpus, &mut encoder, "", windows, None, |_, _| ()).unwrap();
        assert_eq!((vectors.dim(), vectors.windows(0)), (48, 0));
        let mut heads = train(&corpus, &vectors, &all, &both, 2048, None, |_, _, _| ()).unwrap();
        let shapes = [heads.arrival.head.shape(), heads.later.head.shape()];
        let reads = shapes.map(|shape| shape.spec.reads_embeddings());
        assert_eq!(reads, [true, false]);
        let heads = [&mut heads.arrival.head, &mut heads.later.head];
        let said = heads_way("both", &corpus, &vectors, &all, heads, |_| Some(0));
        assert!(said.remaining_tokens.iter().all(|tokens| *tokens >= 1.0));
    }

    #[test]
    fn members_that_were_fitted_are_not_fitted_again() {
        let folder = tempfile::tempdir().unwrap();
        let (first, epochs) = trained(2, Some(folder.path()));
        let (again, none) = trained(2, Some(folder.path()));
        assert!(epochs > 0 && none == 0, "{epochs} {none}");
        assert_eq!(first.later.head.layers(), again.later.head.layers());
        assert!(again.arrival.resumed_after.is_some());
        clear_checkpoints(folder.path(), &recipe(2)).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        clear_checkpoints(folder.path(), &recipe(2)).unwrap();
    }

    #[test]
    fn windows_are_encoded_only_for_a_head_that_reads_them() {
        let all = [Recipe::ours(0), Recipe::paper(0), Recipe::mixed(0)];
        assert_eq!(all.map(|recipe| recipe.windows_encoded(12)), [12, 12, 0]);
        assert!(Recipe::mixed(0).needs_encoder());
        assert!(!Recipe::lexical(0).needs_encoder());
    }

    #[test]
    fn a_recipe_is_known_by_its_heads_whatever_their_number() {
        let mut recipe = Recipe::ours(0);
        recipe.later.members = 9;
        assert_eq!(
            Recipe::of(&recipe.arrival, &recipe.later, 0),
            Some(recipe.clone())
        );
        let mixed = Recipe::mixed(7);
        assert_eq!(Recipe::of(&mixed.arrival, &mixed.later, 7), Some(mixed));
        recipe.later.hidden.push(1);
        assert_eq!(Recipe::of(&recipe.arrival, &recipe.later, 0), None);
    }
}
