//! Checks what a spec means, and says where it means nothing.

use std::path::Path;

use toml::Spanned;

use super::file::{
    ArrivalTable, DeadlineTable, Draw, LengthTable, LognormalTable, MarginalTable, SpecFile,
};
use super::{ArrivalPlan, LengthPlan, PriorityShare, Size, Spec, TraceInput};
use crate::arrivals::ArrivalProcess;
use crate::error::WorkloadError;
use crate::lengths::{Marginal, TraceDraw};
use crate::limits::Limits;
use crate::paper;
use crate::provenance::{DeadlineRecord, ShareRecord, SourceRecord};
use crate::reference::WorkloadRef;
use crate::workload::DEFAULT_PRIORITY;

/// An error at a byte of the spec's text.
pub(super) fn at(path: &str, text: &str, byte: usize, problem: String) -> WorkloadError {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.bytes().filter(|b| *b == b'\n').count() as u64 + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() as u64 + 1;
    WorkloadError::At {
        path: path.to_owned(),
        line,
        column,
        problem,
    }
}

/// What the checks need to know about the file.
pub(super) struct Resolver<'a> {
    pub(super) text: &'a str,
    pub(super) folder: &'a Path,
    pub(super) source: SourceRecord,
}

/// A finding that has no place yet.
type Finding<T> = Result<T, String>;

impl Resolver<'_> {
    /// Turns the file into a checked spec.
    pub(super) fn resolve(self, raw: SpecFile) -> Result<Spec, WorkloadError> {
        let size = self.size(raw.requests.as_ref(), raw.duration_s.as_ref())?;
        let arrivals = self.place(&raw.arrivals, |t| self.arrivals(t))?;
        let burst = matches!(
            &arrivals,
            ArrivalPlan::Process {
                process: ArrivalProcess::Burst,
                ..
            }
        );
        if burst && matches!(size, Size::DurationS(_)) {
            self.place(&raw.arrivals, |_| {
                Err("a burst has no duration; give 'requests' instead".to_owned())
            })?;
        }
        let lengths = self.place(&raw.lengths, |t| self.lengths(t))?;
        let mut shares = self.shares(&raw.tenants, |t| t.share)?;
        for tenant in &raw.tenants {
            self.place(tenant, |t| positive("weight", t.weight.unwrap_or(1.0)))?;
        }
        let mut tenants: Vec<_> = raw
            .tenants
            .into_iter()
            .zip(shares)
            .map(|(t, share)| ShareRecord {
                weight: t.get_ref().weight.unwrap_or(1.0),
                name: t.into_inner().name,
                share,
            })
            .collect();
        if tenants.is_empty() {
            tenants.push(ShareRecord {
                name: "default".to_owned(),
                share: 1.0,
                weight: 1.0,
            });
        }
        shares = self.shares(&raw.priorities, |p| p.share)?;
        let mut priorities: Vec<_> = raw
            .priorities
            .iter()
            .zip(shares)
            .map(|(p, share)| PriorityShare {
                class: p.get_ref().class,
                share,
            })
            .collect();
        if priorities.is_empty() {
            priorities.push(PriorityShare {
                class: DEFAULT_PRIORITY,
                share: 1.0,
            });
        }
        let deadlines = raw
            .deadlines
            .map(|d| self.place(&d, deadlines))
            .transpose()?;
        let limits = raw
            .limits
            .map(|l| self.place(&l, |l| l.check().map(|()| *l).map_err(|e| e.to_string())))
            .transpose()?;
        Ok(Spec {
            name: raw.name,
            description: raw.description,
            size,
            arrivals,
            lengths,
            tenants,
            priorities,
            deadlines: deadlines.unwrap_or_default(),
            limits: limits.unwrap_or_else(Limits::default),
            source: self.source,
        })
    }

    /// Puts the place of `value` to what `check` finds.
    fn place<T, U>(
        &self,
        value: &Spanned<T>,
        check: impl FnOnce(&T) -> Finding<U>,
    ) -> Result<U, WorkloadError> {
        check(value.get_ref())
            .map_err(|problem| at(&self.source.path, self.text, value.span().start, problem))
    }

    fn size(
        &self,
        requests: Option<&Spanned<u64>>,
        duration_s: Option<&Spanned<f64>>,
    ) -> Result<Size, WorkloadError> {
        match (requests, duration_s) {
            (Some(n), None) => self.place(n, |n| match n {
                0 => Err("'requests' must be 1 or more".to_owned()),
                n => Ok(Size::Requests(*n)),
            }),
            (None, Some(s)) => self.place(s, |s| positive("duration_s", *s).map(Size::DurationS)),
            _ => {
                let problem = "give either 'requests' or 'duration_s'".to_owned();
                Err(at(&self.source.path, self.text, 0, problem))
            }
        }
    }

    fn arrivals(&self, table: &ArrivalTable) -> Finding<ArrivalPlan> {
        let rate_rps = match (table.rate_rps, &table.paper) {
            (Some(_), Some(_)) => return Err("give 'rate_rps' or 'paper', not both".to_owned()),
            (Some(rate), None) => Some(positive("rate_rps", rate)?),
            (None, Some(p)) => {
                let multiple = positive("multiple", p.multiple)?;
                positive("batch", f64::from(p.batch))?;
                Some(paper::rate_rps(&p.model, p.batch, multiple).ok_or_else(|| {
                    format!(
                        "no latency for '{}'; one of {}",
                        p.model,
                        paper::model_names()
                    )
                })?)
            }
            (None, None) => None,
        };
        match (&table.process, &table.trace) {
            (Some(kind), None) => {
                let process = ArrivalProcess::new(kind, table.shape).map_err(|e| e.to_string())?;
                Ok(ArrivalPlan::Process { process, rate_rps })
            }
            (None, Some(trace)) if table.shape.is_none() => Ok(ArrivalPlan::Trace {
                input: self.trace(trace)?,
                rate_rps,
            }),
            (None, Some(_)) => Err("a trace takes no 'shape'".to_owned()),
            _ => Err("give either 'process' or 'trace'".to_owned()),
        }
    }

    fn lengths(&self, table: &LengthTable) -> Finding<LengthPlan> {
        match (&table.prompt, &table.output, &table.trace) {
            (Some(prompt), Some(output), None) if table.draw.is_none() => {
                let correlation = table.correlation.unwrap_or(0.0);
                if !(-1.0..=1.0).contains(&correlation) {
                    return Err(format!(
                        "'correlation' is {correlation}, must be from -1 to 1"
                    ));
                }
                Ok(LengthPlan::Parametric {
                    prompt: marginal("prompt", prompt)?,
                    output: marginal("output", output)?,
                    correlation,
                })
            }
            (None, None, Some(trace)) if table.correlation.is_none() => {
                let draw = match table.draw {
                    Some(Draw::Shuffle) => TraceDraw::Shuffle,
                    Some(Draw::Replace) | None => TraceDraw::Replace,
                };
                Ok(LengthPlan::Trace {
                    input: self.trace(trace)?,
                    draw,
                })
            }
            _ => Err(
                "give 'prompt' and 'output' (with 'correlation' if they depend on each \
                      other), or 'trace' (with 'draw')"
                    .to_owned(),
            ),
        }
    }

    /// A trace that the spec names, relative to the spec's folder.
    fn trace(&self, text: &str) -> Finding<TraceInput> {
        match WorkloadRef::parse(text) {
            Ok(WorkloadRef::Trace { format, path }) => Ok(TraceInput {
                format,
                path: self.folder.join(path),
            }),
            Ok(_) => Err(format!(
                "'{text}' is a spec; a spec can only point at FORMAT:PATH"
            )),
            Err(e) => Err(e.to_string()),
        }
    }

    /// The shares of a mix, scaled to add up to 1.
    fn shares<T>(
        &self,
        mix: &[Spanned<T>],
        share: impl Fn(&T) -> f64,
    ) -> Result<Vec<f64>, WorkloadError> {
        let given: Vec<f64> = mix
            .iter()
            .map(|item| self.place(item, |t| positive("share", share(t))))
            .collect::<Result<_, _>>()?;
        let sum: f64 = given.iter().sum();
        Ok(given.into_iter().map(|s| s / sum).collect())
    }
}

