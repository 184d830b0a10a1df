//! A batch as a device wants it: rows in an order in which like lies beside like, and the numbers
//! of the cells where keys and values lie.
//!
//! All layers use the same numbers but for a constant: [`Cells`] says which.

use std::ops::Range;

use elis_ragged::{BLOCK_TOKENS, KvLayout};

use crate::model::Part;

/// How blocks lie in a pool: `[block][layer][keys or values][head][token][number]`. A cell holds
/// what one head has of one token; a unit is the cells of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cells(pub(super) KvLayout);

impl Cells {
    /// Units of a layer in a block.
    fn layer_units(self) -> usize {
        2 * self.0.heads
    }

    /// Units of a block.
    pub(super) fn block_units(self) -> usize {
        self.0.layers * self.layer_units()
    }

    /// Numbers in a unit.
    pub(super) fn unit_len(self) -> usize {
        BLOCK_TOKENS * self.0.dim
    }

    /// Numbers in a block.
    pub(super) fn block_len(self) -> usize {
        self.block_units() * self.unit_len()
    }

    /// What each layer adds to the units, and to the cells, of the first.
    pub(super) fn layer_offsets(self) -> (Vec<u32>, Vec<u32>) {
        let units = (0..self.0.layers).map(|layer| (layer * self.layer_units()) as u32);
        let cells = units.clone().map(|unit| unit * BLOCK_TOKENS as u32);
        (units.collect(), cells.collect())
    }

    /// The unit of a head's keys in the first layer of a block; the values' is `heads` further.
    fn unit(self, block: u32, head: usize) -> u32 {
        block * self.block_units() as u32 + head as u32
    }
}

/// Sequences that compute the same number of tokens; their rows lie behind one another.
#[derive(Debug, PartialEq)]
pub(super) struct Group {
    pub(super) rows: Range<usize>,
    pub(super) sequences: usize,
    /// Tokens that each computes.
    pub(super) tokens: usize,
    /// Blocks of the longest.
    pub(super) blocks: usize,
    /// The units to read, `[keys or values][sequence][head][block]`.
    pub(super) units: Vec<u32>,
    /// Added to scores, `[sequence][token][token in blocks]`: minus infinity for what lies ahead.
    pub(super) mask: Vec<f32>,
}

/// What a forward pass is told.
#[derive(Debug, PartialEq)]
pub(super) struct Batch {
    pub(super) tokens: Vec<u32>,
    pub(super) positions: Vec<u32>,
    /// The cells that rows write, `[keys or values][row][head]`.
    pub(super) cells: Vec<u32>,
    pub(super) groups: Vec<Group>,
    /// The rows whose logits are wanted, in the order of the parts.
    pub(super) wanted: Vec<u32>,
}

