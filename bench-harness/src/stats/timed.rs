//! Statistics of a step function of time, such as the length of a queue.

/// Mean and maximum of a step function.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timed {
    /// ∫ v dt / (t_last − t_first).
    pub mean: f64,
    /// The largest value, however briefly it stood.
    pub max: f64,
}

/// Weighs each value with the time until the next point.
///
/// Points must be in order of time; one that goes back in time weighs nothing. With no time between
/// the points the plain mean is taken.
pub fn time_weighted(points: impl IntoIterator<Item = (u64, f64)>) -> Option<Timed> {
    let points: Vec<(u64, f64)> = points.into_iter().collect();
    let max = points.iter().map(|p| p.1).reduce(f64::max)?;
    let (mut area, mut span) = (0.0, 0.0);
    for pair in points.windows(2) {
        let [(from, value), (to, _)] = pair else {
            continue;
        };
        let step = to.saturating_sub(*from) as f64;
        area += value * step;
        span += step;
    }
    let mean = if span > 0.0 {
        area / span
    } else {
        points.iter().map(|p| p.1).sum::<f64>() / points.len() as f64
    };
    Some(Timed { mean, max })
}

#[cfg(test)]
mod tests {
    use super::time_weighted;

    #[test]
    fn a_value_weighs_as_long_as_it_stands() {
        // 2 for 1 s, 10 for 3 s; the last point only ends the span.
        let timed = time_weighted([(0, 2.0), (1, 10.0), (4, 99.0)]).unwrap();
        assert_eq!((timed.mean, timed.max), (8.0, 99.0));
    }

    #[test]
    fn one_point_is_its_own_mean() {
        assert_eq!(time_weighted([(7, 3.0)]).unwrap().mean, 3.0);
        assert!(time_weighted([]).is_none());
    }
}
