//! Where a model is computed: one face for the processor's kernels and for devices.

use std::sync::Arc;

use crate::cache::{Cache, HostPool, Pool};
use crate::config::Config;
use crate::model::{Model, Part, Workspace};

/// A device could not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DeviceError(pub String);

/// A model with the KV blocks that its sequences lend.
pub trait Backend: Send {
    /// What keeps the blocks.
    type Pool: Pool;

    /// The model's sizes.
    fn config(&self) -> &Config;

    /// The blocks.
    fn cache(&mut self) -> &mut Cache<Self::Pool>;

    /// Computes the tokens of all parts in one iteration. Returns the logits of those parts that
    /// want them, in order, each as long as the vocabulary.
    ///
    /// # Errors
    ///
    /// What the device says; the keys and values of these parts are then undefined.
    fn forward(&mut self, parts: &[Part<'_>]) -> Result<&mut [f32], DeviceError>;
}

/// A model on the processor, by the kernels of `elis-ragged`.
#[derive(Debug)]
pub struct CpuBackend {
    model: Arc<Model>,
    cache: Cache,
    space: Workspace,
}

impl CpuBackend {
    /// A model with so many KV blocks, and so many that may be swapped out.
    pub fn new(model: Arc<Model>, blocks: u32, swap_blocks: u32) -> Self {
        Self {
            cache: Cache::with_swap(model.config().kv_layout(), blocks, swap_blocks),
            model,
            space: Workspace::default(),
        }
    }
}

impl Backend for CpuBackend {
    type Pool = HostPool;

    fn config(&self) -> &Config {
        self.model.config()
    }

    fn cache(&mut self) -> &mut Cache {
        &mut self.cache
    }

    fn forward(&mut self, parts: &[Part<'_>]) -> Result<&mut [f32], DeviceError> {
        Ok(self.model.forward(parts, &mut self.cache, &mut self.space))
    }
}
