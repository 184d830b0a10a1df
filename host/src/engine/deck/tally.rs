//! What is counted of each policy, by the digest of its bytes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use elis_policy_runtime::{Decision, LoadedPolicy, PolicySlot};
use elis_scheduler::plan::PolicyExit;
use elis_scheduler::stats::{PlanFault, PlanFaults};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use serde::Serialize;

use crate::shelf::Digest;

/// Policies with counts of their own; labels of metrics must not grow without end.
const POLICIES_MAX: usize = 64;

/// What a policy has done since the server started, whatever its configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Counts {
    /// Decisions asked for.
    pub decisions: u64,
    /// Decisions for which arrival order stood in.
    pub fallbacks: u64,
    /// Decisions during which the machine was busy with others for longer than the budget.
    pub stalled: u64,
    /// Failures that count towards a quarantine at present.
    pub strikes: usize,
    /// Instances started after a failure.
    pub restarts: u64,
    /// Quarantines begun.
    pub quarantines: u64,
    /// Time of the scheduling thread, seconds.
    pub cpu_s: f64,
    /// Requests that finished while it was live.
    pub finished: u64,
    /// Their times from arrival to the last token, summed, seconds.
    pub jct_s: f64,
    /// Their times from arrival to the first token, summed, seconds.
    pub ttft_s: f64,
    /// Failed decisions by cause, and faults of plans by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// The last of them.
    pub last_fault: Option<Fault>,
}

/// Something that a policy did wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The cause, as in metrics.
    pub kind: &'static str,
    /// What the sandbox says.
    pub detail: String,
    /// When, RFC 3339 in UTC.
    pub at: String,
}

/// The counts of one policy.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) name: String,
    pub(crate) wall: Histogram,
    counts: Mutex<Counts>,
}

impl Tally {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            wall: Histogram::new(exponential_buckets(1e-6, 2.0, 16)),
            counts: Mutex::default(),
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a decision; `restarts` and `quarantines` are those that it brought.
    pub(crate) fn decided(
        &self,
        decision: &Decision,
        slot: &PolicySlot,
        restarts: u64,
        quarantines: u64,
    ) {
        let mut counts = self.lock();
        counts.decisions += 1;
        counts.stalled += u64::from(decision.stalled);
        counts.strikes = slot.strikes();
        counts.restarts += restarts;
        counts.quarantines += quarantines;
        counts.cpu_s += decision.cpu.as_secs_f64();
        match decision.plan {
            Ok(_) => self.wall.observe(decision.wall.as_secs_f64()),
            Err(exit) => {
                counts.fallbacks += 1;
                *counts.faults.entry(exit.name()).or_default() += 1;
                if exit != PolicyExit::Quarantined {
                    self.wall.observe(decision.wall.as_secs_f64());
                    let detail = decision.detail.clone().unwrap_or_default();
                    counts.last_fault = Some(fault(exit.name(), detail));
                }
            }
        }
    }

    /// Counts a request that finished.
    pub(crate) fn finished(&self, jct_s: f64, ttft_s: f64) {
        let mut counts = self.lock();
        counts.finished += 1;
        counts.jct_s += jct_s;
        counts.ttft_s += ttft_s;
    }

    /// Counts the faults that the core has found in plans since `before`.
    pub(crate) fn planned(&self, before: &PlanFaults, now: &PlanFaults) {
        let mut counts = self.lock();
        for fault_kind in PlanFault::ALL {
            let kind = fault_kind as usize;
            let new = now[kind].saturating_sub(before[kind]);
            if new > 0 {
                *counts.faults.entry(fault_kind.name()).or_default() += new;
                let detail = "found in a plan, whose other parts ran".to_owned();
                counts.last_fault = Some(fault(fault_kind.name(), detail));
            }
        }
    }
}

fn fault(kind: &'static str, detail: String) -> Fault {
    Fault {
        kind,
        detail,
        at: jiff::Timestamp::now().to_string(),
    }
}

/// The counts of all policies that decided, live or in shadow.
#[derive(Debug, Default)]
pub(crate) struct Tallies(Mutex<BTreeMap<Option<Digest>, Arc<Tally>>>);

impl Tallies {
    /// The counts of a policy, new ones if need be. Beyond a number they share one.
    pub(crate) fn of(&self, digest: Digest, policy: &LoadedPolicy) -> Arc<Tally> {
        let mut all = self.lock();
        let room = all.len() < POLICIES_MAX;
        let known = all.contains_key(&Some(digest));
        let (key, name) = if room || known {
            (Some(digest), policy.info().name.as_str())
        } else {
            (None, "others")
        };
        let tally = all.entry(key).or_insert_with(|| Arc::new(Tally::new(name)));
        Arc::clone(tally)
    }

    pub(crate) fn get(&self, digest: Digest) -> Option<Arc<Tally>> {
        self.lock().get(&Some(digest)).cloned()
    }

    /// All with their short digests.
    pub(crate) fn all(&self) -> Vec<(String, Arc<Tally>)> {
        let short = |digest: &Option<Digest>| digest.map_or_else(String::new, |d| d.short());
        let all = self.lock();
        all.iter()
            .map(|(digest, tally)| (short(digest), Arc::clone(tally)))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Option<Digest>, Arc<Tally>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
