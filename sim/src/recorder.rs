//! Watches a run from outside and writes its outcome.

use std::collections::BTreeMap;

use elis_scheduler::plan::PolicyExit;
use elis_scheduler::stats::{PlanFault, Stats};
use elis_scheduler::{Ended, Scheduler};
use elis_workloads::Arrival;
use hdrhistogram::Histogram;

use crate::decider::Answer;
use crate::options::Options;
use crate::outcome::{
    Ending, LoggedDecision, RequestOutcome, RunOutcome, RunSummary, Spread, TimelinePoint,
};
use elis_cost::CostModel;

/// Points of a timeline before every second one is dropped.
const TIMELINE_MAX: usize = 2_048;

/// The observer of one run.
pub(crate) struct Recorder {
    arrivals: Vec<ArrivalNote>,
    records: bool,
    log: Option<Vec<LoggedDecision>>,
    requests: Vec<RequestOutcome>,
    summary: RunSummary,
    timeline: Vec<TimelinePoint>,
    every_ns: u64,
    next_ns: u64,
    fuel: Histogram<u64>,
    decision_ns: Histogram<u64>,
    cost: CostModel,
    chunk_tokens: u32,
    last_finish_ns: u64,
    first_arrival_ns: u64,
}

/// What a record needs of an arrival that the core does not keep.
struct ArrivalNote {
    arrival_ns: u64,
    prompt_tokens: u32,
    output_tokens: u32,
    tenant: u32,
    priority: u32,
}

impl Recorder {
    pub(crate) fn new(options: &Options, arrivals: &[Arrival]) -> Self {
        let note = |arrival: &Arrival| ArrivalNote {
            arrival_ns: arrival.arrival_ns,
            prompt_tokens: arrival.prompt_tokens,
            output_tokens: arrival.output_tokens,
            tenant: arrival.tenant,
            priority: arrival.priority,
        };
        let histogram = || Histogram::new(3).expect("three digits are a valid precision");
        let kept: &[Arrival] = if options.records { arrivals } else { &[] };
        Self {
            arrivals: kept.iter().map(note).collect(),
            records: options.records,
            log: options.decision_log.then(Vec::new),
            requests: Vec::new(),
            summary: RunSummary::default(),
            timeline: Vec::new(),
            every_ns: 1_000_000,
            next_ns: 0,
            fuel: histogram(),
            decision_ns: histogram(),
            cost: options.profile.cost,
            chunk_tokens: options.profile.max_batched_tokens,
            last_finish_ns: 0,
            first_arrival_ns: arrivals.first().map_or(0, |arrival| arrival.arrival_ns),
        }
    }

    /// Something is about to happen.
    pub(crate) fn event(&mut self, now_ns: u64, scheduler: &Scheduler) {
        self.summary.events += 1;
        if now_ns < self.next_ns {
            return;
        }
        let (waiting, running, gpu_blocks) = scheduler.load();
        self.timeline.push(TimelinePoint {
            at_ns: now_ns,
            waiting: waiting as u32,
            running: running as u32,
            gpu_blocks,
        });
        if self.timeline.len() >= TIMELINE_MAX {
            let mut nth = 0;
            self.timeline.retain(|_| {
                nth += 1;
                nth % 2 == 1
            });
            self.every_ns *= 2;
        }
        self.next_ns = now_ns + self.every_ns;
    }

    pub(crate) fn arrived(&mut self) {
        self.summary.arrived += 1;
    }

    pub(crate) fn decided(&mut self, worker: u16, revision: u64, answer: &Answer) {
        // The histograms grow with their values; what no histogram can hold is left out.
        let _ = self.fuel.record(answer.fuel);
        let _ = self.decision_ns.record(answer.wall_ns);
        if let Some(log) = &mut self.log {
            let plan = answer.plan.clone();
            log.push(LoggedDecision {
                worker,
                revision,
                plan,
            });
        }
    }

    pub(crate) fn finished(&mut self, now_ns: u64, ended: &Ended) {
        let row = &ended.row;
        self.summary.completed += 1;
        self.summary.prompt_tokens += u64::from(row.prompt_tokens);
        self.summary.output_tokens += u64::from(row.generated_tokens);
        self.last_finish_ns = now_ns;
        if !self.records {
            return;
        }
        let or_now = |time: Option<elis_scheduler::Time>| time.map_or(now_ns, |at| at.as_ns());
        self.requests.push(RequestOutcome {
            id: row.id,
            arrival_ns: ended.arrival.as_ns(),
            first_run_ns: or_now(ended.first_run),
            first_token_ns: or_now(ended.first_token),
            finish_ns: now_ns,
            prompt_tokens: row.prompt_tokens,
            output_tokens: row.generated_tokens,
            tenant: row.tenant,
            priority: row.priority,
            worker: u32::from(ended.worker),
            preemptions: row.preemptions,
            overtaken_by: 0,
            predicted_tokens: row.predicted_total_tokens,
            isolated_ns: self.cost.isolated_ns(
                row.prompt_tokens,
                row.generated_tokens,
                self.chunk_tokens,
            ),
            ending: Ending::Completed,
        });
    }

    pub(crate) fn rejected(&mut self, job: u64, now_ns: u64) {
        self.summary.rejected += 1;
        self.record_unfinished(job, now_ns, Ending::Rejected);
    }

