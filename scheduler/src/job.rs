//! A request as the driver hands it in, and the states of its life.

use crate::time::Time;

/// Where a job stands; the codes are those of `job-state` in the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// It has never had a slot.
    New = 0,
    /// It has a slot and its prompt is being read.
    Prefill = 1,
    /// It has a slot and gives a token each iteration.
    Decode = 2,
    /// It has no slot; its KV is on the device.
    Paused = 3,
    /// It has no slot; its KV is in host memory.
    Swapped = 4,
    /// It has no slot; its KV is gone and must be computed again.
    Evicted = 5,
}

impl State {
    /// The code of the contract.
    pub const fn code(self) -> u32 {
        self as u32
    }
}

/// Bits of `job-flags`.
pub mod flags {
    /// Arrived since the last decision.
    pub const NEW: u32 = 1;
    /// Inside its window: it cannot be preempted now.
    pub const LOCKED: u32 = 2;
    /// Past the host's maximum wait: it goes first whatever the policy says.
    pub const OVERDUE: u32 = 4;
}

/// What a driver says of a request when it arrives.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Request {
    /// Must be larger than the id of every earlier request.
    pub id: u64,
    /// Length of the prompt; 0 counts as 1.
    pub prompt_tokens: u32,
    /// The longest response that the client wants.
    pub max_new_tokens: u32,
    /// Who sent it, a small number that the driver gives out from 0.
    pub tenant: u32,
    /// The tenant's share, 1 where none was given.
    pub tenant_weight: f32,
    /// The user's class, lower sooner, 100 where none was given.
    pub priority: u32,
    /// The agentic program that it belongs to, 0 none.
    pub program: u64,
    /// Model or adapter, 0 the worker's own.
    pub model: u32,
    /// When the first token is due.
    pub ttft_deadline: Option<Time>,
    /// When the response is due.
    pub deadline: Option<Time>,
}

impl Request {
    /// A request with nothing but lengths, from the default tenant.
    pub const fn new(id: u64, prompt_tokens: u32, max_new_tokens: u32) -> Self {
        Self {
            id,
            prompt_tokens,
            max_new_tokens,
            tenant: 0,
            tenant_weight: 1.0,
            priority: 100,
            program: 0,
            model: 0,
            ttft_deadline: None,
            deadline: None,
        }
    }
}
