//! What one instance may take: memory is counted here, time by fuel or epochs.

use wasmtime::ResourceLimiter;

/// The data of a store: its memory limit, and whether the guest ran into it.
#[derive(Debug)]
pub(crate) struct Limits {
    memory_bytes: usize,
    /// Set when growth was denied: the trap that usually follows is then one of memory, though the
    /// guest's allocator reports it as a bare `unreachable`.
    pub(crate) denied: bool,
}

/// Tables hold function references, eight bytes each on the host; real policies need hundreds.
const MAX_TABLE_ELEMENTS: usize = 100_000;

impl Limits {
    pub(crate) fn new(memory_bytes: usize) -> Self {
        Self {
            memory_bytes,
            denied: false,
        }
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = desired <= self.memory_bytes;
        self.denied |= !granted;
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = desired <= MAX_TABLE_ELEMENTS;
        self.denied |= !granted;
        Ok(granted)
    }

    // A component is a handful of core instances, each with at most one memory. The limit on each
    // memory is a limit on all of them only if their number is small too.
    fn instances(&self) -> usize {
        16
    }

    fn memories(&self) -> usize {
        2
    }

    fn tables(&self) -> usize {
        8
    }
}
