//! What everybody may see of the deck: who is live, and the counts of all, for Prometheus too.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::canary::Run;
use super::shadow::Observed;
use super::side::SideReport;
use super::tally::{Counts, Tallies, Tally};
use crate::shelf::{Choice, Digest, LiveRecord};

type Kind = [(&'static str, &'static str); 1];

/// How things stand.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) record: LiveRecord,
    pub(crate) shadow: Option<(Choice, Arc<Observed>)>,
    /// The canary under way, or the last one.
    pub(crate) canary: Option<Arc<Run>>,
}

/// The board.
#[derive(Debug)]
pub(crate) struct Board {
    standing: Mutex<Option<Standing>>,
    pub(crate) tallies: Tallies,
    swaps: Family<Kind, Counter>,
    canaries: Family<Kind, Counter>,
    /// How long the scheduling thread was held up by changes of the policy.
    pub(crate) swap: Histogram,
    /// From a request for a change until the policy was ready to be installed.
    pub(crate) prepared: Histogram,
    /// Policies that could not be had when the server started, and others started in their stead.
    unloadable: Mutex<Vec<String>>,
}

impl Board {
    pub(crate) fn new() -> Self {
        Self {
            standing: Mutex::default(),
            tallies: Tallies::default(),
            swaps: Family::default(),
            canaries: Family::default(),
            swap: Histogram::new(exponential_buckets(1e-6, 2.0, 16)),
            prepared: Histogram::new(exponential_buckets(1e-5, 2.0, 18)),
            unloadable: Mutex::default(),
        }
    }

    pub(super) fn post(&self, standing: Standing) {
        *lock(&self.standing) = Some(standing);
    }

    /// Counts a change of the live policy.
    pub(super) fn swapped(&self, kind: &'static str) {
        self.swaps.get_or_create(&[("kind", kind)]).inc();
    }

    /// Counts a canary that is over.
    pub(super) fn canary_over(&self, stage: &'static str) {
        self.canaries.get_or_create(&[("stage", stage)]).inc();
    }

    /// Notes that a policy could not be had at the start.
    pub(crate) fn unloadable(&self, what: String) {
        lock(&self.unloadable).push(what);
    }

    /// What could not be had at the start.
    pub(crate) fn not_loaded(&self) -> Vec<String> {
        lock(&self.unloadable).clone()
    }

    /// How things stand; nothing before the engine runs.
    pub(crate) fn standing(&self) -> Option<Standing> {
        lock(&self.standing).clone()
    }

    /// Grows with every change of the live policy.
    pub(crate) fn epoch(&self) -> u64 {
        lock(&self.standing).as_ref().map_or(0, |s| s.record.epoch)
    }

