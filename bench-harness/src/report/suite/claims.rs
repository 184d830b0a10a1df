//! What papers say beside what we see.

use serde::Serialize;

use super::matrix::{value, words};
use crate::report::text::{interval, number, signed_percent, tame};
use crate::stats::Verdict;
use crate::suite::document::PublishedRecord;
use crate::suite::{Measure, ShownAs};

/// A published figure and ours.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Claim {
    system: String,
    source: String,
    theirs: String,
    ours: String,
    group: String,
    differences: String,
    class: &'static str,
}

/// The row of a published figure.
pub(super) fn claim(record: &PublishedRecord) -> Claim {
    let said = &record.published;
    let verdict = record.versus.as_ref().map(|versus| versus.verdict);
    Claim {
        system: format!("{} ({} against {})", said.system, said.policy, said.against),
        source: said.source.clone(),
        theirs: said.theirs.clone(),
        ours: ours(record),
        group: format!("{}, {}", said.group, words(said.measure).0.to_lowercase()),
        differences: said.differences.clone(),
        class: match verdict {
            Some(Verdict::Better) => "b2",
            Some(Verdict::Worse) => "w2",
            _ => "",
        },
    }
}

fn ours(record: &PublishedRecord) -> String {
    let said = &record.published;
    let (Some(policy), Some(against)) = (record.policy_value, record.against_value) else {
        return format!(
            "not run: needs {} and {}",
            tame(&said.policy, 24),
            tame(&said.against, 24)
        );
    };
    let versus = record.versus.as_ref();
    let gain = versus
        .and_then(|v| v.gain)
        .unwrap_or(1.0 - policy / against);
    let ci95 = versus.and_then(|v| v.ci95);
    match said.shown_as {
        ShownAs::Reduction => {
            let turned = ci95.map(|[low, high]| [-high, -low]);
            let range = turned
                .map(|_| format!(" {}", interval(turned)))
                .unwrap_or_default();
            format!("{}{range}", signed_percent(Some(-gain)))
        }
        ShownAs::SpeedUp => {
            let times = |gain: f64| number(Some(1.0 / (1.0 - gain)));
            let range = ci95.map(|[low, high]| format!(" [{}, {}]", times(low), times(high)));
            format!("{}x{}", times(gain), range.unwrap_or_default())
        }
        ShownAs::Values => {
            let shown = |v: f64| {
                let unit = if said.measure == Measure::Goodput {
                    " %"
                } else {
                    ""
                };
                format!("{}{unit}", value(said.measure, Some(v)))
            };
            format!("{} against {}", shown(policy), shown(against))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{Published, Versus};

    fn record(shown_as: ShownAs, gain: f64) -> PublishedRecord {
        let measure = Measure::JctMean;
        PublishedRecord {
            published: Published {
                system: "S".into(),
                source: "s".into(),
                policy: "p".into(),
                against: "fcfs".into(),
                group: "g".into(),
                measure,
                shown_as,
                theirs: "t".into(),
                differences: "d".into(),
            },
            policy_value: Some(5_000.0),
            against_value: Some(10_000.0),
            versus: Some(Versus {
                against: "fcfs".into(),
                measure,
                gain: Some(gain),
                ci95: Some([0.2, 0.75]),
                verdict: Verdict::Better,
            }),
        }
    }

    #[test]
    fn a_gain_is_put_as_the_paper_puts_it() {
        assert_eq!(
            ours(&record(ShownAs::Reduction, 0.5)),
            "−50.0 % [−75.0, −20.0 %]"
        );
        assert_eq!(ours(&record(ShownAs::SpeedUp, 0.5)), "2.00x [1.25, 4.00]");
        assert_eq!(ours(&record(ShownAs::Values, 0.5)), "5.00 against 10.0");
        let mut absent = record(ShownAs::Values, 0.5);
        absent.policy_value = None;
        assert_eq!(ours(&absent), "not run: needs p and fcfs");
    }
}