impl Batch {
    pub(super) fn of(parts: &[Part<'_>], layout: Cells) -> Self {
        let mut order: Vec<usize> = (0..parts.len()).collect();
        order.sort_by_key(|&part| parts[part].tokens.len());
        let mut first_rows = vec![0; parts.len()];
        let mut groups = Vec::new();
        let mut row = 0;
        for alike in order.chunk_by(|&a, &b| parts[a].tokens.len() == parts[b].tokens.len()) {
            let first = row;
            for &part in alike {
                first_rows[part] = row;
                row += parts[part].tokens.len();
            }
            let alike: Vec<&Part<'_>> = alike.iter().map(|&part| &parts[part]).collect();
            groups.push(group(&alike, first..row, layout));
        }
        let in_order = || order.iter().map(|&part| &parts[part]);
        let heads = layout.0.heads;
        let mut keys = Vec::with_capacity(row * heads);
        for part in in_order() {
            for position in part.context..part.context + part.tokens.len() {
                let block = part.table[position / BLOCK_TOKENS];
                let slot = (position % BLOCK_TOKENS) as u32;
                let cell = |head| layout.unit(block, head) * BLOCK_TOKENS as u32 + slot;
                keys.extend((0..heads).map(cell));
            }
        }
        let to_values = (heads * BLOCK_TOKENS) as u32;
        let values: Vec<u32> = keys.iter().map(|cell| cell + to_values).collect();
        let position =
            |part: &Part<'_>| part.context as u32..(part.context + part.tokens.len()) as u32;
        let wanting = parts.iter().zip(&first_rows);
        let wanting = wanting.filter(|(part, _)| part.wants_logits);
        Self {
            tokens: in_order().flat_map(|part| part.tokens).copied().collect(),
            positions: in_order().flat_map(position).collect(),
            cells: [keys, values].concat(),
            groups,
            wanted: wanting
                .map(|(part, first)| (first + part.tokens.len() - 1) as u32)
                .collect(),
        }
    }
}

fn group(parts: &[&Part<'_>], rows: Range<usize>, layout: Cells) -> Group {
    let tokens = parts[0].tokens.len();
    let used = |part: &Part<'_>| (part.context + tokens).div_ceil(BLOCK_TOKENS);
    let blocks = parts.iter().map(|part| used(part)).max().unwrap_or(0);
    let heads = layout.0.heads;
    let mut keys = Vec::with_capacity(parts.len() * heads * blocks);
    let mut mask = Vec::with_capacity(parts.len() * tokens * blocks * BLOCK_TOKENS);
    for part in parts {
        for head in 0..heads {
            // A shorter sequence repeats its own last block, which the mask hides.
            let last = used(part) - 1;
            let unit = |block: usize| layout.unit(part.table[block.min(last)], head);
            keys.extend((0..blocks).map(unit));
        }
        for token in 0..tokens {
            let seen = part.context + token + 1;
            let open = |position| {
                if position < seen {
                    0.0
                } else {
                    f32::NEG_INFINITY
                }
            };
            mask.extend((0..blocks * BLOCK_TOKENS).map(open));
        }
    }
    let values: Vec<u32> = keys.iter().map(|unit| unit + heads as u32).collect();
    Group {
        rows,
        sequences: parts.len(),
        tokens,
        blocks,
        units: [keys, values].concat(),
        mask,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELLS: Cells = Cells(KvLayout {
        layers: 2,
        heads: 2,
        dim: 4,
    });

    fn part<'a>(tokens: &'a [u32], context: usize, table: &'a [u32], wants: bool) -> Part<'a> {
        Part {
            tokens,
            context,
            table,
            wants_logits: wants,
        }
    }

    #[test]
    fn like_lies_beside_like_and_logits_come_in_the_order_of_parts() {
        let parts = [
            part(&[1], 32, &[5, 3], true),
            part(&[2, 3], 0, &[0], true),
            part(&[4], 0, &[1], true),
            part(&[5, 6], 1, &[2], false),
        ];
        let batch = Batch::of(&parts, CELLS);
        assert_eq!(batch.tokens, [1, 4, 2, 3, 5, 6]);
        assert_eq!(batch.positions, [32, 0, 0, 1, 1, 2]);
        assert_eq!(batch.wanted, [0, 3, 1]);
        let rows: Vec<_> = batch
            .groups
            .iter()
            .map(|group| group.rows.clone())
            .collect();
        assert_eq!(rows, [0..2, 2..6]);
        let decode = &batch.groups[0];
        // A block is 8 units; the shorter sequence reads its block twice.
        assert_eq!(decode.units[..8], [40, 24, 41, 25, 8, 8, 9, 9]);
        assert_eq!(decode.units[8..], [42, 26, 43, 27, 10, 10, 11, 11]);
        let open = |mask: &[f32]| mask.iter().filter(|&&added| added == 0.0).count();
        assert_eq!(
            (open(&decode.mask[..64]), open(&decode.mask[64..])),
            (33, 1)
        );
    }

    #[test]
    fn no_two_rows_share_a_cell() {
        let parts = [
            part(&[1, 2, 3], 31, &[4, 7], true),
            part(&[9], 5, &[0], true),
        ];
        let mut cells = Batch::of(&parts, CELLS).cells;
        assert_eq!(cells.len(), 4 * 2 * 2);
        let (_, offsets) = CELLS.layer_offsets();
        assert_eq!(offsets, [0, 4 * 32]);
        assert!(
            cells.iter().all(|cell| (cell / 32) % 8 < 4),
            "the first layer"
        );
        cells.sort_unstable();
        cells.dedup();
        assert_eq!(cells.len(), 16);
    }
}