fn positive(what: &str, value: f64) -> Finding<f64> {
    WorkloadError::check_positive(&format!("'{what}'"), value).map_err(|e| e.to_string())
}

fn deadlines(table: &DeadlineTable) -> Finding<DeadlineRecord> {
    let checked = |what, value: Option<f64>| value.map_or(Ok(0.0), |v| positive(what, v));
    Ok(DeadlineRecord {
        ttft_ms: checked("ttft_ms", table.ttft_ms)?,
        jct_ms: checked("jct_ms", table.jct_ms)?,
    })
}

fn marginal(which: &str, table: &MarginalTable) -> Finding<Marginal> {
    let found = match table {
        MarginalTable::Lognormal(t) => lognormal(t),
        MarginalTable::Constant(0) => Err("a constant length must be 1 or more".to_owned()),
        MarginalTable::Constant(tokens) => Ok(Marginal::Constant { tokens: *tokens }),
        MarginalTable::Quantiles(points) => quantiles(points),
    };
    found.map_err(|problem| format!("{which}: {problem}"))
}

fn lognormal(table: &LognormalTable) -> Finding<Marginal> {
    let sigma = table.sigma;
    if !(0.0..=10.0).contains(&sigma) {
        return Err(format!("'sigma' is {sigma}, must be from 0 to 10"));
    }
    let mu = match (table.mu, table.mean_tokens) {
        // The mean of a lognormal is exp(mu + sigma^2 / 2).
        (None, Some(mean)) => libm::log(positive("mean_tokens", mean)?) - sigma * sigma / 2.0,
        (Some(mu), None) if mu.is_finite() => mu,
        _ => return Err("give a finite 'mu' or 'mean_tokens'".to_owned()),
    };
    let (min_tokens, max_tokens) = (
        table.min_tokens.unwrap_or(1),
        table.max_tokens.unwrap_or(u32::MAX),
    );
    if min_tokens == 0 || min_tokens > max_tokens {
        return Err("'min_tokens' must be 1 or more and at most 'max_tokens'".to_owned());
    }
    Ok(Marginal::Lognormal {
        mu,
        sigma,
        min_tokens,
        max_tokens,
    })
}

fn quantiles(points: &[(f64, f64)]) -> Finding<Marginal> {
    let ascending = points
        .windows(2)
        .all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1);
    let ends = (points.first().map(|p| p.0), points.last().map(|p| p.0));
    let sane = points
        .iter()
        .all(|p| (1.0..=f64::from(u32::MAX)).contains(&p.1));
    if !ascending || !sane || ends != (Some(0.0), Some(1.0)) || points.len() < 2 {
        return Err(
            "'quantiles' are pairs [probability, tokens], ascending, from probability 0 \
                    to 1, with tokens of 1 or more"
                .to_owned(),
        );
    }
    Ok(Marginal::Quantiles {
        points: points.to_vec(),
    })
}
