//! The document that a suite leaves behind, and its published schema.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::scores::{Measure, Score, Versus};
use super::{Part, Published};
use crate::metrics::Slo;
use crate::report::Generated;
use crate::stats::Verdict;

/// Name and version of the format; the version rises when a reader of the old one would err.
pub const SCHEMA: &str = "elis-suite/1";

/// A policy that took part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyRecord {
    /// Its name in the report.
    pub name: String,
    /// SHA-256 of its bytes.
    pub digest: String,
}

/// What was not run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// A cell, or a policy.
    pub what: String,
    /// Why.
    pub reason: String,
}

/// A policy on a cell, or on a group of cells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyRow {
    /// The policy.
    pub policy: String,
    /// Requests that gave all their tokens, all seeds together.
    pub completed: u64,
    /// Requests that were refused.
    pub rejected: u64,
    /// Requests that were neither.
    pub lost: u64,
    /// Decisions that fell back to arrival order, and faults in plans.
    pub faults: u64,
    /// Its figures.
    pub scores: Vec<Score>,
    /// The same against each baseline.
    pub versus: Vec<Versus>,
    /// Its gain in mean JCT over that of the clairvoyant reference; null where that gains nothing.
    pub oracle_share: Option<f64>,
}

impl PolicyRow {
    /// The value of a measure.
    pub fn score(&self, measure: Measure) -> Option<f64> {
        self.scores.iter().find(|s| s.measure == measure)?.value
    }

    /// How it stands against a baseline by a measure.
    pub fn versus(&self, against: &str, measure: Measure) -> Option<&Versus> {
        let same = |v: &&Versus| v.against == against && v.measure == measure;
        self.versus.iter().find(same)
    }

    /// Its gain in mean JCT against a baseline; none against itself.
    pub fn gain(&self, against: &str) -> Option<f64> {
        self.versus(against, Measure::JctMean)?.gain
    }
}

/// A cell that was run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CellRecord {
    /// Its name.
    pub id: String,
    /// The group it belongs to.
    pub group: String,
    /// What it is for.
    pub part: Part,
    /// Provenance of the workload of the first seed.
    pub workload: Value,
    /// The worker and how it is scheduled.
    pub worker: Value,
    /// Predictor of lengths.
    pub predictor: String,
    /// Objectives of the goodput.
    pub slo: Slo,
    /// Seeds of stream and predictor.
    pub seeds: Vec<u64>,
    /// Requests of one run.
    pub requests: u64,
    /// The policies.
    pub results: Vec<PolicyRow>,
}

/// A row of the matrix: one cell, or several that are summed up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GroupRecord {
    /// Its name.
    pub name: String,
    /// Its cells.
    pub cells: Vec<String>,
    /// The policies.
    pub results: Vec<PolicyRow>,
}

/// Cells that a policy wins, loses and leaves open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// The baseline.
    pub against: String,
    /// Cells whose interval of the mean JCT lies on the better side.
    pub better: u64,
    /// Cells whose interval lies on the worse side.
    pub worse: u64,
    /// The rest.
    pub open: u64,
}

/// A cell and a gain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Worst {
    /// The cell.
    pub cell: String,
    /// 1 − ΣP/ΣB there.
    pub gain: f64,
}

/// A policy over the whole suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Standing {
    /// The policy.
    pub policy: String,
    /// Cells won and lost against each baseline, by mean JCT.
    pub records: Vec<Record>,
    /// Mean over the groups of its gain in mean JCT over the first baseline.
    pub gain: Option<f64>,
    /// Σ of these gains over Σ of the reference's.
    pub oracle_share: Option<f64>,
    /// The cell where its mean JCT is worst against the first baseline.
    pub worst: Option<Worst>,
    /// The cell where its p99 of the JCT is.
    pub worst_p99: Option<Worst>,
    /// The largest slowdown of all cells.
    pub slowdown_max: Option<f64>,
    /// Share of all requests that it refused.
    pub rejected_share: Option<f64>,
}

/// A policy at one size of the predictor's error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SweepPoint {
    /// Mean absolute error of the predictor.
    pub mae_tokens: f64,
    /// Mean JCT, milliseconds.
    pub jct_mean_ms: Option<f64>,
    /// Against the first baseline; none for itself.
    pub versus: Option<Versus>,
}

/// A policy over all errors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SweepCurve {
    /// The policy.
    pub policy: String,
    /// By error.
    pub points: Vec<SweepPoint>,
}

/// The sweep on one cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SweepRecord {
    /// The cell.
    pub cell: String,
    /// Seeds of stream and predictor.
    pub seeds: Vec<u64>,
    /// The policies.
    pub curves: Vec<SweepCurve>,
}

/// A figure of a paper and ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PublishedRecord {
    /// Theirs.
    pub published: Published,
    /// Our value under their policy; null where it did not run.
    pub policy_value: Option<f64>,
    /// Our value under the policy that it is set against.
    pub against_value: Option<f64>,
    /// Our gain, with its interval; null where the two were not compared.
    pub versus: Option<Versus>,
}

