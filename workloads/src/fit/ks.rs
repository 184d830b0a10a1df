//! Kolmogorov and Smirnov's distance between data and a distribution.

/// The largest difference between the data's step function and `cdf`; `sorted` ascends.
pub(super) fn distance(sorted: &[f64], cdf: &dyn Fn(f64) -> f64) -> f64 {
    let n = sorted.len() as f64;
    sorted
        .iter()
        .enumerate()
        .fold(0.0, |worst: f64, (i, value)| {
            let expected = cdf(*value);
            let (below, above) = (i as f64 / n, (i as f64 + 1.0) / n);
            worst
                .max((expected - below).abs())
                .max((expected - above).abs())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evenly_spread_data_are_half_a_step_off() {
        let sorted = [0.125, 0.375, 0.625, 0.875];
        assert!((distance(&sorted, &|x| x) - 0.125).abs() < 1e-12);
        assert!((distance(&sorted, &|_| 0.0) - 1.0).abs() < 1e-12);
    }
}
