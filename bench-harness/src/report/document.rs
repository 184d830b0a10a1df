//! The document that a comparison leaves behind, and its published schema.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::bounds::Bounds;
use super::series::PolicySeries;
use crate::metrics::PolicyResult;
use crate::stats::paired::PairedResult;

/// Name and version of the format; the version rises when a reader of the old one would err.
pub const SCHEMA: &str = "elis-bench/1";

/// What made the document. No date, so that the same command gives the same bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Generated {
    /// Name of the tool.
    pub tool: String,
    /// Its version.
    pub version: String,
    /// Commit it was built from, where known.
    pub commit: Option<String>,
    /// The command line, word by word.
    pub command: Vec<String>,
}

/// The policies at one load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoadPoint {
    /// How the load was asked for, such as `3.0x`.
    pub label: String,
    /// Requests per second offered.
    pub rate_rps: f64,
    /// The figures of each policy at this load.
    pub results: Vec<PolicyResult>,
}

/// A comparison of policies on one workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Document {
    /// Always `elis-bench/1`.
    pub schema: String,
    /// Whether times come from a cost model and not from a clock before a real server.
    pub simulated: bool,
    /// What made it.
    pub generated: Generated,
    /// Provenance of the workload: source, arrival process actually used, scaling, seeds.
    pub workload: Value,
    /// The worker: cost model, what it was fitted on, memory, slots. Where figures are measured:
    /// the server, and how it was driven.
    pub worker: Value,
    /// Predictor of lengths.
    pub predictor: String,
    /// Figures of each policy.
    pub results: Vec<PolicyResult>,
    /// Each policy but the baseline against the baseline.
    pub paired: Vec<PairedResult>,
    /// The baseline against itself: what "no difference" looks like here.
    pub controls: Vec<PairedResult>,
    /// How far towards a clairvoyant policy each one came.
    pub bounds: Option<Bounds>,
    /// The same policies at other loads.
    pub loads: Vec<LoadPoint>,
    /// Curves for the page, thinned out.
    pub series: Vec<PolicySeries>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

impl Document {
    /// A copy without what depends on the machine: `decision_us` and `cpu_s` become null.
    ///
    /// Two runs of one command on one build give byte-equal JSON of this copy.
    pub fn deterministic(&self) -> Self {
        let mut copy = self.clone();
        let at_loads = copy.loads.iter_mut().flat_map(|load| &mut load.results);
        for result in copy.results.iter_mut().chain(at_loads) {
            result.decision_us = None;
            result.cpu_s = None;
        }
        copy
    }

    /// The document as indented JSON that ends with a line feed.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// The JSON schema of [`Document`], as committed in `schema/elis-bench-1.schema.json`.
pub fn schema_json() -> Result<String, serde_json::Error> {
    let mut schema = schemars::schema_for!(Document);
    schema.insert("title".into(), Value::from(SCHEMA));
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    const COMMITTED: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/schema/elis-bench-1.schema.json"
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
        let document = example::document(3, 120);
        let json = document.to_json().unwrap();
        let value: Value = serde_json::from_str(&json).unwrap();
        let schema: Value = serde_json::from_str(&schema_json().unwrap()).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&value)
            .map(|e| e.to_string())
            .collect();
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(value["paired"][0]["basis"], "student-t-over-seeds");
        assert_eq!(value["results"][0]["jct_ms"]["p999"], Value::Null);
        let back: Document = serde_json::from_str(&json).unwrap();
        assert_eq!(back.results.len(), document.results.len());
        let mut broken = value;
        broken["results"][0]["seeds"] = Value::from("all");
        assert!(!validator.is_valid(&broken));
    }

    #[test]
    fn the_clock_does_not_show_in_a_deterministic_copy() {
        let document = example::document(2, 60);
        let mut slower = document.clone();
        slower.results[0].cpu_s = Some(99.0);
        slower.loads[0].results[0].decision_us = None;
        assert_ne!(slower.to_json().unwrap(), document.to_json().unwrap());
        let bytes = |d: &Document| d.deterministic().to_json().unwrap();
        assert_eq!(bytes(&slower), bytes(&document));
        assert_eq!(bytes(&document), bytes(&example::document(2, 60)));
    }
}
