//! From the cells that were run to the document.

use rayon::prelude::*;

use super::document::{
    CellRecord, GroupRecord, LeftOut, PolicyRecord, PublishedRecord, SCHEMA, Standing,
    SuiteDocument, SweepRecord,
};
use super::standings::{row_of, standing};
use super::tally::Tally;
use super::{Published, Suite};
use crate::experiment::BOUND;
use crate::report::Generated;

/// A cell that has been run.
pub(super) struct DoneCell {
    pub(super) record: CellRecord,
    pub(super) tallies: Vec<Tally>,
}

/// What a document is made of.
pub(super) struct Results<'a> {
    pub(super) suite: &'a Suite,
    pub(super) generated: Generated,
    pub(super) smoke: bool,
    pub(super) policies: Vec<PolicyRecord>,
    pub(super) cells: Vec<DoneCell>,
    pub(super) sweep: Vec<SweepRecord>,
    pub(super) left_out: Vec<LeftOut>,
}

/// Sums up groups and standings, and puts the policies into one order everywhere.
pub(super) fn assemble(results: Results<'_>) -> SuiteDocument {
    let suite = results.suite;
    let names: Vec<&str> = results.policies.iter().map(|p| p.name.as_str()).collect();
    let groups = groups(&results.cells, &names, suite.first());
    let cells: Vec<CellRecord> = results.cells.into_iter().map(|cell| cell.record).collect();
    let mut standings: Vec<Standing> = names
        .iter()
        .map(|name| standing(name, &suite.baselines, BOUND, &cells, &groups))
        .collect();
    sort(&mut standings, &suite.baselines);
    let order: Vec<String> = standings.iter().map(|s| s.policy.clone()).collect();
    let mut document = SuiteDocument {
        schema: SCHEMA.into(),
        simulated: true,
        generated: results.generated,
        suite: suite.name.clone(),
        description: suite.description.clone(),
        smoke: results.smoke,
        baselines: suite.baselines.clone(),
        bound: BOUND.into(),
        policies: results.policies,
        standings,
        published: published(&suite.published, &groups),
        groups,
        notes: notes(&cells),
        cells,
        sweep: results.sweep,
        left_out: results.left_out,
    };
    arrange(&mut document, &order);
    document
}

/// The baselines first, then by what they gain, the clairvoyant reference last.
fn sort(standings: &mut [Standing], baselines: &[String]) {
    let place = |name: &str| {
        let baseline = baselines.iter().position(|baseline| baseline == name);
        (name == BOUND, baseline.unwrap_or(usize::MAX))
    };
    let gain = |standing: &Standing| standing.gain.unwrap_or(f64::NEG_INFINITY);
    standings.sort_by(|a, b| {
        place(&a.policy)
            .cmp(&place(&b.policy))
            .then(gain(b).total_cmp(&gain(a)))
            .then(a.policy.cmp(&b.policy))
    });
}

/// Puts the policies into one order everywhere.
fn arrange(document: &mut SuiteDocument, order: &[String]) {
    let place = |name: &str| order.iter().position(|other| other == name);
    document.policies.sort_by_key(|policy| place(&policy.name));
    for cell in &mut document.cells {
        cell.results.sort_by_key(|row| place(&row.policy));
    }
    for group in &mut document.groups {
        group.results.sort_by_key(|row| place(&row.policy));
    }
    for sweep in &mut document.sweep {
        sweep.curves.sort_by_key(|curve| place(&curve.policy));
    }
}

/// What the clairvoyant reference gains.
pub(super) fn whole(tallies: &[Tally], first: &str) -> Option<f64> {
    let bound = tallies.iter().find(|tally| tally.policy == BOUND)?;
    bound.gain(first)
}

/// The rows of the matrix, in the order in which their first cells come.
fn groups(done: &[DoneCell], policies: &[&str], first: &str) -> Vec<GroupRecord> {
    let mut names: Vec<&str> = Vec::new();
    for cell in done {
        if !names.contains(&cell.record.group.as_str()) {
            names.push(&cell.record.group);
        }
    }
    let group = |name: &&str| {
        let cells: Vec<&DoneCell> = done.iter().filter(|c| c.record.group == *name).collect();
        let over = |policy: &&str| {
            let of_cells = cells
                .iter()
                .filter_map(|cell| cell.tallies.iter().find(|tally| tally.policy == *policy));
            Tally::over(&of_cells.collect::<Vec<_>>())
        };
        let tallies: Vec<Tally> = policies.iter().filter_map(over).collect();
        let whole = whole(&tallies, first);
        GroupRecord {
            name: (*name).to_owned(),
            cells: cells.iter().map(|cell| cell.record.id.clone()).collect(),
            results: tallies
                .par_iter()
                .map(|tally| tally.row(first, whole))
                .collect(),
        }
    };
    names.iter().map(group).collect()
}

/// What papers say of groups that were run, beside ours.
fn published(all: &[Published], groups: &[GroupRecord]) -> Vec<PublishedRecord> {
    let record = |published: &Published| {
        let group = groups.iter().find(|group| group.name == published.group)?;
        let row = |policy: &str| row_of(&group.results, policy);
        let value = |policy: &str| row(policy)?.score(published.measure);
        let versus = row(&published.policy)
            .and_then(|row| row.versus(&published.against, published.measure));
        Some(PublishedRecord {
            published: published.clone(),
            policy_value: value(&published.policy),
            against_value: value(&published.against),
            versus: versus.cloned(),
        })
    };
    all.iter().filter_map(record).collect()
}

/// Faults, so that a reader sees them without searching.
fn notes(cells: &[CellRecord]) -> Vec<String> {
    let mut notes = Vec::new();
    for cell in cells {
        for row in &cell.results {
            if row.faults > 0 {
                let (policy, id) = (&row.policy, &cell.id);
                notes.push(format!(
                    "policy {policy} had {} faults in cell {id}",
                    row.faults
                ));
            }
            if row.lost > 0 {
                let (policy, id) = (&row.policy, &cell.id);
                notes.push(format!(
                    "policy {policy} lost {} requests in cell {id}",
                    row.lost
                ));
            }
        }
    }
    notes
}
