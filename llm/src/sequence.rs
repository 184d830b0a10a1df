//! One response in the making: its tokens, its blocks, and how much of them is computed.

use crate::cache::{Cache, NoBlock, Swapped};
use crate::model::Part;

/// A prompt with the response so far.
#[derive(Debug)]
pub struct Sequence {
    tokens: Vec<u32>,
    prompt_tokens: usize,
    computed: usize,
    table: Vec<u32>,
    swapped: Option<Swapped>,
}

/// Why a sequence cannot go on as it was told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// There is no memory.
    #[error(transparent)]
    NoBlock(#[from] NoBlock),
    /// Its keys and values are in host memory.
    #[error("its KV is swapped out")]
    Swapped,
    /// More tokens were asked for than there are.
    #[error("{0} tokens were to be computed, of {1} that are left")]
    TooMany(usize, usize),
}

impl Sequence {
    /// A sequence of which nothing is computed.
    pub fn new(prompt: &[u32]) -> Self {
        Self {
            tokens: prompt.to_vec(),
            prompt_tokens: prompt.len(),
            computed: 0,
            table: Vec::new(),
            swapped: None,
        }
    }

    /// Prompt and response.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The response.
    pub fn generated(&self) -> &[u32] {
        &self.tokens[self.prompt_tokens..]
    }

    /// Tokens whose keys and values are there.
    pub fn computed(&self) -> usize {
        self.computed
    }

    /// Tokens whose keys and values are still to be computed; at least one.
    pub fn left(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Takes blocks for the next `count` tokens, which [`Sequence::part`] then lends.
    ///
    /// # Errors
    ///
    /// A [`SequenceError`]; the sequence is as it was.
    pub fn prepare(&mut self, count: usize, cache: &mut Cache) -> Result<(), SequenceError> {
        if self.swapped.is_some() {
            return Err(SequenceError::Swapped);
        }
        if count > self.left() {
            return Err(SequenceError::TooMany(count, self.left()));
        }
        cache.grow(&mut self.table, self.computed + count)?;
        Ok(())
    }

    /// The next `count` tokens, as a model computes them.
    pub fn part(&self, count: usize) -> Part<'_> {
        let end = self.computed + count;
        Part {
            tokens: &self.tokens[self.computed..end],
            context: self.computed,
            table: &self.table,
            wants_logits: end == self.tokens.len(),
        }
    }

    /// Notes that `count` tokens were computed.
    pub fn advance(&mut self, count: usize) {
        self.computed = (self.computed + count).min(self.tokens.len());
    }

    /// Adds a token to the response.
    pub fn push(&mut self, token: u32) {
        self.tokens.push(token);
    }

    /// Forgets all keys and values: they must be computed again.
    pub fn evict(&mut self, cache: &mut Cache) {
        cache.release(&mut self.table);
        self.swapped = None;
        self.computed = 0;
    }

    /// Moves keys and values to host memory.
    pub fn swap_out(&mut self, cache: &mut Cache) {
        if self.swapped.is_none() {
            self.swapped = Some(cache.swap_out(&mut self.table));
        }
    }

    /// Moves them back.
    ///
    /// # Errors
    ///
    /// [`SequenceError::NoBlock`]; they are then where they were.
    pub fn swap_in(&mut self, cache: &mut Cache) -> Result<(), SequenceError> {
        let Some(swapped) = self.swapped.take() else {
            return Ok(());
        };
        if let Err(error) = cache.swap_in(&mut self.table, &swapped) {
            self.swapped = Some(swapped);
            return Err(error.into());
        }
        Ok(())
    }
}