    fn record_unfinished(&mut self, job: u64, now_ns: u64, ending: Ending) {
        let Some(note) = usize::try_from(job)
            .ok()
            .and_then(|job| self.arrivals.get(job))
        else {
            return;
        };
        self.requests.push(RequestOutcome {
            id: job,
            arrival_ns: note.arrival_ns,
            first_run_ns: now_ns,
            first_token_ns: now_ns,
            finish_ns: now_ns,
            prompt_tokens: note.prompt_tokens,
            output_tokens: note.output_tokens,
            tenant: note.tenant,
            priority: note.priority,
            worker: 0,
            preemptions: 0,
            overtaken_by: 0,
            predicted_tokens: f32::NAN,
            isolated_ns: 0,
            ending,
        });
    }

    pub(crate) fn finish(&mut self, stats: &Stats, busy_ns: u64, seed: u64) -> RunOutcome {
        self.note_lost();
        self.requests.sort_unstable_by_key(|request| request.id);
        count_overtaking(&mut self.requests);
        let mut summary = std::mem::take(&mut self.summary);
        summary.makespan_ns = self.last_finish_ns.saturating_sub(self.first_arrival_ns);
        summary.busy_ns = busy_ns;
        summary.fuel = spread(&self.fuel, 1.0);
        summary.decision_us = spread(&self.decision_ns, 1e-3);
        count(&mut summary, stats);
        RunOutcome {
            seed,
            requests: std::mem::take(&mut self.requests),
            summary,
            timeline: std::mem::take(&mut self.timeline),
            decisions: self.log.take().unwrap_or_default(),
            ..RunOutcome::default()
        }
    }

    /// Requests that never ended: there must be none.
    fn note_lost(&mut self) {
        if self.summary.completed + self.summary.rejected == self.summary.arrived {
            return;
        }
        let mut seen = vec![false; self.arrivals.len()];
        for request in &self.requests {
            seen[request.id as usize] = true;
        }
        let lost: Vec<u64> = (0u64..)
            .zip(seen)
            .filter(|(_, s)| !s)
            .map(|(id, _)| id)
            .collect();
        for id in lost {
            self.record_unfinished(id, self.last_finish_ns, Ending::Lost);
        }
    }
}

/// Copies the core's counters.
fn count(summary: &mut RunSummary, stats: &Stats) {
    let named = |pairs: Vec<(&str, u64)>| -> BTreeMap<String, u64> {
        pairs
            .into_iter()
            .filter(|(_, n)| *n > 0)
            .map(|(name, n)| (name.to_owned(), n))
            .collect()
    };
    let fallbacks: u64 = stats.fallbacks.iter().sum();
    summary.iterations = stats.iterations;
    summary.decisions = named(vec![
        ("asked", stats.asked),
        ("applied", stats.applied),
        ("late", stats.late),
        ("failed", fallbacks),
    ]);
    let exits = PolicyExit::ALL.into_iter().map(PolicyExit::name);
    summary.fallbacks = named(exits.zip(stats.fallbacks).collect());
    let faults = PlanFault::ALL.into_iter().map(PlanFault::name);
    summary.plan_faults = named(faults.zip(stats.faults).collect());
    let modes = ["pause", "swap", "recompute"];
    let evicted = ["-", "evict-paused-swap", "evict-paused-recompute"];
    let preempted = modes.into_iter().zip(stats.preemptions);
    summary.preemptions = named(
        preempted
            .chain(evicted.into_iter().zip(stats.evictions))
            .collect(),
    );
    summary.recomputed_tokens = stats.recomputed_tokens;
    summary.swapped_blocks = stats.swapped_blocks;
    summary.predictions = stats.predictions;
    summary.moved_jobs = stats.moved;
    summary.starvation_boosts = stats.starvation_boosts;
}

fn spread(histogram: &Histogram<u64>, unit: f64) -> Spread {
    if histogram.is_empty() {
        return Spread::default();
    }
    Spread {
        count: histogram.len(),
        mean: histogram.mean() * unit,
        p50: histogram.value_at_quantile(0.5) as f64 * unit,
        p99: histogram.value_at_quantile(0.99) as f64 * unit,
        max: histogram.max() as f64 * unit,
    }
}

/// For each request, how many arrived after it and finished before it: a Fenwick tree over the
/// order of finishing, filled from the last arrival back.
fn count_overtaking(requests: &mut [RequestOutcome]) {
    let mut by_finish: Vec<usize> = (0..requests.len()).collect();
    by_finish.sort_by_key(|&i| (requests[i].finish_ns, requests[i].id));
    let mut place = vec![0; requests.len()];
    for (at, &i) in by_finish.iter().enumerate() {
        place[i] = at + 1;
    }
    let mut tree = vec![0u32; requests.len() + 1];
    for i in (0..requests.len()).rev() {
        let mut at = place[i] - 1;
        let mut earlier = 0;
        while at > 0 {
            earlier += tree[at];
            at &= at - 1;
        }
        requests[i].overtaken_by = earlier;
        let mut at = place[i];
        while at < tree.len() {
            tree[at] += 1;
            at += at & at.wrapping_neg();
        }
    }
}
