//! The KV blocks of a worker: who may have one, and what is in them.

use elis_ragged::{BLOCK_TOKENS, KvLayout, KvPool};

/// All blocks of a worker. Memory is touched when a block is first used.
#[derive(Debug)]
pub struct Cache {
    layout: KvLayout,
    values: Vec<f32>,
    /// Blocks that nobody has; the last one goes first, since it may still be in a processor cache.
    free: Vec<u32>,
}

/// There is no block left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no KV block is free")]
pub struct NoBlock;

/// KV blocks that were copied out of the pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Swapped {
    values: Vec<f32>,
}

impl Cache {
    /// A pool of so many blocks.
    pub fn new(layout: KvLayout, blocks: u32) -> Self {
        Self {
            layout,
            values: vec![0.0; blocks as usize * layout.block_len()],
            free: (0..blocks).rev().collect(),
        }
    }

    /// Tokens of a block.
    pub const fn block_tokens() -> u32 {
        BLOCK_TOKENS as u32
    }

    /// Bytes of a block of such a layout.
    pub fn block_bytes(layout: KvLayout) -> usize {
        layout.block_len() * size_of::<f32>()
    }

    /// Blocks that nobody has.
    pub fn free_blocks(&self) -> usize {
        self.free.len()
    }

    /// Makes a table long enough for so many tokens.
    ///
    /// # Errors
    ///
    /// [`NoBlock`]; what the table got until then it keeps.
    pub fn grow(&mut self, table: &mut Vec<u32>, tokens: usize) -> Result<(), NoBlock> {
        while table.len() * BLOCK_TOKENS < tokens {
            table.push(self.free.pop().ok_or(NoBlock)?);
        }
        Ok(())
    }

    /// Takes all blocks of a table back.
    pub fn release(&mut self, table: &mut Vec<u32>) {
        self.free.extend(table.drain(..).rev());
    }

    /// Copies the blocks of a table out and takes them back.
    pub fn swap_out(&mut self, table: &mut Vec<u32>) -> Swapped {
        let len = self.layout.block_len();
        let mut values = Vec::with_capacity(table.len() * len);
        for &block in table.iter() {
            values.extend_from_slice(&self.values[block as usize * len..][..len]);
        }
        self.release(table);
        Swapped { values }
    }

    /// Gives a table new blocks with what was copied out.
    ///
    /// # Errors
    ///
    /// [`NoBlock`] if there are too few; nothing has changed then.
    pub fn swap_in(&mut self, table: &mut Vec<u32>, swapped: &Swapped) -> Result<(), NoBlock> {
        let len = self.layout.block_len();
        let blocks = swapped.values.chunks_exact(len);
        if blocks.len() > self.free.len() {
            return Err(NoBlock);
        }
        for values in blocks {
            let block = self.free.pop().ok_or(NoBlock)?;
            self.values[block as usize * len..][..len].copy_from_slice(values);
            table.push(block);
        }
        Ok(())
    }

    /// How a block is laid out.
    pub fn layout(&self) -> KvLayout {
        self.layout
    }

    pub(crate) fn pool(&self) -> KvPool<'_> {
        KvPool {
            layout: self.layout,
            blocks: &self.values,
        }
    }

    /// Writes a token's keys and values of a layer.
    pub(crate) fn store(
        &mut self,
        layer: usize,
        table: &[u32],
        position: usize,
        (keys, values): (&[f32], &[f32]),
    ) {
        let len = self.layout.block_len();
        let block = table[position / BLOCK_TOKENS] as usize * len;
        let block = &mut self.values[block..block + len];
        self.layout
            .store(block, layer, position % BLOCK_TOKENS, keys, values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_and_copies_hold_what_was_there() {
        let layout = KvLayout {
            layers: 1,
            heads: 1,
            dim: 2,
        };
        let mut cache = Cache::new(layout, 3);
        let (mut one, mut two) = (Vec::new(), Vec::new());
        cache.grow(&mut one, 33).unwrap();
        assert_eq!((one.len(), cache.free_blocks()), (2, 1));
        cache.store(0, &one, 32, (&[1.0, 2.0], &[3.0, 4.0]));
        let before = cache.values[one[1] as usize * layout.block_len()..][..4].to_vec();
        let swapped = cache.swap_out(&mut one);
        assert_eq!((one.len(), cache.free_blocks()), (0, 3));
        cache.grow(&mut two, 64).unwrap();
        assert_eq!(cache.swap_in(&mut one, &swapped), Err(NoBlock));
        assert_eq!((one.len(), cache.free_blocks()), (0, 1));
        cache.release(&mut two);
        cache.swap_in(&mut one, &swapped).unwrap();
        let after = &cache.values[one[1] as usize * layout.block_len()..][..4];
        assert_eq!(before, after);
        assert_eq!(cache.grow(&mut two, 100), Err(NoBlock));
    }
}
