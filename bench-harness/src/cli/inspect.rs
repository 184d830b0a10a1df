//! `elis-bench workload`: what a request stream looks like.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use elis_bench_harness::report::inspection::{self, GammaFit};
use elis_workloads::{Inspection, Overrides, Workload as Stream, WorkloadRef, inspect};
use serde_json::json;

use super::output;

/// Look at request streams.
#[derive(Debug, Subcommand)]
pub(crate) enum Workload {
    /// Rows, rate, lengths, fits of the arrivals, burstiness: as a table, JSON and a picture
    Inspect(Inspect),
    /// The specs that ship, and the trace formats
    List,
}

/// Look at one stream.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  elis-bench workload inspect azure:AzureLLMInferenceTrace_conv.csv --out results/
  elis-bench workload inspect responses:castillo_responses_ORG--NAME.jsonl.gz --rate 2
  elis-bench workload inspect industrial --json -")]
pub(crate) struct Inspect {
    /// A spec or a trace, as for `compare --workload`
    workload: String,
    /// Requests per second, for streams without arrivals of their own
    #[arg(long, value_name = "RPS")]
    rate: Option<f64>,
    /// File of the prompts that a responses: file names by id (may be given again)
    #[arg(long, value_name = "FILE")]
    prompts: Vec<PathBuf>,
    /// Seed of a generated stream
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for the picture
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write the figures as JSON to a path, or to standard output for -
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
}

impl Workload {
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self {
            Self::Inspect(command) => command.run(),
            Self::List => {
                for spec in elis_workloads::shipped::ALL {
                    output::print(spec.name)?;
                }
                output::print(&format!("\nor a trace: {}", elis_workloads::WORKLOAD_FORMS))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

impl Inspect {
    fn run(self) -> Result<ExitCode> {
        let overrides = Overrides {
            seed: self.seed,
            rate_rps: self.rate,
            prompts: self.prompts,
            ..Overrides::default()
        };
        let stream = WorkloadRef::parse(&self.workload)?.load(&overrides)?;
        let figures = inspect(&stream);
        let to_stdout = self
            .json
            .as_ref()
            .is_some_and(|path| path.as_os_str() == "-");
        if !to_stdout {
            output::print(&render(&figures))?;
        }
        if let Some(folder) = &self.out {
            let html = folder.join("workload.html");
            output::write(&html, &picture(&stream, &figures)?)?;
            if !to_stdout {
                output::print(&format!("picture: {}", output::shown(&html).display()))?;
            }
        }
        if let Some(path) = &self.json {
            let document = json!({
                "schema": "elis-workload/1",
                "provenance": stream.provenance,
                "inspection": figures,
            });
            output::write_or_print(path, &serde_json::to_string_pretty(&document)?)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn render(figures: &Inspection) -> String {
    let mut text = format!("{}\n", figures.name);
    let rate = figures.mean_rps.map_or_else(
        || "all at once".into(),
        |rps| format!("{rps:.4} requests/s"),
    );
    text += &format!(
        "{} requests in {:.1} s, {rate}\n\n",
        figures.rows, figures.duration_s
    );
    let mut lengths = output::table(&["tokens", "mean", "p50", "p95", "p99", "max"]);
    for (name, summary) in [("prompt", &figures.prompt), ("output", &figures.output)] {
        let (mean, p50) = (summary.mean_tokens, summary.p50_tokens);
        let values = [
            mean,
            p50,
            summary.p95_tokens,
            summary.p99_tokens,
            summary.max_tokens,
        ];
        let cells = values.iter().map(|value| format!("{value:.1}"));
        lengths.add_row(std::iter::once(name.to_owned()).chain(cells));
    }
    text += &format!("{lengths}\n");
    if let Some(gaps) = &figures.gaps {
        text += &format!(
            "\ngaps: mean {:.4} s, CV {:.3}, {:.1} % zero",
            gaps.mean_s,
            gaps.cv,
            gaps.zero_share * 100.0
        );
        for (what, value) in [("1 s", gaps.dispersion_1s), ("60 s", gaps.dispersion_60s)] {
            if let Some(value) = value {
                text += &format!(", dispersion at {what} {value:.2}");
            }
        }
        text.push_str("\n\n");
        if let Some(fits) = &gaps.fits {
            let mut rows =
                output::table(&["law of the gaps", "shape", "scale s", "gain nats/gap", "KS"]);
            let named = [
                ("gamma", &fits.gamma),
                ("exponential", &fits.exponential),
                ("weibull", &fits.weibull),
                ("lognormal", &fits.lognormal),
            ];
            for (name, fit) in named {
                let values = [fit.shape, fit.scale, fit.gain, fit.ks];
                let cells = values.iter().map(|value| format!("{value:.4}"));
                rows.add_row(std::iter::once(name.to_owned()).chain(cells));
            }
            text += &format!("{rows}\n");
        }
    }
    for warning in &figures.warnings {
        text += &format!("\nbeware: {warning}\n");
    }
    text
}

fn picture(stream: &Stream, figures: &Inspection) -> Result<String> {
    let arrivals = &stream.arrivals;
    let seconds: Vec<f64> = arrivals.iter().map(|a| a.arrival_ns as f64 / 1e9).collect();
    let gap_s: Vec<f64> = seconds.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let fits = figures.gaps.as_ref().and_then(|gaps| gaps.fits.as_ref());
    let gamma = fits.map(|fits| GammaFit {
        shape: fits.gamma.shape,
        scale_s: fits.gamma.scale,
    });
    Ok(inspection::render(&inspection::Inspection {
        name: figures.name.clone(),
        provenance: serde_json::to_value(&stream.provenance)?,
        arrival_s: seconds,
        gap_s,
        prompt_tokens: arrivals
            .iter()
            .map(|a| f64::from(a.prompt_tokens))
            .collect(),
        output_tokens: arrivals
            .iter()
            .map(|a| f64::from(a.output_tokens))
            .collect(),
        gamma,
        notes: figures.warnings.clone(),
    })?)
}
