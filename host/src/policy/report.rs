//! What `elis policy check` found, as JSON and as text.

use serde::Serialize;

/// Everything that was found out about a policy.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The file.
    pub(crate) path: String,
    /// Version of the contract that it follows.
    pub(crate) contract: &'static str,
    /// Its own name.
    pub(crate) name: String,
    /// Its own version.
    pub(crate) version: String,
    /// Its rule in a sentence.
    pub(crate) summary: String,
    /// How it came: component or core module.
    pub(crate) kind: &'static str,
    /// Size of the file in bytes.
    pub(crate) size_bytes: usize,
    /// SHA-256 of the file.
    pub(crate) sha256: String,
    /// Time to compile it, in milliseconds.
    pub(crate) compile_ms: f64,
    /// What it imports: always nothing, or it would not have been loaded.
    pub(crate) imports: [String; 0],
    /// Columns that it asks for.
    pub(crate) columns: Vec<&'static str>,
    /// When it wants to be asked.
    pub(crate) triggers: Vec<&'static str>,
    /// Whether it takes slots away.
    pub(crate) preemptive: bool,
    /// Trials on synthetic queues.
    pub(crate) trials: Vec<Trial>,
    /// What makes it unfit; empty if it is fit.
    pub(crate) problems: Vec<String>,
}

/// A decision over a synthetic queue.
#[derive(Debug, Serialize)]
pub(crate) struct Trial {
    /// Length of the queue.
    pub(crate) jobs: usize,
    /// Fuel of one decision.
    pub(crate) fuel: u64,
    /// Median time of one decision under live metering, in microseconds.
    pub(crate) median_us: f64,
    /// Entries of `plan.run`.
    pub(crate) run: usize,
}

impl Report {
    /// The report for people.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let list = |names: &[&str]| match names {
            [] => "none".to_owned(),
            names => names.join(", "),
        };
        let lines = [
            (
                "policy",
                format!("{} {}: {}", self.name, self.version, self.summary),
            ),
            (
                "file",
                format!("{} ({}, {} bytes)", self.path, self.kind, self.size_bytes),
            ),
            ("sha256", self.sha256.clone()),
            (
                "contract",
                format!("{}, compiled in {:.0} ms", self.contract, self.compile_ms),
            ),
            ("imports", "none".to_owned()),
            ("columns", list(&self.columns)),
            ("triggers", list(&self.triggers)),
            (
                "preempts",
                if self.preemptive { "yes" } else { "no" }.to_owned(),
            ),
        ];
        for (label, value) in lines {
            out.push_str(&format!("{label:<9} {value}\n"));
        }
        out.push_str("\n   jobs         fuel       time    run\n");
        for trial in &self.trials {
            let Trial {
                jobs,
                fuel,
                median_us,
                run,
            } = trial;
            out.push_str(&format!(
                "{jobs:>7} {fuel:>12} {median_us:>7.1} us {run:>6}\n"
            ));
        }
        if self.problems.is_empty() {
            out.push_str("\nfit to run\n");
        } else {
            out.push_str("\nNOT fit to run:\n");
            for problem in &self.problems {
                out.push_str(&format!("- {problem}\n"));
            }
        }
        out
    }
}
