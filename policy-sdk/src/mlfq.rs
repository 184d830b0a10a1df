//! Multi-level queues: each level has twice the quantum of the one above it, and a job sinks as it
//! uses them up.

/// The deepest level; with a quantum of a microsecond at the top it is one of half a million years.
const LAST: u32 = 63;

/// The levels of a queue, by the quantum of level 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Levels {
    base_us: u64,
}

/// Where a job stands: its level, and what it has used of the quantum there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The level, 0 the first to be served.
    pub level: u32,
    /// Service received in that level.
    pub used_us: u64,
}

impl Levels {
    /// Levels of which the first has this quantum; 0 counts as 1.
    pub fn new(base_us: u64) -> Self {
        Self {
            base_us: base_us.max(1),
        }
    }

    /// The quantum of a level.
    pub fn quantum_us(self, level: u32) -> u64 {
        self.base_us.saturating_mul(1 << level.min(LAST))
    }

    /// The first level whose quantum a time does not exceed: where a job joins that needs as much
    /// for its prompt (skip-join), or stands by what is left of it.
    pub fn level_of(self, time_us: u64) -> u32 {
        let fits = |&level: &u32| self.quantum_us(level) >= time_us;
        (0..LAST).find(fits).unwrap_or(LAST)
    }

    /// Where a job stands after `service_us`, counted from its entry into level `joined`. How often
    /// anybody looked meanwhile makes no difference.
    pub fn place(self, joined: u32, service_us: u64) -> Place {
        let (mut level, mut used_us) = (joined.min(LAST), service_us);
        while used_us > self.quantum_us(level) && level < LAST {
            used_us -= self.quantum_us(level);
            level += 1;
        }
        Place { level, used_us }
    }

    /// Service after which a job leaves the level where it stands.
    pub fn left_us(self, place: Place) -> u64 {
        let left_us = self.quantum_us(place.level).saturating_sub(place.used_us);
        left_us.saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FASTSERVE: Levels = Levels { base_us: 10_000 };

    #[test]
    fn a_prompt_of_35_ms_joins_level_2() {
        assert_eq!(FASTSERVE.level_of(0), 0);
        assert_eq!(FASTSERVE.level_of(10_000), 0);
        assert_eq!(FASTSERVE.level_of(10_001), 1);
        assert_eq!(FASTSERVE.level_of(35_000), 2);
        assert_eq!(FASTSERVE.level_of(u64::MAX), 51);
        assert_eq!(FASTSERVE.quantum_us(2), 40_000);
    }

    #[test]
    fn a_job_sinks_when_it_has_used_more_than_its_quantum() {
        let place = |service_us| FASTSERVE.place(1, service_us);
        let at = |level, used_us| Place { level, used_us };
        assert_eq!(place(20_000), at(1, 20_000));
        assert_eq!(place(20_001), at(2, 1));
        assert_eq!(place(60_001), at(3, 1));
        assert_eq!(FASTSERVE.left_us(place(20_000)), 1);
        assert_eq!(FASTSERVE.left_us(place(20_001)), 40_000);
    }

    proptest! {
        #[test]
        fn looking_more_often_does_not_change_where_a_job_stands(
            base_us in 1u64..1_000,
            joined in 0u32..8,
            steps in prop::collection::vec(0u64..5_000, 0..40),
        ) {
            let levels = Levels::new(base_us);
            // The obvious way: after every step, down by one for each quantum that is used up.
            let (mut level, mut used_us) = (joined, 0);
            for step in &steps {
                used_us += step;
                while used_us > base_us << level {
                    used_us -= base_us << level;
                    level += 1;
                }
            }
            let total_us = steps.iter().sum();
            prop_assert_eq!(levels.place(joined, total_us), Place { level, used_us });
        }
    }
}
