//! How much of what a clairvoyant policy gains each policy gains.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stats::paired::PairedResult;

/// The scale on which a gain is read.
///
/// Shortest remaining time first with true lengths is optimal for one slot without cost of
/// preemption. With a batch and with memory it is a strong reference, not a proven bound, so a
/// share above 1 is possible and not an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bounds {
    /// The clairvoyant policy.
    pub bound: String,
    /// The baseline, which closes none of the gap.
    pub against: String,
    /// The clairvoyant policy's `ratio_of_sums` of the JCT: the whole gap.
    pub reduction: Option<f64>,
    /// The share that each other policy closes.
    pub gap_closed: Vec<GapClosed>,
}

/// One policy's share of the gap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GapClosed {
    /// The policy.
    pub policy: String,
    /// Its `ratio_of_sums` over that of the bound; null where the bound gains less than 1 %.
    pub share: Option<f64>,
}

/// A gap below this share of the baseline is no scale: what closes it would be noise over noise.
const GAP_MIN: f64 = 0.01;

/// Reads the shares off the paired comparisons; none if `bound` is not among them.
pub fn bounds(paired: &[PairedResult], bound: &str) -> Option<Bounds> {
    let top = paired.iter().find(|p| p.policy == bound)?;
    let whole = top.jct_reduction.ratio_of_sums;
    let share = |p: &PairedResult| {
        let whole = whole.filter(|w| *w >= GAP_MIN)?;
        Some(p.jct_reduction.ratio_of_sums? / whole)
    };
    let others = paired.iter().filter(|p| p.policy != bound);
    Some(Bounds {
        bound: top.policy.clone(),
        against: top.against.clone(),
        reduction: whole,
        gap_closed: others
            .map(|p| GapClosed {
                policy: p.policy.clone(),
                share: share(p),
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::bounds;
    use crate::stats::fixture::run;
    use crate::stats::{CompareOptions, compare};

    #[test]
    fn half_the_gap() {
        let base = [run("fcfs", 1, &[100, 100])];
        let options = CompareOptions {
            resamples: 10,
            rng_seed: 1,
        };
        let against =
            |name: &str, jct: &[u64]| compare(&[run(name, 1, jct)], &base, options).unwrap();
        let paired = [against("isrtf", &[80, 90]), against("srpt", &[60, 80])];
        let all = bounds(&paired, "srpt").unwrap();
        assert!((all.reduction.unwrap() - 0.3).abs() < 1e-12);
        assert!((all.gap_closed[0].share.unwrap() - 0.5).abs() < 1e-12);
        assert_eq!(bounds(&paired, "nobody"), None);
        let useless = bounds(
            &[against("a", &[1, 1]), against("srpt", &[100, 100])],
            "srpt",
        );
        assert_eq!(useless.unwrap().gap_closed[0].share, None);
    }
}