    /// Adds the metrics to others.
    pub(crate) fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.register(
            "policy_swaps",
            "Changes of the live policy, by kind",
            self.swaps.clone(),
        );
        registry.register(
            "canaries",
            "Canaries that are over, by how they ended",
            self.canaries.clone(),
        );
        let second = || Unit::Seconds;
        registry.register_with_unit(
            "policy_swap_duration",
            "The scheduling thread held up by a change of the policy",
            second(),
            self.swap.clone(),
        );
        registry.register_with_unit(
            "policy_preparation_duration",
            "From a request for a change to a policy ready to be installed",
            second(),
            self.prepared.clone(),
        );
        registry.register_collector(Box::new(ByPolicy(Arc::clone(self))));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Encodes the counts of each policy when somebody looks.
#[derive(Debug)]
struct ByPolicy(Arc<Board>);

type Labels = [(&'static str, String); 2];

fn labels(name: &str, digest: &str) -> Labels {
    [("policy", name.to_owned()), ("digest", digest.to_owned())]
}

impl Collector for ByPolicy {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let all = self.0.tallies.all();
        decisions(&mut encoder, &all)?;
        let mut faults = encoder.encode_descriptor(
            "policy_faults",
            "Failed decisions by cause, and faults of plans by kind",
            None,
            MetricType::Counter,
        )?;
        for (digest, tally) in &all {
            for (kind, count) in tally.counts().faults {
                let [policy, digest] = labels(&tally.name, digest);
                let all = [policy, digest, ("kind", kind.to_owned())];
                ConstCounter::new(count).encode(faults.encode_family(&all)?)?;
            }
        }
        self.roles(&mut encoder)?;
        self.canary(&mut encoder)?;
        self.shadow(&mut encoder)
    }
}

impl ByPolicy {
    /// Who is what.
    fn roles(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(standing) = self.0.standing() else {
            return Ok(());
        };
        let help = "Grows with every change of the live policy";
        let epoch = encoder.encode_descriptor("policy_epoch", help, None, MetricType::Gauge)?;
        ConstGauge::new(standing.record.epoch as i64).encode(epoch)?;
        let help = "Policies that could not be loaded when the server started";
        let failed =
            encoder.encode_descriptor("policy_unloadable", help, None, MetricType::Gauge)?;
        ConstGauge::new(self.0.not_loaded().len() as i64).encode(failed)?;
        let help = "Who is live, warm, a canary or in shadow";
        let mut roles = encoder.encode_descriptor("policy_role", help, None, MetricType::Gauge)?;
        let shadow = standing.shadow.iter().map(|(choice, _)| ("shadow", choice));
        let warm = standing.record.before.iter().rev().take(1);
        let warm = warm.map(|choice| ("previous", choice));
        let live = std::iter::once(("live", &standing.record.live));
        let canary = standing.canary.iter().filter(|run| run.is_under_way());
        let canary = canary.map(|run| ("canary", &run.choice));
        for (role, choice) in live.chain(warm).chain(canary).chain(shadow) {
            let labels = [
                ("role", role.to_owned()),
                ("policy", self.name(choice.digest)),
                ("digest", choice.digest.short()),
            ];
            ConstGauge::new(1i64).encode(roles.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn name(&self, digest: Digest) -> String {
        let tally = self.0.tallies.get(digest);
        tally.map_or_else(String::new, |tally| tally.name.clone())
    }

    /// Both sides of the canary, the last one if none is under way.
    fn canary(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(run) = self.0.standing().and_then(|s| s.canary) else {
            return Ok(());
        };
        let report = run.report();
        let digest = report.choice.digest.short();
        let sides = [("control", &report.control), ("canary", &report.canary)];
        let labels = |side: &'static str| {
            [
                ("side", side.to_owned()),
                ("policy", report.name.clone()),
                ("digest", digest.clone()),
            ]
        };
        let counted: [Counted<SideReport, u64>; 4] = [
            ("canary_requests", "Requests that finished", |s| s.requests),
            ("canary_errors", "Requests that failed", |s| s.errors),
            ("canary_faults", "Failed decisions, faults of plans", |s| {
                s.faults
            }),
            (
                "canary_late",
                "First tokens later than the guard allows",
                |s| s.late,
            ),
        ];
        for (name, help, count) in counted {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (side, counts) in sides {
                let gauge = ConstGauge::new(count(counts) as i64);
                gauge.encode(family.encode_family(&labels(side))?)?;
            }
        }
        let seconds: [Counted<SideReport, Option<f64>>; 3] = [
            ("canary_jct", "Arrival to last token, mean", |s| {
                s.jct_mean_s
            }),
            ("canary_ttft", "Arrival to first token, mean", |s| {
                s.ttft_mean_s
            }),
            ("canary_ttft_p99", "Arrival to first token, p99", |s| {
                s.ttft_p99_s
            }),
        ];
        let unit = Some(&Unit::Seconds);
        for (name, help, time) in seconds {
            let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
            for (side, counts) in sides {
                if let Some(time) = time(counts) {
                    ConstGauge::new(time).encode(family.encode_family(&labels(side))?)?;
                }
            }
        }
        Ok(())
    }

    fn shadow(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some((choice, observed)) = self.0.standing().and_then(|s| s.shadow) else {
            return Ok(());
        };
        let counts = observed.counts();
        let labels = labels(&self.name(choice.digest), &choice.digest.short());
        let counted = [
            (
                "shadow_offered",
                "Decisions that it could see",
                counts.offered,
            ),
            ("shadow_seen", "Decisions that it saw", counts.seen),
            ("shadow_compared", "Both gave a plan", counts.compared),
            (
                "shadow_differed",
                "Other jobs would have got the slots",
                counts.differed,
            ),
            ("shadow_failed", "Decisions that failed", counts.failed),
        ];
        for (name, help, value) in counted {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        let help = "Mean of Kendall's tau between its orders and the live ones";
        let mut tau =
            encoder.encode_descriptor("shadow_kendall_tau", help, None, MetricType::Gauge)?;
        if let Some(mean) = counts.kendall_tau {
            ConstGauge::new(mean).encode(tau.encode_family(&labels)?)?;
        }
        let help = "Its mean JCT over the live one's, less 1, simulated; when last asked for";
        let mut change =
            encoder.encode_descriptor("shadow_jct_change", help, None, MetricType::Gauge)?;
        if let Some(estimate) = &counts.estimate {
            ConstGauge::new(estimate.change).encode(change.encode_family(&labels)?)?;
        }
        let help = "Time of its thread, copying included";
        let mut cpu = encoder.encode_descriptor(
            "shadow_cpu",
            help,
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?;
        ConstCounter::new(counts.cpu_s).encode(cpu.encode_family(&labels)?)
    }
}

/// A metric: its name, its help, and where it is found.
type Counted<C, T> = (&'static str, &'static str, fn(&C) -> T);

fn decisions(encoder: &mut DescriptorEncoder<'_>, all: &[(String, Arc<Tally>)]) -> fmt::Result {
    let counted: [Counted<Counts, u64>; 6] = [
        ("policy_decisions", "Decisions asked for", |c| c.decisions),
        ("policy_fallbacks", "Arrival order stood in", |c| {
            c.fallbacks
        }),
        ("policy_stalled", "The machine was busy with others", |c| {
            c.stalled
        }),
        ("policy_restarts", "Instances started after failures", |c| {
            c.restarts
        }),
        ("policy_quarantines", "Quarantines begun", |c| c.quarantines),
        ("policy_requests", "Requests that finished under it", |c| {
            c.finished
        }),
    ];
    for (name, help, count) in counted {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (digest, tally) in all {
            let labels = labels(&tally.name, digest);
            let value = ConstCounter::new(count(&tally.counts()));
            value.encode(family.encode_family(&labels)?)?;
        }
    }
    let unit = Some(&Unit::Seconds);
    let seconds: [Counted<Counts, f64>; 3] = [
        ("policy_cpu", "Time of the thread that decides", |c| c.cpu_s),
        ("policy_jct", "Arrival to last token, summed", |c| c.jct_s),
        ("policy_ttft", "Arrival to first token, summed", |c| {
            c.ttft_s
        }),
    ];
    for (name, help, sum) in seconds {
        let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (digest, tally) in all {
            let labels = labels(&tally.name, digest);
            let value = ConstCounter::new(sum(&tally.counts()));
            value.encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "One decision, by the clock";
    let kind = MetricType::Histogram;
    let mut wall = encoder.encode_descriptor("policy_decision", help, unit, kind)?;
    for (digest, tally) in all {
        let labels = labels(&tally.name, digest);
        tally.wall.encode(wall.encode_family(&labels)?)?;
    }
    Ok(())
}
