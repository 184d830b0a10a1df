//! The Weibull's parameters by maximum likelihood.

/// The shape: the root of sum(x^k ln x) / sum(x^k) - 1/k - mean(ln x), which rises with k. `None`
/// where the values are all equal. `logs` are the logarithms of the values.
pub(super) fn shape(logs: &[f64]) -> Option<f64> {
    let n = logs.len() as f64;
    let mean_log = logs.iter().sum::<f64>() / n;
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if logs.iter().all(|l| *l == top) {
        return None;
    }
    let slope = |k: f64| {
        // Powers are taken relative to the largest value, so that none overflows.
        let (weighted, weight) = logs.iter().fold((0.0, 0.0), |(sum, weight), log| {
            let power = (k * (log - top)).exp();
            (sum + power * log, weight + power)
        });
        weighted / weight - 1.0 / k - mean_log
    };
    let (mut low, mut high) = (1e-3, 1.0);
    while slope(high) < 0.0 {
        high *= 2.0;
        if high > 1e6 {
            return None;
        }
    }
    // Bisection in the logarithm: 60 halvings of at most 30 octaves leave about 1e-17.
    for _ in 0..60 {
        let middle = f64::sqrt(low * high);
        if slope(middle) < 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(high)
}

/// The scale that belongs to a shape: (mean of x^k)^(1/k).
pub(super) fn scale(logs: &[f64], shape: f64) -> f64 {
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logs.iter().map(|log| (shape * (log - top)).exp()).sum();
    (top + (sum / logs.len() as f64).ln() / shape).exp()
}
