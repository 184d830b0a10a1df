//! The trait that every policy implements, and how it introduces itself.

use crate::{Plan, Snapshot, Triggers};

/// Who a policy is and what it needs; the `info` of the contract, as constants.
#[derive(Debug, Clone, Copy)]
pub struct Info {
    /// Short, lower case, as in a report.
    pub name: &'static str,
    /// The policy's own version; `env!("CARGO_PKG_VERSION")` does well.
    pub version: &'static str,
    /// One sentence: the rule.
    pub summary: &'static str,
    /// The columns that it wants; the `NAMES` of a [`crate::columns!`] struct.
    pub columns: &'static [&'static str],
    /// When a plan stops being valid.
    pub triggers: Triggers,
    /// Whether a new plan may take the slot of a job that runs.
    pub preemptive: bool,
}

/// A scheduling policy: a rule from what the host can see to what it should do.
///
/// A policy may keep state between decisions, but the host drops it without notice: after a fault
/// it starts a fresh, configured instance.
pub trait Policy: Default {
    /// Who the policy is and what it needs.
    fn info() -> Info;

    /// Takes the policy's configuration; [`crate::config::parse`] reads it. Called once, before the
    /// first decision.
    ///
    /// # Errors
    ///
    /// What is wrong with the text, naming the key. A policy without options refuses every key.
    fn configure(&mut self, toml: &str) -> Result<(), String> {
        crate::config::parse(toml, &[]).map(|_| ())
    }

    /// The decision. It must not depend on the order of the rows.
    fn decide(&mut self, snapshot: &Snapshot<'_>) -> Plan;

    /// State to hand to another version of the policy; empty where there is none.
    fn export_state(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Takes over what [`Policy::export_state`] of another version gave.
    ///
    /// # Errors
    ///
    /// Why the state cannot be used. A policy without state takes only the empty one.
    fn import_state(&mut self, state: &[u8]) -> Result<(), String> {
        if state.is_empty() {
            Ok(())
        } else {
            Err("this policy keeps no state; start it without one".to_owned())
        }
    }
}
