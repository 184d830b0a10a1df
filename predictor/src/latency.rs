//! The virtual cost of one prediction call.

/// What a prediction call costs, whatever the size of its batch.
///
/// ELIS reports one figure "including batching" (s6.2), so the cost is per batch and not per
/// request; an empty batch costs nothing since nobody calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latency {
    per_batch_ns: u64,
}

impl Latency {
    /// A cost of `ms` milliseconds a batch; `None` if that is negative, not finite, or above an
    /// hour, which is surely a slip.
    #[must_use]
    pub fn from_ms(ms: f64) -> Option<Self> {
        (0.0..=3.6e6).contains(&ms).then(|| Self {
            per_batch_ns: (ms * 1e6).round() as u64,
        })
    }

    /// The cost of a batch of `batch_len` requests, in nanoseconds.
    #[must_use]
    pub fn for_batch_ns(self, batch_len: usize) -> u64 {
        if batch_len == 0 { 0 } else { self.per_batch_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused() {
        assert!(Latency::from_ms(-1.0).is_none());
        assert!(Latency::from_ms(f64::NAN).is_none());
        assert!(Latency::from_ms(f64::INFINITY).is_none());
    }

    #[test]
    fn an_empty_batch_is_free() {
        let l = Latency::from_ms(11.04).unwrap();
        assert_eq!((l.for_batch_ns(0), l.for_batch_ns(1)), (0, 11_040_000));
    }
}
