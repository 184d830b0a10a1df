//! One response in the making: its tokens, its blocks, and how much of them is computed.

use crate::backend::DeviceError;
use crate::cache::{Cache, NoBlock, Pool};
use crate::model::Part;

/// A prompt with the response so far.
#[derive(Debug)]
pub struct Sequence {
    tokens: Vec<u32>,
    prompt_tokens: usize,
    computed: usize,
    table: Vec<u32>,
    /// Slots of host memory with the blocks behind those of the table, the last block first.
    swapped: Vec<u32>,
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
            swapped: Vec::new(),
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
    pub fn prepare<P>(&mut self, count: usize, cache: &mut Cache<P>) -> Result<(), SequenceError> {
        if !self.swapped.is_empty() {
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
    pub fn evict<P>(&mut self, cache: &mut Cache<P>) {
        cache.release(&mut self.table, &mut self.swapped);
        self.computed = 0;
    }

    /// Moves keys and values to host memory, as far as there is room. Returns how many blocks are
    /// left: where another sequence has made room, the next call goes on.
    ///
    /// # Errors
    ///
    /// What the device says; the sequence is as it was.
    pub fn swap_out<P: Pool>(&mut self, cache: &mut Cache<P>) -> Result<usize, DeviceError> {
        cache.swap_out(&mut self.table, &mut self.swapped)?;
        Ok(self.table.len())
    }

    /// Moves them back, as far as there is room. Returns how many blocks are left.
    ///
    /// # Errors
    ///
    /// What the device says; the sequence is as it was.
    pub fn swap_in<P: Pool>(&mut self, cache: &mut Cache<P>) -> Result<usize, DeviceError> {
        cache.swap_in(&mut self.table, &mut self.swapped)?;
        Ok(self.swapped.len())
    }
}
