//! The Gamma's shape by maximum likelihood.

use statrs::function::gamma::digamma;

/// Solves ln(k) - digamma(k) = `s`, where `s` is ln(mean) - mean(ln). `None` unless `s` is above 0,
/// i.e. unless the data differ among themselves.
pub(super) fn shape(s: f64) -> Option<f64> {
    if !s.is_finite() || s <= 1e-12 {
        return None;
    }
    // Minka's (2002) start and generalised Newton step, which stays positive and needs few rounds.
    let mut k = (3.0 - s + ((s - 3.0) * (s - 3.0) + 24.0 * s).sqrt()) / (12.0 * s);
    for _ in 0..100 {
        let step = (k.ln() - digamma(k) - s) / (k * k * (1.0 / k - trigamma(k)));
        let next = 1.0 / (1.0 / k + step);
        if !(next.is_finite() && next > 0.0) {
            return None;
        }
        let done = (next - k).abs() <= 1e-13 * k;
        k = next;
        if done {
            break;
        }
    }
    Some(k)
}

/// The derivative of digamma, by recurrence upwards and then its asymptotic series.
fn trigamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < 10.0 {
        sum += 1.0 / (x * x);
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    sum + 1.0 / x + y / 2.0 + y / x * (1.0 / 6.0 - y * (1.0 / 30.0 - y * (1.0 / 42.0 - y / 30.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trigamma_has_its_known_values() {
        let pi2 = std::f64::consts::PI * std::f64::consts::PI;
        assert!((trigamma(1.0) - pi2 / 6.0).abs() < 1e-11);
        assert!((trigamma(0.5) - pi2 / 2.0).abs() < 1e-11);
    }

    #[test]
    fn the_equation_is_solved() {
        for k in [0.05, 0.3, 1.0, 7.0, 400.0_f64] {
            let found = shape(k.ln() - digamma(k)).unwrap();
            assert!((found / k - 1.0).abs() < 1e-6, "{k}: {found}");
        }
    }
}
