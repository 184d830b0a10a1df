//! Turns a recorded trace into a workload, and a stream's parts into a finished one.

use crate::arrivals::ArrivalProcess;
use crate::error::WorkloadError;
use crate::lengths::Marginal;
use crate::limits::Limits;
use crate::overrides::Overrides;
use crate::provenance::{
    ArrivalRecord, Cut, DeadlineRecord, LengthRecord, Provenance, ShareRecord, SourceRecord,
};
use crate::readers::{Format, RequestLengths, Trace};
use crate::rng::{Draws, Purpose};
use crate::spec::PriorityShare;
use crate::workload::{Arrival, DEFAULT_PRIORITY, Workload};

/// Where a rotated trace of `rows` rows starts: 0 for seed 0, so that it is the trace as it stands.
pub(crate) fn rotation(seed: u64, rows: usize) -> usize {
    if seed == 0 {
        0
    } else {
        Draws::new(seed, Purpose::Rotation).below(rows)
    }
}

/// Recorded times repeated without an end, starting from row `start`, which is at 0. At the seam
/// stands the trace's mean gap, since the true one was not recorded.
pub(crate) fn cycle_ns(times_ns: &[u64], start: usize) -> impl Iterator<Item = u64> + use<'_> {
    let rows = times_ns.len();
    let span_ns = times_ns.last().copied().unwrap_or(0);
    let seam_ns = if rows > 1 {
        span_ns / (rows as u64 - 1)
    } else {
        1_000_000_000
    };
    let origin_ns = times_ns.get(start).copied().unwrap_or(0);
    (start..).map_while(move |row| {
        let round = (row / rows.max(1)) as u64;
        let time_ns = times_ns.get(row % rows.max(1))?;
        Some(time_ns + round * (span_ns + seam_ns) - origin_ns)
    })
}

/// The mean rate of recorded times, in requests per second; `None` where all are at one moment.
pub(crate) fn recorded_rate_rps(times_ns: &[u64]) -> Option<f64> {
    let span_ns = times_ns.last().copied().filter(|span| *span > 0)?;
    Some((times_ns.len() as f64 - 1.0) * 1e9 / span_ns as f64)
}

/// Divides a time; exact where there is nothing to divide by.
pub(crate) fn divide_ns(time_ns: u64, factor: f64) -> u64 {
    if factor == 1.0 {
        time_ns
    } else {
        (time_ns as f64 / factor).round() as u64
    }
}

/// Replays a trace; `name` is what the provenance calls it.
pub(crate) fn replay(
    trace: &Trace,
    name: &str,
    options: &Overrides,
) -> Result<Workload, WorkloadError> {
    let rows = trace.lengths.len();
    let start = rotation(options.seed, rows);
    let mut notes = trace.notes.clone();
    if start > 0 {
        notes.push(format!(
            "rotated by {start} rows; the gap at the seam is the mean gap"
        ));
    }
    let count = options
        .take
        .map_or(rows, |take| usize::try_from(take).unwrap_or(rows).min(rows));
    if let Some(take) = options.take.filter(|take| *take > rows as u64) {
        notes.push(format!(
            "{take} requests were asked for, the trace holds {rows}"
        ));
    }
    let speedup = options.speedup.unwrap_or(1.0);
    let (record, times_ns) = trace_times(trace, start, options, &mut notes)?;
    let parts = Parts {
        times_ns: times_ns
            .take(count)
            .map(|t| divide_ns(t, speedup))
            .collect(),
        lengths: trace
            .lengths
            .iter()
            .cycle()
            .skip(start)
            .take(count)
            .copied()
            .collect(),
        tenants: vec![ShareRecord {
            name: "default".to_owned(),
            share: 1.0,
        }],
        priorities: vec![PriorityShare {
            class: DEFAULT_PRIORITY,
            share: 1.0,
        }],
        deadlines: DeadlineRecord::default(),
        limits: options.limits,
        name: name.to_owned(),
        source: trace.source.clone(),
        inputs: Vec::new(),
        arrivals: record,
        length_record: LengthRecord {
            kind: "trace".to_owned(),
            parameters: [].into(),
        },
        rotated_rows: start as u64,
        notes,
    };
    Ok(parts.finish(options))
}

/// Recorded or generated arrival times for a trace, before the speedup.
fn trace_times<'t>(
    trace: &'t Trace,
    start: usize,
    options: &Overrides,
    notes: &mut Vec<String>,
) -> Result<(ArrivalRecord, Box<dyn Iterator<Item = u64> + 't>), WorkloadError> {
    let recorded_rps = trace.times_ns.as_deref().and_then(recorded_rate_rps);
    if let (Some(times_ns), None) = (&trace.times_ns, options.arrivals) {
        let factor = match (options.rate_rps, trace.format, recorded_rps) {
            (None, _, _) => 1.0,
            // These files are at one request a second by definition, whatever a sample measures.
            (Some(rate), Format::Lengths, _) => rate,
            (Some(rate), _, Some(recorded)) => rate / recorded,
            (Some(_), _, None) => {
                notes.push("the rate was ignored: all requests arrive at once".to_owned());
                1.0
            }
        };
        let record = ArrivalRecord::new("trace", &[("rate_factor", factor)]);
        let times = cycle_ns(times_ns, start).map(move |t| divide_ns(t, factor));
        return Ok((record, Box::new(times)));
    }
    let process = options.arrivals.unwrap_or(ArrivalProcess::ELIS);
    let rate_rps = options.rate_rps.or(recorded_rps);
    let why = if trace.times_ns.is_some() {
        "replaced"
    } else {
        "not recorded"
    };
    notes.push(format!(
        "arrival times were {why}: {} arrivals are generated",
        process.kind()
    ));
    let (record, rate_rps) = process_record(process, rate_rps, &trace.source.path)?;
    let times = process.times_ns(rate_rps, Draws::new(options.seed, Purpose::Arrivals));
    Ok((record, Box::new(times)))
}

