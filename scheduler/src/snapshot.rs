//! What a policy may see: the state of one worker's queue at one boundary.

use crate::columns::{JobTable, TenantTable};

/// What can make a plan stale, as bits; the same as `triggers` in the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Triggers(u8);

impl Triggers {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// A job arrived.
    pub const ARRIVAL: Self = Self(1);
    /// A job finished, was cancelled or failed.
    pub const FINISH: Self = Self(1 << 1);
    /// A job came to the end of its window.
    pub const WINDOW_END: Self = Self(1 << 2);
    /// A prediction changed.
    pub const PREDICTION: Self = Self(1 << 3);
    /// The last step ran out of KV blocks.
    pub const MEMORY_PRESSURE: Self = Self(1 << 4);
    /// The time that the last plan gave has come.
    pub const TIMER: Self = Self(1 << 5);
    /// Everything.
    pub const ALL: Self = Self((1 << 6) - 1);

    /// The bits, least significant first in the order of the contract.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// From bits; unknown ones are dropped.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// Whether any bit is set in both.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both together.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a host can do with a job that loses its slot, and with long prompts.
pub mod capabilities {
    /// Keep its KV on the device.
    pub const PAUSE: u32 = 1;
    /// Compute its KV again.
    pub const RECOMPUTE: u32 = 2;
    /// Move its KV to host memory.
    pub const SWAP: u32 = 4;
    /// Split a prompt over several iterations.
    pub const CHUNKED_PREFILL: u32 = 8;
}

/// The scalar part of a snapshot; every field is described in `wit/policy.wit`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[expect(
    missing_docs,
    reason = "each is the field of the same name in the contract"
)]
pub struct Header {
    pub now_us: u64,
    pub seed: u64,
    pub revision: u64,
    pub iteration: u64,
    pub fired: Triggers,
    pub worker: u32,
    pub workers: u32,
    pub running: u32,
    pub waiting: u32,
    pub max_num_seqs: u32,
    pub max_batched_tokens: u32,
    pub window_tokens: u32,
    pub plan_max: u32,
    pub block_size_tokens: u32,
    pub gpu_blocks_total: u32,
    pub gpu_blocks_free: u32,
    pub cpu_blocks_total: u32,
    pub cpu_blocks_free: u32,
    pub watermark_blocks: u32,
    pub capabilities: u32,
    pub iteration_base_us: f32,
    pub iteration_per_seq_us: f32,
    pub iteration_per_kv_token_us: f32,
    pub iteration_per_prefill_token_us: f32,
    pub swap_per_block_us: f32,
    pub last_iteration_us: u32,
    pub recent_tokens_per_s: f32,
}

/// A view of one worker's queue; nothing is copied to make one.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot<'a> {
    /// The scalars.
    pub header: Header,
    /// The jobs, in no particular order.
    pub jobs: &'a JobTable,
    /// The tenants; a job's `tenant` is a row here.
    pub tenants: &'a TenantTable,
    /// Lengths of recent responses: count by bin of 64 tokens.
    pub length_histogram: &'a [u32],
}
