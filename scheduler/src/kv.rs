//! KV memory of one worker, in blocks.

/// What is taken and what is free. Never negative: taking more than is free is a bug of the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct KvPool {
    pub(crate) block_size_tokens: u32,
    pub(crate) gpu_total: u32,
    pub(crate) gpu_free: u32,
    pub(crate) cpu_total: u32,
    pub(crate) cpu_free: u32,
}

impl KvPool {
    pub(crate) const fn new(block_size_tokens: u32, gpu_blocks: u32, cpu_blocks: u32) -> Self {
        Self {
            block_size_tokens,
            gpu_total: gpu_blocks,
            gpu_free: gpu_blocks,
            cpu_total: cpu_blocks,
            cpu_free: cpu_blocks,
        }
    }

    /// Blocks that hold `tokens`.
    pub(crate) const fn blocks(&self, tokens: u32) -> u32 {
        tokens.div_ceil(self.block_size_tokens)
    }

    pub(crate) fn take_gpu(&mut self, blocks: u32) {
        assert!(
            blocks <= self.gpu_free,
            "{blocks} KV blocks taken, {} free",
            self.gpu_free
        );
        self.gpu_free -= blocks;
    }

    pub(crate) fn give_gpu(&mut self, blocks: u32) {
        self.gpu_free += blocks;
        assert!(
            self.gpu_free <= self.gpu_total,
            "more KV blocks free than there are"
        );
    }

    pub(crate) fn take_cpu(&mut self, blocks: u32) {
        assert!(
            blocks <= self.cpu_free,
            "{blocks} host blocks taken, {} free",
            self.cpu_free
        );
        self.cpu_free -= blocks;
    }

    pub(crate) fn give_cpu(&mut self, blocks: u32) {
        self.cpu_free += blocks;
        assert!(
            self.cpu_free <= self.cpu_total,
            "more host blocks free than there are"
        );
    }
}
