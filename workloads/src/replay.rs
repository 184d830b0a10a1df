//! Turns a recorded trace into a workload.

use std::sync::Arc;

use crate::arrivals::ArrivalProcess;
use crate::error::WorkloadError;
use crate::overrides::Overrides;
use crate::parts::{Parts, process_record};
use crate::provenance::{ArrivalRecord, DeadlineRecord, LengthRecord, ShareRecord};
use crate::readers::{Format, Trace};
use crate::responses::Response;
use crate::rng::{Draws, Purpose};
use crate::spec::PriorityShare;
use crate::workload::{DEFAULT_PRIORITY, Workload};

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
        let turn_ns = span_ns.saturating_add(seam_ns).saturating_mul(round);
        Some(time_ns.saturating_add(turn_ns).saturating_sub(origin_ns))
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

/// The rows of a trace in the order of their requests, and by how many rows it was rotated. A file
/// of responses has no order of its own (CASTILLO's is sorted by data set, with the two responses
/// to a prompt side by side), so its rows are shuffled, differently for each seed.
fn row_order(trace: &Trace, seed: u64) -> (Vec<usize>, usize) {
    let rows = trace.lengths.len();
    let mut order: Vec<usize> = (0..rows).collect();
    if trace.format == Format::Responses {
        Draws::new(seed, Purpose::Lengths).shuffle(&mut order);
        return (order, 0);
    }
    let start = rotation(seed, rows);
    order.rotate_left(start);
    (order, start)
}

/// Replays a trace; `name` is what the provenance calls it.
pub(crate) fn replay(
    trace: &Trace,
    name: &str,
    options: &Overrides,
) -> Result<Workload, WorkloadError> {
    let rows = trace.lengths.len();
    let (mut order, start) = row_order(trace, options.seed);
    let mut notes = trace.notes.clone();
    if trace.format == Format::Responses {
        notes.push("rows were shuffled: the file's order means nothing".to_owned());
    }
    if start > 0 {
        notes.push(format!(
            "rotated by {start} rows; the gap at the seam is the mean gap"
        ));
    }
    if let Some(take) = options.take {
        if take > rows as u64 {
            notes.push(format!(
                "{take} requests were asked for, the trace holds {rows}"
            ));
        }
        order.truncate(usize::try_from(take).unwrap_or(rows));
    }
    let speedup = options.speedup.unwrap_or(1.0);
    let (record, times_ns) = trace_times(trace, start, options, &mut notes)?;
    let parts = Parts {
        times_ns: times_ns
            .take(order.len())
            .map(|t| divide_ns(t, speedup))
            .collect(),
        lengths: order.iter().map(|row| trace.lengths[*row]).collect(),
        texts: texts_of(&trace.texts, &order),
        tenants: vec![ShareRecord {
            name: "default".to_owned(),
            share: 1.0,
            weight: 1.0,
        }],
        priorities: vec![PriorityShare {
            class: DEFAULT_PRIORITY,
            share: 1.0,
        }],
        deadlines: DeadlineRecord::default(),
        limits: options.limits,
        name: name.to_owned(),
        source: trace.source.clone(),
        inputs: trace.inputs.clone(),
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

/// The texts of some rows; none where there are none.
pub(crate) fn texts_of(texts: &[Arc<Response>], rows: &[usize]) -> Vec<Arc<Response>> {
    if texts.is_empty() {
        return Vec::new();
    }
    rows.iter().map(|row| Arc::clone(&texts[*row])).collect()
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
