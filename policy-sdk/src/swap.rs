//! KV that moves ahead of need: out while there is still time, back before its turn.

use crate::{Header, Preemption};

/// The host can move KV to its own memory, as a bit of `capabilities`.
const SWAP: u32 = 4;

/// KV blocks of a waiting job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The job.
    pub id: u64,
    /// Its blocks, on the device or in host memory.
    pub blocks: u32,
}

/// Whether the host has memory to swap into.
pub fn can_swap(header: &Header) -> bool {
    header.capabilities & SWAP != 0 && header.cpu_blocks_total > 0
}

/// What to do with victims: swap, where the host can.
pub fn victim_mode(header: &Header) -> Preemption {
    if can_swap(header) {
        Preemption::Swap
    } else {
        Preemption::Recompute
    }
}

/// The first of `paused` that must go so that `wanted_blocks` of the device are free. Host memory
/// is not overfilled: there a swap would become a recompute.
pub fn out(header: &Header, wanted_blocks: u32, paused: impl Iterator<Item = Held>) -> Vec<u64> {
    let mut short = wanted_blocks.saturating_sub(header.gpu_blocks_free);
    let mut room = header.cpu_blocks_free;
    let mut ids = Vec::new();
    for held in paused {
        if short == 0 {
            break;
        }
        if held.blocks <= room {
            room -= held.blocks;
            short = short.saturating_sub(held.blocks);
            ids.push(held.id);
        }
    }
    ids
}

/// The first of `swapped` that can come back while `wanted_blocks` of the device stay free.
pub fn back(header: &Header, wanted_blocks: u32, swapped: impl Iterator<Item = Held>) -> Vec<u64> {
    let mut spare = header.gpu_blocks_free.saturating_sub(wanted_blocks);
    let mut ids = Vec::new();
    for held in swapped {
        if held.blocks > spare {
            break;
        }
        spare -= held.blocks;
        ids.push(held.id);
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(gpu_free: u32, cpu_free: u32) -> Header {
        Header {
            gpu_blocks_free: gpu_free,
            cpu_blocks_total: 100,
            cpu_blocks_free: cpu_free,
            capabilities: SWAP,
            ..Header::default()
        }
    }

    fn held(blocks: &[u32]) -> impl Iterator<Item = Held> {
        blocks
            .iter()
            .zip(1..)
            .map(|(&blocks, id)| Held { id, blocks })
    }

    #[test]
    fn as_many_go_as_must_and_none_for_whom_there_is_no_room() {
        assert!(out(&header(8, 50), 8, held(&[5, 5])).is_empty());
        assert_eq!(out(&header(2, 50), 8, held(&[5, 5, 5])), [1, 2]);
        assert_eq!(out(&header(2, 7), 8, held(&[5, 5, 2])), [1, 3]);
    }

    #[test]
    fn they_come_back_in_turn_while_there_is_memory() {
        assert_eq!(back(&header(12, 0), 2, held(&[4, 6, 1])), [1, 2]);
        assert!(back(&header(12, 0), 9, held(&[4, 1])).is_empty());
    }

    #[test]
    fn a_host_without_memory_of_its_own_recomputes() {
        assert_eq!(victim_mode(&header(0, 0)), Preemption::Swap);
        assert_eq!(victim_mode(&Header::default()), Preemption::Recompute);
    }
}
