//! A bounded share of the processor: a bucket that fills with time and empties by use.

use std::time::Duration;

/// The most that is saved up: what is idle for long may not take all for long afterwards.
const SAVED_MAX: Duration = Duration::from_millis(20);

/// How much may be used.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    /// Of one core, from 0 to 1.
    rate: f64,
    /// Nanoseconds that may be used; below zero after something that took long.
    level_ns: f64,
    /// When it was last looked at, and what had been used by then.
    last: Option<Duration>,
    used: Duration,
}

impl Share {
    pub(crate) fn new(rate: f64) -> Self {
        Self {
            rate,
            level_ns: 0.0,
            last: None,
            used: Duration::ZERO,
        }
    }

    /// Whether something more may be done, given the time and all that was used so far.
    pub(crate) fn allows(&mut self, now: Duration, used: Duration) -> bool {
        let last = self.last.replace(now).unwrap_or(now);
        let earned = now.saturating_sub(last).as_nanos() as f64 * self.rate;
        let spent = used.saturating_sub(self.used).as_nanos() as f64;
        self.used = used;
        self.level_ns = (self.level_ns + earned - spent).min(SAVED_MAX.as_nanos() as f64);
        self.level_ns > 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_long_run_it_is_the_share() {
        let mut share = Share::new(0.1);
        let each = Duration::from_micros(700);
        let mut used = Duration::ZERO;
        for ms in 0..10_000 {
            if share.allows(Duration::from_millis(ms), used) {
                used += each;
            }
        }
        let ms = used.as_millis();
        assert!((990..=1_001).contains(&ms), "{ms}");
    }

    #[test]
    fn what_took_long_is_paid_back_and_saving_has_an_end() {
        let mut share = Share::new(0.5);
        let second = Duration::from_secs(1);
        assert!(!share.allows(Duration::ZERO, Duration::ZERO));
        assert!(share.allows(second, Duration::ZERO));
        // It had saved 20 ms and used a second.
        assert!(!share.allows(2 * second, second));
        assert!(!share.allows(2 * second + second / 2, second));
        assert!(share.allows(4 * second, second));
    }
}
