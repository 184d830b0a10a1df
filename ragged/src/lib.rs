//! CPU kernels for transformer inference over packed sequences of different lengths.
//!
//! Sequences lie one after another without padding ([`Ragged`]), so a batch of mixed lengths costs
//! what its tokens cost. Layers are [`Linear`], of floats or of quantised blocks; attention, norms
//! and activation functions are functions over slices. Everything runs in the calling thread and
//! in memory that it is given ([`Scratch`]); [`share()`] spreads independent groups over threads.
//!
//! A [`Cpu`], detected at run time, picks the kernels: micro kernels for AVX-512 with VNNI, or
//! portable code, compiled once for AVX2 and once for what the target promises. Quantised layers
//! give the same bits on all of them.

mod attention;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod cpu;
mod dense;
mod elementwise;
mod layout;
mod linear;
mod packed;
mod paged;
mod panels;
mod product;
mod quant;
mod rope;
mod scratch;
mod share;

pub use attention::{Heads, bidirectional};
pub use cpu::Cpu;
pub use elementwise::{add, add_layer_norm, exponentials, gelu, rms_norm, silu_product};
pub use layout::Ragged;
pub use linear::{Linear, Precision};
pub use paged::{BLOCK_TOKENS, Chunk, KvLayout, KvPool, Queries, causal};
pub use quant::{BLOCK, Block, Format, quantise_weights};
pub use rope::{Pairing, Rope};
pub use scratch::{Scratch, grown};
pub use share::share;

#[cfg(test)]
mod tests;
