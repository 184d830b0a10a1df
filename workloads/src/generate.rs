//! Generates a stream from a spec.

use std::sync::Arc;

use crate::arrivals::ArrivalProcess;
use crate::error::WorkloadError;
use crate::lengths::LengthModel;
use crate::overrides::Overrides;
use crate::parts::{Parts, length_record, process_record};
use crate::provenance::{ArrivalRecord, LengthRecord, SourceRecord};
use crate::readers::{Trace, read_trace, read_trace_with};
use crate::replay::{cycle_ns, divide_ns, recorded_rate_rps, rotation, texts_of};
use crate::responses::Response;
use crate::rng::{Draws, Purpose};
use crate::spec::{ArrivalPlan, LengthPlan, Size, Spec};
use crate::workload::Workload;

/// The longest stream that a spec may ask for; more is surely a slip in a rate or a unit.
pub const MOST_REQUESTS: u64 = 10_000_000;

/// What the plans of a spec come to under some overrides.
#[derive(Default)]
struct Resolved {
    inputs: Vec<SourceRecord>,
    notes: Vec<String>,
    rotated_rows: u64,
    /// The texts of the lengths' trace by row, where it has any.
    texts: Vec<Arc<Response>>,
}

impl Spec {
    /// Generates the stream; the same seed and overrides give the same stream.
    ///
    /// # Errors
    ///
    /// [`WorkloadError::OutOfRange`] for an override that makes no sense or a stream of more than
    /// [`MOST_REQUESTS`]; [`WorkloadError::NeedsRate`] if neither the spec nor the overrides hold
    /// a rate; whatever reading a trace of the spec's can bring.
    pub fn generate(&self, options: &Overrides) -> Result<Workload, WorkloadError> {
        options.check()?;
        let mut state = Resolved::default();
        let (arrivals, times_ns) = self.times_ns(options, &mut state)?;
        let (model, length_record) = self.length_model(options, &mut state)?;
        let draws = Draws::new(options.seed, Purpose::Lengths);
        let drawn = model.sample_rows(draws).take(times_ns.len());
        let (lengths, rows): (_, Vec<usize>) = drawn.unzip();
        let texts = texts_of(&state.texts, &rows);
        let parts = Parts {
            times_ns,
            lengths,
            texts,
            tenants: self.tenants.clone(),
            priorities: self.priorities.clone(),
            deadlines: self.deadlines,
            limits: self.limits.tighten(options.limits),
            name: self.name.clone(),
            source: self.source.clone(),
            inputs: state.inputs,
            arrivals,
            length_record,
            rotated_rows: state.rotated_rows,
            notes: state.notes,
        };
        Ok(parts.finish(options))
    }

    /// The arrival times, as many as the stream has, after rate and speedup.
    fn times_ns(
        &self,
        options: &Overrides,
        state: &mut Resolved,
    ) -> Result<(ArrivalRecord, Vec<u64>), WorkloadError> {
        let speedup = options.speedup.unwrap_or(1.0);
        match (&self.arrivals, options.arrivals) {
            (ArrivalPlan::Trace { input, rate_rps }, None) => {
                let trace = read_trace(input.format, &input.path)?;
                let times_ns = recorded_times(&trace)?;
                let start = rotation(options.seed, times_ns.len());
                let wanted = options.rate_rps.or(*rate_rps);
                let factor = match (wanted, recorded_rate_rps(times_ns)) {
                    (Some(wanted), Some(recorded)) => wanted / recorded,
                    _ => 1.0,
                };
                let record = ArrivalRecord::new("trace", &[("rate_factor", factor)]);
                let times = cycle_ns(times_ns, start).map(|t| divide_ns(t, factor * speedup));
                let taken = self.cut(times, options)?;
                if start > 0 {
                    state
                        .notes
                        .push(format!("arrivals rotated by {start} rows"));
                    state.rotated_rows = start as u64;
                }
                if start + taken.len() > times_ns.len() {
                    state.notes.push(format!(
                        "the trace's {} arrivals were gone through more than once or wrapped",
                        times_ns.len()
                    ));
                }
                state.inputs.push(trace.source.clone());
                Ok((record, taken))
            }
            (plan, replaced) => {
                let (process, own_rate) = match plan {
                    ArrivalPlan::Process { process, rate_rps } => (*process, *rate_rps),
                    ArrivalPlan::Trace { rate_rps, .. } => (ArrivalProcess::ELIS, *rate_rps),
                };
                let process = replaced.unwrap_or(process);
                let (record, rate_rps) =
                    process_record(process, options.rate_rps.or(own_rate), &self.source.path)?;
                let draws = Draws::new(options.seed, Purpose::Arrivals);
                let times = process
                    .times_ns(rate_rps, draws)
                    .map(|t| divide_ns(t, speedup));
                Ok((record, self.cut(times, options)?))
            }
        }
    }

    /// Takes from endless times what the spec's size and the overrides ask for.
    fn cut(
        &self,
        times_ns: impl Iterator<Item = u64>,
        options: &Overrides,
    ) -> Result<Vec<u64>, WorkloadError> {
        let (count, until_s) = match (self.size, options.take) {
            (Size::Requests(own), take) => (take.unwrap_or(own), f64::INFINITY),
            (Size::DurationS(s), take) => (take.unwrap_or(u64::MAX), s),
        };
        let until_s = until_s.min(options.for_s.unwrap_or(f64::INFINITY));
        // One more than allowed, so that an over-long stream shows without being generated whole.
        let taken: Vec<u64> = times_ns
            .take_while(|t| (*t as f64) < until_s * 1e9)
            .take(usize::try_from(count.min(MOST_REQUESTS + 1)).unwrap_or(usize::MAX))
            .collect();
        if taken.len() as u64 > MOST_REQUESTS {
            return Err(WorkloadError::OutOfRange {
                what: format!("the number of requests of '{}'", self.name),
                given: format!("more than {MOST_REQUESTS}"),
                expected: format!("at most {MOST_REQUESTS}"),
            });
        }
        Ok(taken)
    }

    /// The distribution of lengths, with its trace read.
    fn length_model(
        &self,
        options: &Overrides,
        state: &mut Resolved,
    ) -> Result<(LengthModel, LengthRecord), WorkloadError> {
        match &self.lengths {
            LengthPlan::Parametric {
                prompt,
                output,
                correlation,
            } => {
                let record = length_record(prompt, output, *correlation);
                let (prompt, output) = (prompt.clone(), output.clone());
                Ok((
                    LengthModel::Parametric {
                        prompt,
                        output,
                        correlation: *correlation,
                    },
                    record,
                ))
            }
            LengthPlan::Trace { input, draw } => {
                let trace = read_trace_with(input.format, &input.path, options)?;
                state.notes.extend(trace.notes);
                state.inputs.push(trace.source);
                state.inputs.extend(trace.inputs);
                state.texts = trace.texts;
                let record = LengthRecord {
                    kind: "trace".to_owned(),
                    parameters: [].into(),
                };
                Ok((
                    LengthModel::Trace {
                        pairs: trace.lengths,
                        draw: *draw,
                    },
                    record,
                ))
            }
        }
    }
}

/// The times of a trace that must have some.
fn recorded_times(trace: &Trace) -> Result<&[u64], WorkloadError> {
    trace.times_ns.as_deref().ok_or_else(|| WorkloadError::At {
        path: trace.source.path.clone(),
        line: 1,
        column: 1,
        problem: "the file holds no arrival times, so it cannot serve as [arrivals] trace"
            .to_owned(),
    })
}

#[cfg(test)]
mod tests;