/// All policies on a suite of cells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SuiteDocument {
    /// Always `elis-suite/1`.
    pub schema: String,
    /// Always true: times come from a cost model on a virtual clock.
    pub simulated: bool,
    /// What made it.
    pub generated: Generated,
    /// Name of the suite.
    pub suite: String,
    /// What it is for.
    pub description: String,
    /// Whether it is the small form, whose figures mean nothing.
    pub smoke: bool,
    /// Policies that the others are set against, the first being the one that gains count from.
    pub baselines: Vec<String>,
    /// The clairvoyant reference.
    pub bound: String,
    /// Who took part, in the order of the report.
    pub policies: Vec<PolicyRecord>,
    /// The policies over the whole suite.
    pub standings: Vec<Standing>,
    /// The rows of the matrix.
    pub groups: Vec<GroupRecord>,
    /// Each cell.
    pub cells: Vec<CellRecord>,
    /// How the gain falls with the predictor's error.
    pub sweep: Vec<SweepRecord>,
    /// What papers say, and ours.
    pub published: Vec<PublishedRecord>,
    /// What was not run.
    pub left_out: Vec<LeftOut>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

impl SuiteDocument {
    /// The document as JSON with a line feed at the end; it has nothing in it of this machine's
    /// speed, so equal runs are equal bytes.
    ///
    /// # Errors
    /// Never: all its keys are texts.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string(self)? + "\n")
    }

    /// Policies that are worse than the first baseline by mean JCT somewhere, and where.
    pub fn losses(&self) -> Vec<(&str, &str)> {
        let Some(first) = self.baselines.first() else {
            return Vec::new();
        };
        let mut losses = Vec::new();
        for cell in &self.cells {
            for row in &cell.results {
                let versus = row.versus(first, Measure::JctMean);
                if versus.is_some_and(|v| v.verdict == Verdict::Worse) {
                    losses.push((row.policy.as_str(), cell.id.as_str()));
                }
            }
        }
        losses
    }

    /// Requests that were neither completed nor refused.
    pub fn lost_requests(&self) -> u64 {
        let rows = self.cells.iter().flat_map(|cell| &cell.results);
        rows.map(|row| row.lost).sum()
    }
}

/// The JSON schema of [`SuiteDocument`], as committed in `schema/elis-suite-1.schema.json`.
///
/// # Errors
/// Never: it is a schema of texts and numbers.
pub fn schema_json() -> Result<String, serde_json::Error> {
    let mut schema = schemars::schema_for!(SuiteDocument);
    schema.insert("title".into(), Value::from(SCHEMA));
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::example;

    const COMMITTED: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/schema/elis-suite-1.schema.json"
    );

    #[test]
    fn the_committed_schema_is_the_generated_one() {
        let generated = schema_json().unwrap();
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(COMMITTED, &generated).unwrap();
        }
        let committed = std::fs::read_to_string(COMMITTED).unwrap_or_default();
        assert!(
            committed == generated,
            "stale schema: run this test with UPDATE_EXPECT=1"
        );
    }

    #[test]
    fn a_document_is_valid_and_survives_the_way_through_json() {
        let document = example::document();
        let json = document.to_json().unwrap();
        assert_eq!(json, example::made().to_json().unwrap());
        let value: Value = serde_json::from_str(&json).unwrap();
        let schema: Value = serde_json::from_str(&schema_json().unwrap()).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&value)
            .map(|e| e.to_string())
            .collect();
        assert_eq!(errors, Vec::<String>::new());
        let back: SuiteDocument = serde_json::from_str(&json).unwrap();
        assert_eq!(back.cells.len(), 3);
        let mut broken = value;
        broken["groups"][0]["results"][0]["scores"] = Value::from("good");
        assert!(!validator.is_valid(&broken));
    }

    #[test]
    fn who_wins_and_who_loses_is_in_the_standings() {
        let document = example::document();
        let names: Vec<&str> = document.policies.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names[..3], ["fcfs", "isrtf", "backwards"]);
        assert_eq!(names[3], document.bound);
        let of = |name: &str| {
            document
                .standings
                .iter()
                .find(|s| s.policy == name)
                .unwrap()
        };
        assert!(of("fcfs").gain.is_none());
        let isrtf = of("isrtf");
        assert!(isrtf.gain.unwrap() > 0.0 && isrtf.oracle_share.unwrap() < 1.0);
        assert_eq!((isrtf.records.len(), isrtf.records[0].worse), (1, 0));
        let backwards = of("backwards");
        assert_eq!(backwards.records[0].worse, 3);
        assert!(backwards.worst.as_ref().unwrap().gain < 0.0);
        let losses = document.losses();
        assert_eq!(losses.len(), 3);
        assert!(losses.iter().all(|(policy, _)| *policy == "backwards"));
        let group = &document.groups[0];
        assert_eq!((group.name.as_str(), group.cells.len()), ("two loads", 2));
        let said = &document.published[0];
        assert_eq!(
            said.versus,
            group.results[1].versus("fcfs", Measure::JctMean).cloned()
        );
        assert_eq!(document.lost_requests(), 0);
    }
}
