//! What one instance may take: memory is counted here, time by fuel or epochs.

use wasmtime::ResourceLimiter;

/// The data of a store: its memory limit, what is in use, and whether the guest ran into it.
#[derive(Debug)]
pub(crate) struct Limits {
    memory_bytes: usize,
    /// Bytes of all memories and elements of all tables: an interpreter comes as a component of
    /// several modules, each with some of its own, and the limit is one for all.
    memory_used: usize,
    table_used: usize,
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
            memory_used: 0,
            table_used: 0,
            denied: false,
        }
    }
}

/// Grants growth of one part if all of them together stay within the limit.
fn grant(used: &mut usize, current: usize, desired: usize, limit: usize) -> bool {
    let all = used.saturating_sub(current).saturating_add(desired);
    let granted = all <= limit;
    if granted {
        *used = all;
    }
    granted
}

impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = grant(&mut self.memory_used, current, desired, self.memory_bytes);
        self.denied |= !granted;
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = grant(&mut self.table_used, current, desired, MAX_TABLE_ELEMENTS);
        self.denied |= !granted;
        Ok(granted)
    }

    // What each of these costs the host is bounded here, what they hold above. Python comes as some
    // twenty modules with as many stubs.
    fn instances(&self) -> usize {
        128
    }

    fn memories(&self) -> usize {
        32
    }

    fn tables(&self) -> usize {
        64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_one_for_all_memories() {
        let mut limits = Limits::new(100);
        assert!(limits.memory_growing(0, 60, None).unwrap());
        assert!(limits.memory_growing(0, 30, None).unwrap());
        assert!(!limits.denied);
        assert!(!limits.memory_growing(30, 41, None).unwrap(), "60 and 41");
        assert!(limits.denied);
        assert!(limits.memory_growing(30, 40, None).unwrap());
        assert!(!limits.memory_growing(60, 61, None).unwrap());
    }
}
