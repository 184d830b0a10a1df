//! From the runs of `elis-bench load` to its report and its exit code.

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Result;
use elis_bench_harness::load::engine::Run;
use elis_bench_harness::load::outcome::{client_side, run_outcome};
use elis_bench_harness::load::session::{self, Measured};
use elis_bench_harness::load::{Api, Length, PolicyRun, Record, Session, csv, histograms};
use elis_bench_harness::metrics::{ClientSide, MetricOptions, Slo};
use elis_bench_harness::report::table::{self, TableOptions};
use elis_bench_harness::report::{Document, Inputs, assemble, measured, page};
use elis_bench_harness::stats::Verdict;
use elis_sim::outcome::RunOutcome;
use serde_json::{Value, json};

use super::{Load, shown_url};
use crate::cli::output;

/// All that a report is made of.
pub(super) struct Setting<'a> {
    pub(super) load: &'a Load,
    pub(super) session: &'a Session<'a>,
    pub(super) measured: &'a Measured,
}

impl Setting<'_> {
    /// The runs of each policy that has any, in the order in which the policies were named.
    fn groups(&self) -> Vec<Vec<&PolicyRun>> {
        let of = |policy: &String| {
            let runs = self.measured.runs.iter();
            runs.filter(|run| run.policy == *policy).collect::<Vec<_>>()
        };
        let groups = self.session.policies.iter().map(of);
        groups.filter(|group| !group.is_empty()).collect()
    }

    pub(super) fn document(&self) -> Result<Document> {
        let groups = self.groups();
        let outcomes: Vec<Vec<RunOutcome>> = groups
            .iter()
            .map(|group| group.iter().map(|run| run_outcome(run)).collect())
            .collect();
        let client = |group: &Vec<&PolicyRun>| {
            client_side(&group.iter().map(|run| &run.run).collect::<Vec<&Run>>())
        };
        let clients: Vec<ClientSide> = groups.iter().map(client).collect();
        let mut notes = self.notes();
        for (group, client) in groups.iter().zip(&clients) {
            let policy = group.first().map_or("", |run| run.policy.as_str());
            notes.extend(measured::notes(policy, client));
        }
        let baseline = self.load.comparison.baseline.as_ref();
        let baseline = baseline.filter(|name| groups.iter().any(|g| g[0].policy == **name));
        let baseline = baseline.map_or(groups[0][0].policy.as_str(), String::as_str);
        let report = &self.load.report;
        let provenance = self.session.streams.first();
        let provenance = provenance.map(|stream| &stream.workload.provenance);
        Ok(assemble(Inputs {
            generated: output::generated(),
            workload: serde_json::to_value(provenance)?,
            worker: self.server(),
            predictor: "not known: the server has it".into(),
            runs: &outcomes,
            baseline,
            metrics: MetricOptions {
                slo: Slo {
                    ttft_ms: report.slo_ttft_ms,
                    tpot_ms: report.slo_tpot_ms,
                    jct_ms: report.slo_jct_ms,
                },
                ..MetricOptions::default()
            },
            clients: Some(clients),
            notes,
            ..Inputs::default()
        })?)
    }

    /// The server, and how it was driven.
    fn server(&self) -> Value {
        let (load, engine) = (self.load, self.session.engine);
        let maker = &engine.maker;
        let has_text = self.session.streams.iter().all(|stream| {
            let mut arrivals = stream.workload.arrivals.iter();
            arrivals.all(|arrival| arrival.text.is_some())
        });
        let prompts = match (has_text, maker.api) {
            (true, _) => "the text of the workload".to_owned(),
            (false, Api::Chat) => {
                "as many words as the workload has tokens, new in each run".into()
            }
            (false, Api::Completions) => {
                let (low, high) = (maker.token_ids.start(), maker.token_ids.end());
                format!("token ids from {low} to {high}, new in each run")
            }
        };
        let started = self.measured.runs.first().map(|run| run.run.started);
        let started = started.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let orders = self.session.streams.iter().map(|stream| {
            let order = session::order(&self.session.policies, stream.seed);
            format!("seed {}: {}", stream.seed, order.join(", "))
        });
        json!({
            "url": shown_url(&load.server.url),
            "endpoint": maker.api.path(),
            "model": maker.model,
            "pace": self.pace(),
            "prompts": prompts,
            "lengths": match maker.length {
                Length::Exact => "as in the workload, by max_tokens and ignore_eos".to_owned(),
                Length::Natural { max_tokens, .. } => format!("the model's, at most {max_tokens}"),
            },
            "temperature": 0,
            "extra_body": maker.extra,
            "timeout_s": load.server.timeout_s,
            "max_requests_in_flight": load.server.max_requests_in_flight,
            "warm_up_requests": load.request.warm_up,
            "switch": self.session.switch.map(|switch| switch.describe()),
            "order": orders.collect::<Vec<_>>(),
            "started_unix_s": started.map(|at| at.as_secs()),
        })
    }

    fn pace(&self) -> String {
        let pace = &self.load.pace;
        match (pace.concurrency, &pace.ramp) {
            (Some(users), _) => format!("closed loop of {users} users"),
            (None, Some(_)) => "open loop, a ramp".to_owned(),
            (None, None) => "open loop at the times of the stream".to_owned(),
        }
    }

    fn notes(&self) -> Vec<String> {
        let streams = &self.session.streams;
        let provenance = streams.first().map(|s| &s.workload.provenance);
        let mut notes: Vec<String> = provenance.map_or(Vec::new(), |p| p.notes.clone());
        let mut add = |wanted: bool, note: &str| {
            if wanted {
                notes.push(note.to_owned());
            }
        };
        add(
            self.load.pace.concurrency.is_some(),
            "closed loop: a slow server is sent less, so its latencies look better than under a \
             stream that does not wait; the arrival times of the workload are not used",
        );
        add(
            self.load.pace.ramp.is_some(),
            "ramp: the workload was made at 1 request a second and stretched to the rates of the \
             ramp",
        );
        add(
            self.session.policies.len() > 1,
            "policies took turns in an order drawn by seed; it stands under 'order'",
        );
        add(
            self.measured.only_rested,
            "the server does not say in a known way when it is idle; between runs it was left \
             alone for a while (--settle)",
        );
        let wanted = streams.len() * self.session.policies.len();
        if self.measured.runs.len() < wanted || self.session.engine.stop.is_asked() {
            let runs = self.measured.runs.len();
            notes.push(format!("ended early, in or after run {runs} of {wanted}"));
        }
        if let Some(error) = &self.measured.ended_by {
            notes.push(error.to_string());
        }
        notes
    }

    pub(super) fn publish(&self, document: &Document) -> Result<()> {
        let report = &self.load.report;
        let json = report.json.as_ref();
        let to_stdout = json.is_some_and(|path| path.as_os_str() == "-");
        if !to_stdout {
            output::print(&table::render(document, TableOptions::detect()))?;
        }
        if let Some(folder) = &report.out {
            let html = folder.join("report.html");
            output::write(&html, &page::render(document)?)?;
            output::write(&folder.join("report.json"), &document.to_json()?)?;
            let rows = output::create(&folder.join("requests.csv"))?;
            csv::write_records(rows, &self.measured.runs)?;
            let log = output::create(&folder.join("latencies.hlog"))?;
            histograms::write_log(log, &self.measured.runs)?;
            if !to_stdout {
                output::print(&format!("report: {}", output::shown(&html).display()))?;
            }
        }
        if let Some(path) = json {
            output::write_or_print(path, &document.to_json()?)?;
        }
        Ok(())
    }

    pub(super) fn exit_code(&self, document: &Document) -> Result<ExitCode> {
        if let Some(error) = &self.measured.ended_by {
            eprintln!("elis-bench: {error}");
            return Ok(ExitCode::FAILURE);
        }
        if self.session.engine.stop.is_asked() {
            return Ok(ExitCode::from(130));
        }
        let records = || self.measured.runs.iter().flat_map(|run| &run.run.records);
        let failed = records().filter(|record| record.failure.is_some()).count();
        let share = failed as f64 / records().count().max(1) as f64;
        if share > self.load.report.allow_errors {
            eprintln!("elis-bench: {failed} requests failed; {}", first(records()));
            return Ok(ExitCode::from(3));
        }
        if let Some(wanted) = self.load.report.min_goodput {
            let met = |share: Option<f64>| share.is_some_and(|share| share >= wanted);
            let missed = document.results.iter().filter(|r| !met(r.goodput.share));
            let missed: Vec<&str> = missed.map(|r| r.policy.as_str()).collect();
            if !missed.is_empty() {
                eprintln!("elis-bench: goodput below {wanted}: {}", missed.join(", "));
                return Ok(ExitCode::from(4));
            }
        }
        let worse = document
            .paired
            .iter()
            .filter(|p| p.verdict == Verdict::Worse);
        let worse: Vec<&str> = worse.map(|pair| pair.policy.as_str()).collect();
        if self.load.report.gate && !worse.is_empty() {
            eprintln!("elis-bench: significantly worse: {}", worse.join(", "));
            return Ok(ExitCode::from(4));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The first failure, since one often explains all.
fn first<'a>(mut records: impl Iterator<Item = &'a Record>) -> String {
    let failure = records.find_map(|record| record.failure.as_ref());
    failure.map_or(String::new(), |failure| format!("the first: {failure}"))
}
