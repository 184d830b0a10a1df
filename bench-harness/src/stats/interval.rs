//! Confidence intervals and tests with a closed form: Student's t and the sign test.

use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, StudentsT};

/// The two-sided 95 % quantile of Student's t with `freedom` degrees of freedom.
pub fn t_95(freedom: usize) -> Option<f64> {
    let t = StudentsT::new(0.0, 1.0, freedom as f64).ok()?;
    Some(t.inverse_cdf(0.975))
}

/// The 95 % interval of the mean, x̄ ± t·s/√n with n−1 degrees of freedom; none below two values.
pub fn student_t_95(values: &[f64]) -> Option<(f64, f64)> {
    if values.len() < 2 {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let half = t_95(values.len() - 1)? * (variance / n).sqrt();
    Some((mean - half, mean + half))
}

/// Two-sided exact sign test: the chance of a split at least this uneven if both are as likely.
///
/// p = min(1, 2·P[Bin(wins+losses, ½) ≤ min(wins, losses)]); ties are left out; none of no pair.
pub fn sign_test(wins: u64, losses: u64) -> Option<f64> {
    let total = wins + losses;
    if total == 0 {
        return None;
    }
    let law = Binomial::new(0.5, total).ok()?;
    Some((2.0 * law.cdf(wins.min(losses))).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t_quantiles_are_those_of_the_tables() {
        for (freedom, expected) in [(1, 12.706), (4, 2.776), (9, 2.262), (29, 2.045)] {
            assert!(
                (t_95(freedom).unwrap() - expected).abs() < 5e-4,
                "{freedom}"
            );
        }
    }

    #[test]
    fn interval_of_five_values() {
        // Mean 3, s² = 2.5, half width 2.776·√0.5 = 1.963.
        let (low, high) = student_t_95(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert!((low - 1.0368).abs() < 1e-3 && (high - 4.9632).abs() < 1e-3);
        assert_eq!(student_t_95(&[1.0]), None);
    }

    #[test]
    fn sign_test_counts_coin_throws() {
        // 8 of 10 heads: 2·(1+10+45)/1024 = 0.109375.
        assert!((sign_test(8, 2).unwrap() - 0.109_375).abs() < 1e-9);
        assert!((sign_test(0, 5).unwrap() - 0.0625).abs() < 1e-9);
        assert_eq!(sign_test(5, 5), Some(1.0));
        assert_eq!(sign_test(0, 0), None);
        assert!(sign_test(60_000, 40_000).unwrap() < 1e-12);
    }
}
