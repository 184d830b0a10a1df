//! Each policy over the whole suite: cells won and lost, its share of the oracle, its worst.

use super::document::{CellRecord, GroupRecord, PolicyRow, Record, Standing, Worst};
use super::scores::Measure;
use crate::stats::Verdict;
use crate::stats::sample::mean;

/// The standing of one policy.
pub(super) fn standing(
    policy: &str,
    baselines: &[String],
    bound: &str,
    cells: &[CellRecord],
    groups: &[GroupRecord],
) -> Standing {
    let rows: Vec<(&str, &PolicyRow)> = cells
        .iter()
        .filter_map(|cell| Some((cell.id.as_str(), row_of(&cell.results, policy)?)))
        .collect();
    let first = baselines.first().map_or("", String::as_str);
    let rivals = baselines.iter().filter(|against| *against != policy);
    let worst = |measure: Measure| {
        let gains = rows.iter().filter_map(|(cell, row)| {
            let gain = row.versus(first, measure)?.gain?;
            let cell = (*cell).to_owned();
            Some(Worst { cell, gain })
        });
        gains.min_by(|a, b| a.gain.total_cmp(&b.gain))
    };
    let gains: Vec<(f64, f64)> = groups
        .iter()
        .filter_map(|group| {
            let own = row_of(&group.results, policy)?.gain(first)?;
            let whole = row_of(&group.results, bound).and_then(|row| row.gain(first));
            Some((own, whole.unwrap_or(0.0)))
        })
        .collect();
    let [own, whole] = [|g: &(f64, f64)| g.0, |g: &(f64, f64)| g.1]
        .map(|side| gains.iter().map(side).collect::<Vec<f64>>());
    let sum: f64 = whole.iter().sum();
    let count = |of: fn(&PolicyRow) -> u64| rows.iter().map(|(_, row)| of(row)).sum::<u64>();
    let all = count(|row| row.completed + row.rejected + row.lost);
    Standing {
        policy: policy.into(),
        records: rivals.map(|against| record(against, &rows)).collect(),
        gain: mean(&own),
        oracle_share: (sum > 0.0).then(|| own.iter().sum::<f64>() / sum),
        worst: worst(Measure::JctMean),
        worst_p99: worst(Measure::JctP99),
        slowdown_max: rows
            .iter()
            .filter_map(|(_, row)| row.score(Measure::SlowdownMax))
            .reduce(f64::max),
        rejected_share: (all > 0).then(|| count(|row| row.rejected) as f64 / all as f64),
    }
}

pub(super) fn row_of<'a>(rows: &'a [PolicyRow], policy: &str) -> Option<&'a PolicyRow> {
    rows.iter().find(|row| row.policy == policy)
}

fn record(against: &str, rows: &[(&str, &PolicyRow)]) -> Record {
    let mut record = Record {
        against: against.into(),
        ..Record::default()
    };
    let all = rows
        .iter()
        .filter_map(|(_, row)| row.versus(against, Measure::JctMean));
    for versus in all {
        match versus.verdict {
            Verdict::Better => record.better += 1,
            Verdict::Worse => record.worse += 1,
            Verdict::NoSignificantDifference => record.open += 1,
        }
    }
    record
}
