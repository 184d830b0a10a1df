//! Jain's fairness index.

/// Jain's index (Σx)² / (n·Σx²) of non-negative shares: 1 when all are equal, 1/n when one has all.
///
/// None without values or when all are zero. R. Jain, D. Chiu, W. Hawe, DEC-TR-301, 1984.
pub fn jain(values: &[f64]) -> Option<f64> {
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|v| v * v).sum();
    let index = sum * sum / (values.len() as f64 * squares);
    index.is_finite().then_some(index)
}

#[cfg(test)]
mod tests {
    use super::jain;

    #[test]
    fn known_values() {
        assert_eq!(jain(&[3.0, 3.0, 3.0]), Some(1.0));
        assert_eq!(jain(&[1.0, 0.0, 0.0, 0.0]), Some(0.25));
        // (1+2+3)² / (3·14) = 36/42.
        assert!((jain(&[1.0, 2.0, 3.0]).unwrap() - 36.0 / 42.0).abs() < 1e-12);
        assert_eq!(jain(&[]), None);
        assert_eq!(jain(&[0.0, 0.0]), None);
    }
}
