//! The KV blocks of a worker: who may have one, and what is in them.

use elis_ragged::{BLOCK_TOKENS, KvLayout, KvPool};

use crate::backend::DeviceError;

/// What keeps blocks and copies them to host memory and back. Copies and computations happen in the
/// order in which they were asked for.
pub trait Pool: Send {
    /// Copies blocks into slots of host memory: each from the first number to the second.
    ///
    /// # Errors
    ///
    /// What the device says.
    fn copy_out(&mut self, moves: &[(u32, u32)]) -> Result<(), DeviceError>;

    /// Copies slots of host memory into blocks.
    ///
    /// # Errors
    ///
    /// What the device says.
    fn copy_in(&mut self, moves: &[(u32, u32)]) -> Result<(), DeviceError>;
}

/// All blocks of a worker and the slots of host memory that they may be swapped to.
#[derive(Debug)]
pub struct Cache<P = HostPool> {
    pool: P,
    blocks: u32,
    swap_blocks: u32,
    /// Blocks that nobody has; the last one goes first, since it may still be in a processor cache.
    free: Vec<u32>,
    free_slots: Vec<u32>,
}

/// There is no block left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no KV block is free")]
pub struct NoBlock;

impl<P> Cache<P> {
    /// Shares out the blocks of a pool, and its slots of host memory.
    pub fn of(pool: P, blocks: u32, swap_blocks: u32) -> Self {
        Self {
            pool,
            blocks,
            swap_blocks,
            free: (0..blocks).rev().collect(),
            free_slots: (0..slots(swap_blocks)).rev().collect(),
        }
    }

    /// Blocks altogether.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Blocks that may be swapped out at once.
    pub fn swap_blocks(&self) -> u32 {
        self.swap_blocks
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

    /// Takes all blocks of a table back, and the slots that belong to it.
    pub fn release(&mut self, table: &mut Vec<u32>, swapped: &mut Vec<u32>) {
        self.free.extend(table.drain(..).rev());
        self.free_slots.append(swapped);
    }

    pub(crate) fn pool(&self) -> &P {
        &self.pool
    }

    #[cfg(all(test, not(feature = "cuda")))]
    pub(crate) fn pool_mut(&mut self) -> &mut P {
        &mut self.pool
    }
}

impl<P: Pool> Cache<P> {
    /// Copies blocks out as far as slots are free, the table's last first, and takes them back.
    ///
    /// # Errors
    ///
    /// What the device says; nothing has changed then.
    pub fn swap_out(
        &mut self,
        table: &mut Vec<u32>,
        swapped: &mut Vec<u32>,
    ) -> Result<(), DeviceError> {
        let count = table.len().min(self.free_slots.len());
        let from = table.iter().rev().take(count).copied();
        let to = self.free_slots.iter().rev().take(count).copied();
        let moves: Vec<(u32, u32)> = from.zip(to).collect();
        self.pool.copy_out(&moves)?;
        table.truncate(table.len() - count);
        self.free_slots.truncate(self.free_slots.len() - count);
        for (block, slot) in moves {
            self.free.push(block);
            swapped.push(slot);
        }
        Ok(())
    }

    /// Copies blocks back as far as some are free, the one that left last first.
    ///
    /// # Errors
    ///
    /// What the device says; nothing has changed then.
    pub fn swap_in(
        &mut self,
        table: &mut Vec<u32>,
        swapped: &mut Vec<u32>,
    ) -> Result<(), DeviceError> {
        let count = swapped.len().min(self.free.len());
        let from = swapped.iter().rev().take(count).copied();
        let to = self.free.iter().rev().take(count).copied();
        let moves: Vec<(u32, u32)> = from.zip(to).collect();
        self.pool.copy_in(&moves)?;
        swapped.truncate(swapped.len() - count);
        self.free.truncate(self.free.len() - count);
        for (slot, block) in moves {
            self.free_slots.push(slot);
            table.push(block);
        }
        Ok(())
    }
}

/// Slots of host memory for so many blocks: one more than that, so that two full memories can
/// exchange what they hold.
pub(crate) fn slots(swap_blocks: u32) -> u32 {
    swap_blocks + u32::from(swap_blocks > 0)
}

/// Blocks in host memory, as the processor's kernels want them. Memory is touched when a block is
/// first used.
#[derive(Debug)]
pub struct HostPool {
    layout: KvLayout,
    values: Vec<f32>,
    swapped: Vec<f32>,
}

impl Pool for HostPool {
    fn copy_out(&mut self, moves: &[(u32, u32)]) -> Result<(), DeviceError> {
        copy(self.layout, &self.values, &mut self.swapped, moves);
        Ok(())
    }

