//! Kendall's rank correlation tau-b in O(n log n).

/// How well the order of the first members tells the order of the second ones, from −1 to 1.
///
/// τ_b = (C − D) / √((n₀ − n₁)(n₀ − n₂)), n₀ = n(n−1)/2, n₁ and n₂ the pairs tied in either member;
/// counted with Knight's merge sort (W. R. Knight, JASA 61, 1966). None if either side is constant
/// or fewer than two pairs are finite.
pub fn tau_b(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<f64> {
    let mut pairs: Vec<(f64, f64)> = pairs
        .into_iter()
        .filter(|(x, y)| x.is_finite() && y.is_finite())
        .collect();
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let all = choose_two(pairs.len());
    let tied_x = tied(&pairs, |a, b| a.0 == b.0);
    let tied_both = tied(&pairs, |a, b| a == b);
    let mut ys: Vec<f64> = pairs.iter().map(|p| p.1).collect();
    let mut spare = ys.clone();
    let discordant = sort_counting_swaps(&mut ys, &mut spare) as f64;
    let tied_y = tied(&ys, |a, b| a == b);
    // C = n₀ − n₁ − n₂ + n₃ − D, n₃ being tied in both.
    let difference = all - tied_x - tied_y + tied_both - 2.0 * discordant;
    let tau = difference / ((all - tied_x) * (all - tied_y)).sqrt();
    tau.is_finite().then_some(tau)
}

fn choose_two(n: usize) -> f64 {
    n as f64 * (n as f64 - 1.0) / 2.0
}

/// Pairs within groups of equal neighbours.
fn tied<T>(sorted: &[T], same: impl Fn(&T, &T) -> bool) -> f64 {
    sorted
        .chunk_by(|a, b| same(a, b))
        .map(|group| choose_two(group.len()))
        .sum()
}

/// Merge sort that returns how many pairs stood in the wrong order.
fn sort_counting_swaps(values: &mut [f64], spare: &mut [f64]) -> u64 {
    let n = values.len();
    if n < 2 {
        return 0;
    }
    let (left, right) = values.split_at_mut(n / 2);
    let mut swaps = sort_counting_swaps(left, &mut spare[..n / 2])
        + sort_counting_swaps(right, &mut spare[n / 2..]);
    let (mut i, mut j) = (0, 0);
    for slot in spare.iter_mut() {
        if j >= right.len() || (i < left.len() && left[i] <= right[j]) {
            *slot = left[i];
            i += 1;
        } else {
            *slot = right[j];
            j += 1;
            swaps += (left.len() - i) as u64;
        }
    }
    values.copy_from_slice(spare);
    swaps
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
