//! Kendall's rank correlation tau-b.

use std::cmp::Ordering;

/// How well the order of the first members tells the order of the second ones, from −1 to 1.
///
/// τ_b = (C − D) / √((n₀ − n₁)(n₀ − n₂)), n₀ = n(n−1)/2, n₁ and n₂ the pairs tied in either member,
/// as the `kendalls` crate counts it, in O(n log n). None if either side is constant or fewer than
/// two pairs are finite.
pub fn tau_b(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<f64> {
    let (xs, ys): (Vec<f64>, Vec<f64>) = pairs
        .into_iter()
        .filter(|(x, y)| x.is_finite() && y.is_finite())
        .unzip();
    let order = |a: &f64, b: &f64| a.partial_cmp(b).unwrap_or(Ordering::Equal);
    let (tau, _) = kendalls::tau_b_with_comparator(&xs, &ys, order).ok()?;
    tau.is_finite().then_some(tau)
}

#[cfg(test)]
mod tests {
    use super::tau_b;

    /// The definition, pair by pair.
    fn slow(pairs: &[(f64, f64)]) -> f64 {
        let (mut sum, mut nx, mut ny) = (0.0, 0.0, 0.0);
        for (i, a) in pairs.iter().enumerate() {
            for b in &pairs[..i] {
                let sign = |d: f64| if d == 0.0 { 0.0 } else { d.signum() };
                let (x, y) = (sign(a.0 - b.0), sign(a.1 - b.1));
                sum += x * y;
                nx += x * x;
                ny += y * y;
            }
        }
        sum / f64::sqrt(nx * ny)
    }

    #[test]
    fn ends_of_the_scale() {
        let up = (0..50).map(|i| (f64::from(i), f64::from(i * i)));
        let down = (0..50).map(|i| (f64::from(i), f64::from(-i)));
        assert_eq!(tau_b(up), Some(1.0));
        assert_eq!(tau_b(down), Some(-1.0));
        assert_eq!(tau_b([(1.0, 1.0), (1.0, 2.0)]), None);
        assert_eq!(tau_b([(f64::NAN, 1.0), (1.0, 2.0)]), None);
    }

    #[test]
    fn agrees_with_the_definition_under_ties() {
        // A fixed pseudo-random walk over few values, so that ties of all kinds occur.
        let pairs: Vec<(f64, f64)> = (0u32..200)
            .map(|i| (f64::from(i * 7919 % 13), f64::from(i * 104_729 % 17)))
            .collect();
        assert!((tau_b(pairs.clone()).unwrap() - slow(&pairs)).abs() < 1e-12);
    }
}