    fn copy_in(&mut self, moves: &[(u32, u32)]) -> Result<(), DeviceError> {
        copy(self.layout, &self.swapped, &mut self.values, moves);
        Ok(())
    }
}

fn copy(layout: KvLayout, from: &[f32], to: &mut [f32], moves: &[(u32, u32)]) {
    let len = layout.block_len();
    for &(source, target) in moves {
        let source = &from[source as usize * len..][..len];
        to[target as usize * len..][..len].copy_from_slice(source);
    }
}

impl Cache {
    /// A pool of so many blocks in host memory, of which nothing can be swapped.
    pub fn new(layout: KvLayout, blocks: u32) -> Self {
        Self::with_swap(layout, blocks, 0)
    }

    /// A pool of which so many blocks can be swapped.
    pub fn with_swap(layout: KvLayout, blocks: u32, swap_blocks: u32) -> Self {
        let zeros = |blocks: u32| vec![0.0; blocks as usize * layout.block_len()];
        let pool = HostPool {
            layout,
            values: zeros(blocks),
            swapped: zeros(slots(swap_blocks)),
        };
        Self::of(pool, blocks, swap_blocks)
    }

    /// Tokens of a block.
    pub const fn block_tokens() -> u32 {
        BLOCK_TOKENS as u32
    }

    /// Bytes of a block of such a layout.
    pub fn block_bytes(layout: KvLayout) -> usize {
        layout.block_len() * size_of::<f32>()
    }

    /// How a block is laid out.
    pub fn layout(&self) -> KvLayout {
        self.pool.layout
    }

    pub(crate) fn view(&self) -> KvPool<'_> {
        KvPool {
            layout: self.pool.layout,
            blocks: &self.pool.values,
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
        let layout = self.pool.layout;
        let len = layout.block_len();
        let block = table[position / BLOCK_TOKENS] as usize * len;
        let block = &mut self.pool.values[block..block + len];
        layout.store(block, layer, position % BLOCK_TOKENS, keys, values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: KvLayout = KvLayout {
        layers: 1,
        heads: 1,
        dim: 2,
    };

    #[test]
    fn blocks_come_back_and_copies_hold_what_was_there() {
        let mut cache = Cache::with_swap(LAYOUT, 3, 4);
        let (mut one, mut out, mut two) = (Vec::new(), Vec::new(), Vec::new());
        cache.grow(&mut one, 33).unwrap();
        assert_eq!((one.len(), cache.free_blocks()), (2, 1));
        cache.store(0, &one, 32, (&[1.0, 2.0], &[3.0, 4.0]));
        let second = |cache: &Cache, table: &[u32]| {
            cache.pool.values[table[1] as usize * LAYOUT.block_len()..][..4].to_vec()
        };
        let before = second(&cache, &one);
        cache.swap_out(&mut one, &mut out).unwrap();
        assert_eq!((one.len(), out.len(), cache.free_blocks()), (0, 2, 3));
        cache.grow(&mut two, 64).unwrap();
        cache.store(0, &two, 32, (&[9.0, 9.0], &[9.0, 9.0]));
        cache.swap_in(&mut one, &mut out).unwrap();
        assert_eq!((one.len(), out.len()), (1, 1), "as far as there is room");
        cache.release(&mut two, &mut Vec::new());
        cache.swap_in(&mut one, &mut out).unwrap();
        assert_eq!(second(&cache, &one), before);
        assert_eq!(cache.grow(&mut two, 100), Err(NoBlock));
    }

    #[test]
    fn two_full_memories_exchange_what_they_hold() {
        let mut cache = Cache::with_swap(LAYOUT, 2, 2);
        let (mut one, mut one_out, mut two, mut two_out) = (vec![], vec![], vec![], vec![]);
        cache.grow(&mut one, 64).unwrap();
        cache.store(0, &one, 40, (&[1.0, 2.0], &[3.0, 4.0]));
        cache.swap_out(&mut one, &mut one_out).unwrap();
        cache.grow(&mut two, 64).unwrap();
        cache.store(0, &two, 40, (&[5.0, 6.0], &[7.0, 8.0]));
        for _ in 0..2 {
            cache.swap_out(&mut two, &mut two_out).unwrap();
            cache.swap_in(&mut one, &mut one_out).unwrap();
        }
        assert_eq!((one.len(), two_out.len()), (2, 2));
        cache.swap_out(&mut one, &mut one_out).unwrap();
        assert_eq!(one.len(), 1, "one slot more than asked for");
        cache.release(&mut one, &mut one_out);
        cache.swap_in(&mut two, &mut two_out).unwrap();
        let len = LAYOUT.block_len();
        let now = &cache.pool.values[two[1] as usize * len..][..len];
        assert!(now.contains(&5.0) && now.contains(&8.0));
    }
}