/// The record of a generated process and the rate to use; a burst needs none.
pub(crate) fn process_record(
    process: ArrivalProcess,
    rate_rps: Option<f64>,
    path: &str,
) -> Result<(ArrivalRecord, f64), WorkloadError> {
    if process == ArrivalProcess::Burst {
        return Ok((ArrivalRecord::new(process.kind(), &[]), 1.0));
    }
    let rate_rps = rate_rps.ok_or_else(|| WorkloadError::NeedsRate {
        path: path.to_owned(),
    })?;
    let mut parameters = vec![("rate_rps", rate_rps)];
    parameters.extend(process.shape().map(|shape| ("shape", shape)));
    Ok((ArrivalRecord::new(process.kind(), &parameters), rate_rps))
}

/// The record of two distributions.
pub(crate) fn length_record(
    prompt: &Marginal,
    output: &Marginal,
    correlation: f64,
) -> LengthRecord {
    let kind = if prompt.kind() == output.kind() {
        prompt.kind().to_owned()
    } else {
        format!("{}+{}", prompt.kind(), output.kind())
    };
    let mut parameters = prompt.parameters("prompt");
    parameters.extend(output.parameters("output"));
    parameters.push(("correlation".to_owned(), correlation));
    LengthRecord {
        kind,
        parameters: parameters.into_iter().collect(),
    }
}

/// The parts of a stream, ready to be put together.
pub(crate) struct Parts {
    /// Final arrival times, ascending.
    pub(crate) times_ns: Vec<u64>,
    /// As many lengths, not yet clipped.
    pub(crate) lengths: Vec<RequestLengths>,
    pub(crate) tenants: Vec<ShareRecord>,
    pub(crate) priorities: Vec<PriorityShare>,
    pub(crate) deadlines: DeadlineRecord,
    pub(crate) limits: Limits,
    pub(crate) name: String,
    pub(crate) source: SourceRecord,
    pub(crate) inputs: Vec<SourceRecord>,
    pub(crate) arrivals: ArrivalRecord,
    pub(crate) length_record: LengthRecord,
    pub(crate) rotated_rows: u64,
    pub(crate) notes: Vec<String>,
}

impl Parts {
    /// Cuts by time, clips, draws tenants and priorities, and measures what came out. The first
    /// request is at 0, so that a time cut always leaves one.
    pub(crate) fn finish(mut self, options: &Overrides) -> Workload {
        if let Some(for_s) = options.for_s {
            self.times_ns.retain(|t| (*t as f64) < for_s * 1e9);
        }
        let mut tenants = Draws::new(options.seed, Purpose::Tenants);
        let mut priorities = Draws::new(options.seed, Purpose::Priorities);
        let tenant_shares: Vec<f64> = self.tenants.iter().map(|t| t.share).collect();
        let priority_shares: Vec<f64> = self.priorities.iter().map(|p| p.share).collect();
        let mut clipped = 0_u64;
        let mut arrivals = Vec::with_capacity(self.times_ns.len());
        for (id, (arrival_ns, lengths)) in (0..).zip(self.times_ns.iter().zip(&self.lengths)) {
            let (prompt_tokens, output_tokens) = self
                .limits
                .clip(lengths.prompt_tokens, lengths.output_tokens);
            clipped += u64::from(
                (prompt_tokens, output_tokens) != (lengths.prompt_tokens, lengths.output_tokens),
            );
            let class = &self.priorities[priorities.pick(&priority_shares)];
            arrivals.push(Arrival {
                id,
                arrival_ns: *arrival_ns,
                prompt_tokens,
                output_tokens,
                tenant: tenants.pick(&tenant_shares) as u32,
                priority: class.class,
                ttft_deadline_ns: (self.deadlines.ttft_ms * 1e6).round() as u64,
                deadline_ns: (self.deadlines.jct_ms * 1e6).round() as u64,
            });
        }
        if clipped > 0 {
            self.notes.push(format!(
                "lengths of {clipped} requests were clipped to the limits"
            ));
        }
        self.arrivals.measure(&arrivals);
        Workload {
            arrivals,
            provenance: self.provenance(options),
        }
    }

    fn provenance(self, options: &Overrides) -> Provenance {
        let priority = |p: PriorityShare| ShareRecord {
            name: p.class.to_string(),
            share: p.share,
        };
        Provenance {
            name: self.name,
            source: self.source,
            inputs: self.inputs,
            arrivals: self.arrivals,
            lengths: self.length_record,
            speedup: options.speedup.unwrap_or(1.0),
            cut: Cut {
                take: options.take,
                for_s: options.for_s,
                rotated_rows: self.rotated_rows,
            },
            seed: options.seed,
            tenants: self.tenants,
            priorities: self.priorities.into_iter().map(priority).collect(),
            deadlines: self.deadlines,
            limits: self.limits,
            notes: self.notes,
        }
    }
}
