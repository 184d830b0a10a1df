//! Puts a stream's parts together: cuts, clips, draws classes, and measures what came out.

use std::sync::Arc;

use crate::arrivals::ArrivalProcess;
use crate::error::WorkloadError;
use crate::lengths::Marginal;
use crate::limits::Limits;
use crate::overrides::Overrides;
use crate::provenance::{
    ArrivalRecord, Cut, DeadlineRecord, LengthRecord, Provenance, ShareRecord, SourceRecord,
};
use crate::readers::RequestLengths;
use crate::responses::Response;
use crate::rng::{Draws, Purpose};
use crate::spec::PriorityShare;
use crate::workload::{Arrival, Workload};

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
    /// As many texts, or none at all.
    pub(crate) texts: Vec<Arc<Response>>,
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
        let mut texts = std::mem::take(&mut self.texts).into_iter();
        for (id, (arrival_ns, lengths)) in (0..).zip(self.times_ns.iter().zip(&self.lengths)) {
            let (prompt_tokens, output_tokens) = self
                .limits
                .clip(lengths.prompt_tokens, lengths.output_tokens);
            clipped += u64::from(
                (prompt_tokens, output_tokens) != (lengths.prompt_tokens, lengths.output_tokens),
            );
            let class = &self.priorities[priorities.pick(&priority_shares)];
            arrivals.push(Arrival {
                limit_tokens: self.limits.max_output_tokens.unwrap_or(u32::MAX),
                tenant: tenants.pick(&tenant_shares) as u32,
                priority: class.class,
                ttft_deadline_ns: (self.deadlines.ttft_ms * 1e6).round() as u64,
                deadline_ns: (self.deadlines.jct_ms * 1e6).round() as u64,
                text: texts.next(),
                ..Arrival::new(id, *arrival_ns, prompt_tokens, output_tokens)
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
            weight: 1.0,
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
