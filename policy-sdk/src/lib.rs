//! What a scheduling policy is written with: see the README for one of twenty lines.
//!
//! A policy is a type that implements [`Policy`], a list of columns it wants ([`columns!`]) and one
//! line that exports it ([`export_policy!`]). It runs natively in tests, on snapshots that borrow
//! anybody's columns, and in the sandbox as a WebAssembly component that imports nothing.

pub mod ageing;
mod best;
pub mod bindings;
pub mod config;
pub mod counters;
mod guest;
#[cfg(any(test, all(target_arch = "wasm32", target_os = "unknown")))]
mod heap;
pub mod lanes;
pub mod lengths;
pub mod mlfq;
mod order;
mod policy;
pub mod select;
pub mod slack;
mod snapshot;
pub mod swap;
pub mod words;

pub use bindings::exports::elis::policy::scheduling::{Header, Plan, Preemption, Triggers};
pub use guest::Adapter;
pub use policy::{Info, Policy};
pub use snapshot::{Column, Element, Snapshot, joined};

/// Bits of the column `job-flags`.
pub mod flags {
    /// The job arrived since the last decision.
    pub const NEW: u32 = 1;
    /// It is inside its window and cannot be preempted now.
    pub const LOCKED: u32 = 2;
    /// It waits longer than the host lets anybody wait.
    pub const OVERDUE: u32 = 4;
}

/// Values of the column `job-state`.
pub mod state {
    /// Never given a slot.
    pub const NEW: u32 = 0;
    /// In a slot, its prompt is being computed.
    pub const PREFILL: u32 = 1;
    /// In a slot, generating.
    pub const DECODE: u32 = 2;
    /// Without a slot, its KV is on the device.
    pub const PAUSED: u32 = 3;
    /// Without a slot, its KV is in host memory.
    pub const SWAPPED: u32 = 4;
    /// Without a slot, its KV must be computed again.
    pub const EVICTED: u32 = 5;

    /// Whether a job in that state holds a slot.
    pub const fn has_slot(state: u32) -> bool {
        state == PREFILL || state == DECODE
    }
}
