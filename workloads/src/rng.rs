//! Random draws that are the same on every machine.
//!
//! The generator is ChaCha8 and the elementary functions are libm's in pure Rust: a platform's own
//! logarithm may differ in the last bit, and a rejection loop turns that into another stream.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream of draws is for. Each purpose has its own, so that changing the arrival process
/// leaves the lengths as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Gaps between arrivals.
    Arrivals = 1,
    /// Prompt and output lengths.
    Lengths = 2,
    /// Who sends a request.
    Tenants = 3,
    /// Priority classes.
    Priorities = 4,
    /// Where a rotated trace starts.
    Rotation = 5,
}

/// A stream of draws.
#[derive(Debug, Clone)]
pub struct Draws {
    rng: ChaCha8Rng,
}

impl Draws {
    /// The stream for one seed and purpose.
    #[must_use]
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        // The key is written out, since how a generator expands a small seed may change.
        let mut key = *b"elis-workloads-v1.______seed____";
        key[24..].copy_from_slice(&seed.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(purpose as u64);
        Self { rng }
    }

    /// Uniform in (0, 1), never an end, since logarithms are taken of it.
    pub fn unit(&mut self) -> f64 {
        ((self.rng.next_u64() >> 11) as f64 + 0.5) * (1.0 / (1_u64 << 53) as f64)
    }

    /// Uniform in 0..n; 0 where n is 0.
    pub fn below(&mut self, n: usize) -> usize {
        // A 64-bit draw over a small range: the bias of the product is below n / 2^64.
        let wide = u128::from(self.rng.next_u64()) * n as u128;
        (wide >> 64) as usize
    }

    /// Standard normal (Box-Muller, the cosine half only, to keep no state between draws).
    pub fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(self.unit()));
        radius * libm::cos(core::f64::consts::TAU * self.unit())
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -libm::log(self.unit())
    }

    /// Gamma with the given shape (above 0) and scale 1 (Marsaglia and Tsang 2000).
    pub fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            // Their boost for small shapes: a draw one shape higher times U^(1/shape).
            let boost = libm::pow(self.unit(), 1.0 / shape);
            return self.gamma(shape + 1.0) * boost;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / libm::sqrt(9.0 * d);
        loop {
            let z = self.normal();
            let t = 1.0 + c * z;
            let u = self.unit();
            if t <= 0.0 {
                continue;
            }
            let v = t * t * t;
            if libm::log(u) < 0.5 * z * z + d - d * v + d * libm::log(v) {
                return d * v;
            }
        }
    }

    /// An index drawn with the given shares, which add up to 1.
    pub fn pick(&mut self, shares: &[f64]) -> usize {
        let mut left = self.unit();
        for (index, share) in shares.iter().enumerate() {
            left -= share;
            if left < 0.0 {
                return index;
            }
        }
        shares.len().saturating_sub(1)
    }

    /// Shuffles in place (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last + 1);
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats;

    #[test]
    fn gamma_has_its_moments() {
        for shape in [0.25, 0.73, 1.0, 3.5] {
            let mut draws = Draws::new(11, Purpose::Arrivals);
            let xs: Vec<f64> = (0..200_000).map(|_| draws.gamma(shape)).collect();
            let mean = stats::mean(&xs).unwrap();
            let cv = stats::cv(&xs).unwrap();
            assert!((mean / shape - 1.0).abs() < 0.015, "{shape}: mean {mean}");
            assert!((cv * shape.sqrt() - 1.0).abs() < 0.02, "{shape}: cv {cv}");
        }
    }

    #[test]
    fn purposes_and_seeds_are_separate_streams() {
        let first = |seed, purpose| Draws::new(seed, purpose).unit().to_bits();
        assert_ne!(first(0, Purpose::Arrivals), first(0, Purpose::Lengths));
        assert_ne!(first(0, Purpose::Arrivals), first(1, Purpose::Arrivals));
        assert_eq!(first(3, Purpose::Tenants), first(3, Purpose::Tenants));
    }

    #[test]
    fn picks_follow_the_shares() {
        let mut draws = Draws::new(5, Purpose::Tenants);
        let mut counts = [0_u32; 3];
        for _ in 0..30_000 {
            counts[draws.pick(&[0.7, 0.2, 0.1])] += 1;
        }
        assert!(
            counts[0].abs_diff(21_000) < 300 && counts[2].abs_diff(3000) < 200,
            "{counts:?}"
        );
    }

    #[test]
    fn a_shuffle_keeps_all_items() {
        let mut items: Vec<u32> = (0..100).collect();
        Draws::new(1, Purpose::Lengths).shuffle(&mut items);
        assert_ne!(items[..5], [0, 1, 2, 3, 4]);
        items.sort_unstable();
        assert!(items.iter().copied().eq(0..100));
    }
}
