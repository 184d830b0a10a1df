//! Gaussian noise as a pure function of who is asked about and when.
//!
//! A stateful generator would make a job's prediction depend on which jobs were asked about
//! before it, so two policies could not be compared on equal predictions. Here the draw is a hash
//! of (seed, job, window): the same whatever the order, the batching or the policy.

/// Response tokens in one prediction window (ELIS s4.2: the scheduler iterates every 50 tokens).
pub const WINDOW_TOKENS: u32 = 50;

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The upper 53 bits as a number in (0, 1), never 0, since its logarithm is taken.
fn open_unit(bits: u64) -> f64 {
    ((bits >> 11) as f64 + 0.5) * (1.0 / (1_u64 << 53) as f64)
}

/// The standard normal draw that belongs to a seed, a job and a window of that job.
///
/// Predictors of different quality share the draw, so that a sweep over error sizes scales one
/// noise and does not compare different luck.
#[must_use]
pub fn standard_normal(seed: u64, job: u64, window: u32) -> f64 {
    let key = mix(mix(mix(seed) ^ job) ^ u64::from(window));
    let radius = libm::sqrt(-2.0 * libm::log(open_unit(mix(key ^ 1))));
    let angle = core::f64::consts::TAU * open_unit(mix(key ^ 2));
    radius * libm::cos(angle)
}

/// The standard deviation of a Gaussian whose mean absolute error is `mae_tokens`.
pub(crate) fn sigma_of_mae(mae_tokens: f64) -> f64 {
    mae_tokens * libm::sqrt(core::f64::consts::FRAC_PI_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_tails_are_normal() {
        let n = 200_000_u64;
        let draws: Vec<f64> = (0..n)
            .map(|i| standard_normal(7, i / 8, (i % 8) as u32))
            .collect();
        let mean = draws.iter().sum::<f64>() / n as f64;
        let var = draws.iter().map(|z| z * z).sum::<f64>() / n as f64;
        let beyond_two = draws.iter().filter(|z| z.abs() > 2.0).count() as f64 / n as f64;
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((var - 1.0).abs() < 0.015, "{var}");
        assert!((beyond_two - 0.0455).abs() < 0.002, "{beyond_two}");
    }

    #[test]
    fn neighbours_do_not_correlate() {
        let n = 100_000_u64;
        let pairs: [(&str, f64); 3] = [
            (
                "seed",
                (0..n)
                    .map(|j| standard_normal(0, j, 0) * standard_normal(1, j, 0))
                    .sum(),
            ),
            (
                "job",
                (0..n)
                    .map(|j| standard_normal(0, j, 0) * standard_normal(0, j + 1, 0))
                    .sum(),
            ),
            (
                "window",
                (0..n)
                    .map(|j| standard_normal(0, j, 0) * standard_normal(0, j, 1))
                    .sum(),
            ),
        ];
        for (what, sum) in pairs {
            assert!((sum / n as f64).abs() < 0.015, "{what}: {}", sum / n as f64);
        }
    }

    #[test]
    fn the_draw_is_pinned() {
        // A changed hash would silently change every noisy result ever published.
        assert_eq!(
            standard_normal(0, 0, 0).to_bits(),
            13_827_898_299_223_060_946
        );
    }
}
