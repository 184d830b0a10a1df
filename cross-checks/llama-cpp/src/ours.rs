//! Our model, behind calls like those of llama.cpp.

use std::path::Path;

use anyhow::{Context as _, Result};
use elis_llm::{Cache, Cpu, Model, Precision, Source, Workspace};

use crate::llama::Part;

/// Room of each sequence.
const TOKENS: usize = 1024;

/// A model with its memory.
pub struct Ours {
    model: Model,
    cache: Cache,
    space: Workspace,
    tables: Vec<Vec<u32>>,
}

impl Ours {
    /// Loads a model for so many sequences.
    pub fn load(file: &Path, sequences: usize, precision: Option<Precision>) -> Result<Self> {
        let mut source = Source::open(file)?;
        let model = Model::load(&mut source, Cpu::detect(), precision, |_| ())?;
        let blocks = sequences * TOKENS / Cache::block_tokens() as usize;
        let mut cache = Cache::new(model.config().kv_layout(), blocks as u32);
        let mut tables = vec![Vec::new(); sequences];
        for table in &mut tables {
            cache
                .grow(table, TOKENS)
                .context("the cache is too small")?;
        }
        Ok(Self {
            model,
            cache,
            space: Workspace::default(),
            tables,
        })
    }

    /// The kernels it runs on.
    pub fn kernels(&self) -> &'static str {
        self.model.cpu().name()
    }

    /// Computes a part of each sequence in one call. `each` gets the logits in order.
    pub fn forward(&mut self, parts: &[Part<'_>], mut each: impl FnMut(&[f32])) {
        let mut all = Vec::new();
        for (part, table) in parts.iter().zip(&self.tables) {
            // A part gives the logits of its last token. Keys and values of a layer are all stored
            // before they are read, so tokens of one sequence can be parts of their own.
            let length = if part.all_logits {
                1
            } else {
                part.tokens.len()
            };
            for (i, tokens) in part.tokens.chunks(length).enumerate() {
                let context = part.context + i * length;
                all.push(elis_llm::Part {
                    tokens,
                    context,
                    table,
                    wants_logits: true,
                });
            }
        }
        let logits = self.model.forward(&all, &mut self.cache, &mut self.space);
        logits
            .chunks_exact(self.model.config().vocabulary)
            .for_each(&mut each);
    }
}
