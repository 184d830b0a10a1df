//! From the runs of all policies to the document.

use elis_sim::outcome::RunOutcome;
use serde_json::Value;

use super::bounds::bounds;
use super::document::{Document, Generated, LoadPoint, SCHEMA};
use super::series::series;
use crate::metrics::{ClientSide, MetricOptions, MetricsError, PolicyResult, policy_result};
use crate::stats::paired::PairedResult;
use crate::stats::{
    CompareError, CompareOptions, Verdict, compare, control_rerolled, control_split,
};

/// What a document is made of.
#[derive(Debug, Clone, Default)]
pub struct Inputs<'a> {
    /// What makes it.
    pub generated: Generated,
    /// Provenance of the workload.
    pub workload: Value,
    /// The worker.
    pub worker: Value,
    /// Predictor of lengths.
    pub predictor: String,
    /// For each policy its runs, one for each seed.
    pub runs: &'a [Vec<RunOutcome>],
    /// Name of the policy that the others are compared with.
    pub baseline: &'a str,
    /// Name of the clairvoyant policy, if it ran.
    pub bound: Option<&'a str>,
    /// Runs of the baseline with other dice in the predictor, for the A/A control.
    pub rerolled: Option<&'a [RunOutcome]>,
    /// The policies at other loads.
    pub loads: Vec<LoadPoint>,
    /// Objectives and workers.
    pub metrics: MetricOptions,
    /// How to resample.
    pub compare: CompareOptions,
    /// Where the figures are measured: what the client saw of each policy, in the order of `runs`.
    pub clients: Option<Vec<ClientSide>>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A policy has no figures.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Two policies cannot be compared.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// The baseline did not run.
    #[error("the baseline {0} is not among the policies that ran")]
    NoBaseline(String),
    /// Two policies have the same name.
    #[error("two policies are called {0}; a report could not tell them apart")]
    SameName(String),
    /// The page's template is broken.
    #[error("the page could not be rendered: {0}")]
    Template(#[from] minijinja::Error),
    /// A row could not be written.
    #[error("the rows could not be written: {0}")]
    Csv(#[from] csv::Error),
}

/// Computes all figures and comparisons.
pub fn assemble(mut inputs: Inputs<'_>) -> Result<Document, ReportError> {
    let runs = inputs.runs;
    let name = |runs: &[RunOutcome]| runs.first().map(|r| r.policy.clone()).unwrap_or_default();
    for (i, group) in runs.iter().enumerate() {
        if runs[..i].iter().any(|other| name(other) == name(group)) {
            return Err(ReportError::SameName(name(group)));
        }
    }
    let baseline = runs
        .iter()
        .find(|group| name(group) == inputs.baseline)
        .ok_or_else(|| ReportError::NoBaseline(inputs.baseline.into()))?;
    let mut results = runs
        .iter()
        .map(|group| policy_result(group, &inputs.metrics))
        .collect::<Result<Vec<_>, _>>()?;
    let clients = inputs.clients.take();
    let measured = clients.is_some();
    for (result, client) in results.iter_mut().zip(clients.into_iter().flatten()) {
        add_client(result, client);
    }
    let mut paired = Vec::new();
    let others = runs.iter().filter(|group| name(group) != inputs.baseline);
    for group in others {
        match compare(group, baseline, inputs.compare) {
            Ok(pair) => paired.push(pair),
            // A server may fail, and a measurement be stopped; the rest is worth having.
            Err(error) if measured => inputs.notes.push(format!("not compared: {error}")),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Document {
        schema: SCHEMA.into(),
        simulated: !measured,
        generated: inputs.generated,
        workload: inputs.workload,
        worker: inputs.worker,
        predictor: inputs.predictor,
        results,
        controls: controls(baseline, inputs.rerolled, inputs.compare)?,
        bounds: inputs.bound.and_then(|bound| bounds(&paired, bound)),
        paired,
        loads: inputs.loads,
        series: runs.iter().map(|group| series(group)).collect(),
        notes: inputs.notes,
    })
}

/// Adds what the client saw, and takes out what only a simulator knows.
fn add_client(result: &mut PolicyResult, client: ClientSide) {
    result.client = Some(client);
    result.utilisation = None;
    result.cpu_s = None;
}

/// The controls that these runs allow.
fn controls(
    baseline: &[RunOutcome],
    rerolled: Option<&[RunOutcome]>,
    options: CompareOptions,
) -> Result<Vec<PairedResult>, CompareError> {
    let mut controls = Vec::new();
    if let Some(rerolled) = rerolled {
        let mut control = control_rerolled(baseline, rerolled, options)?;
        if control.tie_share == Some(1.0) {
            let text = "all times are equal: the baseline does not use what was re-rolled";
            control.cautions.push(text.into());
        }
        controls.push(control);
    }
    match control_split(baseline, options) {
        Ok(control) => controls.push(control),
        // Few seeds are no error; there is just no such control then.
        Err(CompareError::TooFewSeeds { .. }) => {}
        Err(error) => return Err(error),
    }
    for control in &mut controls {
        if control.verdict != Verdict::NoSignificantDifference {
            let text = "the interval of this A/A control misses 0, as 1 in 20 does by chance and \
                        more with few seeds of a heavy-tailed workload: run more seeds";
            control.cautions.push(text.into());
        }
    }
    Ok(controls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;
    use crate::stats::fixture::run;

    #[test]
    fn every_policy_but_the_baseline_is_compared() {
        let document = example::document(6, 80);
        let pairs: Vec<_> = document.paired.iter().map(|p| p.policy.as_str()).collect();
        assert_eq!(pairs, ["isrtf", "srpt"]);
        assert_eq!(document.controls.len(), 2);
        assert!(document.controls[0].cautions[0].contains("re-rolled"));
        assert_eq!(document.bounds.unwrap().gap_closed.len(), 1);
    }

    #[test]
    fn measured_runs_are_called_so_and_survive_what_cannot_be_compared() {
        let runs = [vec![run("a", 1, &[1, 2])], vec![run("b", 1, &[])]];
        let inputs = |clients| Inputs {
            runs: &runs,
            baseline: "a",
            clients,
            ..Inputs::default()
        };
        assert!(matches!(
            assemble(inputs(None)),
            Err(ReportError::Compare(_))
        ));
        let document = assemble(inputs(Some(vec![ClientSide::default(); 2]))).unwrap();
        assert!(!document.simulated && document.paired.is_empty());
        assert!(document.notes[0].contains("not compared: no request"));
        assert!(
            document
                .results
                .iter()
                .all(|r| r.client.is_some() && r.cpu_s.is_none())
        );
    }

    #[test]
    fn names_must_tell_policies_apart() {
        let twice = [vec![run("a", 1, &[1])], vec![run("a", 1, &[2])]];
        let inputs = Inputs {
            runs: &twice,
            baseline: "a",
            ..Inputs::default()
        };
        assert!(matches!(assemble(inputs), Err(ReportError::SameName(_))));
        let inputs = Inputs {
            runs: &twice[..1],
            baseline: "b",
            ..Inputs::default()
        };
        assert!(matches!(assemble(inputs), Err(ReportError::NoBaseline(_))));
    }
}
