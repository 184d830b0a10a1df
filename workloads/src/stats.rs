//! Small statistics shared by the provenance and the inspection.

/// The gaps between successive times, in seconds; `times_ns` must not fall.
pub(crate) fn gaps_s(times_ns: impl Iterator<Item = u64>) -> Vec<f64> {
    let mut last = None;
    let mut gaps = Vec::new();
    for now in times_ns {
        if let Some(before) = last.replace(now) {
            gaps.push(now.saturating_sub(before) as f64 / 1e9);
        }
    }
    gaps
}

/// The mean; `None` of nothing.
pub(crate) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The population variance; `None` of nothing.
pub(crate) fn variance(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    Some(values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / values.len() as f64)
}

/// Standard deviation over mean; `None` of nothing or where the mean is 0.
pub(crate) fn cv(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|m| *m > 0.0)?;
    Some(variance(values)?.sqrt() / mean)
}

/// The quantile `p` in 0..=1 of sorted values, interpolated linearly; `None` of nothing.
pub(crate) fn quantile(sorted: &[f64], p: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = p * last as f64;
    let below = (place.floor() as usize).min(last);
    let above = (below + 1).min(last);
    Some(sorted[below] + (place - below as f64) * (sorted[above] - sorted[below]))
}
