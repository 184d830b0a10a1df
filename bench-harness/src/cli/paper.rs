//! `elis-bench paper`: the paper's set-ups, simulated, beside its figures.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use elis_bench_harness::experiment::Contestant;
use elis_bench_harness::paper::{self, Cell, FIGURE_6, MULTIPLES, Policies, TABLE_5};
use serde_json::json;

use super::options::runtime;
use super::output;

/// How far our figures can be compared with the paper's.
const CAVEAT: &str = "\
Ours are simulated; the paper's were measured on vLLM 0.5.0 and A100s. What it does not publish is
ours: the prompts (lengths with the shape of Vicuna-13B's answers on LMSYS, scaled to the latency
of its Table 4), the predictor (its per-step error profile as Gaussian noise), the number of GPUs
(one).
Look at the order of the policies and the size of the gains, not at the seconds: the paper's FCFS
waits 1.7 to 8.6 times as long as ours at the same rate, so its engine served far less than a
model of the same GPU does. With errors of the size that the paper reports, ISRTF gains nearly what
an oracle gains in our simulation; the paper measured 7 % of 66 %. Either its predictor was worse in
service than in its Figure 2(b), or something other than the order held its ISRTF back.
Its 'improvement' is FCFS / ISRTF - 1, not a reduction; the reductions stand beside it.";

/// Run the set-ups of the paper's Table 5 and Figure 6.
#[derive(Debug, Args)]
#[command(after_help = "\
Five models, batch sizes 1, 2 and 4, 1, 3 and 5 times the request rate, 200 prompts, both iteration
boundaries; FCFS, ISRTF with the paper's error profile, SJF with an oracle.
Example:
  elis-bench paper --out results/paper.md --json results/paper.json")]
pub(crate) struct Paper {
    /// Repetitions; the paper has 3
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Write the tables to a file as well
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// Write everything as JSON to a path, or to standard output for -
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
}

impl Paper {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let runtime = runtime()?;
        let sjf = Contestant::load(&runtime, "sjf")?;
        let policies = Policies {
            fcfs: Contestant::load(&runtime, "fcfs")?,
            isrtf: Contestant::load(&runtime, "isrtf")?,
            sjf: Contestant {
                predictor: Some("oracle".into()),
                ..sjf
            },
        };
        let bar = output::bar("simulating", "runs");
        bar.set_length(2 * FIGURE_6.len() as u64 * TABLE_5.len() as u64);
        let cells = paper::run(&policies, self.seeds.max(1), &|| bar.inc(1))?;
        bar.finish_and_clear();
        let text = format!("{}\n{}\n{CAVEAT}", table_5(&cells), figure_6(&cells));
        if self
            .json
            .as_ref()
            .is_none_or(|path| path.as_os_str() != "-")
        {
            output::print(&text)?;
        }
        if let Some(path) = &self.out {
            let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
            output::write(
                path,
                &format!("`elis-bench {command}`\n\n```text\n{text}\n```\n"),
            )?;
        }
        if let Some(path) = &self.json {
            let document = json!({
                "schema": "elis-paper/1",
                "simulated": true,
                "generated": output::generated(),
                "published_table_5": TABLE_5,
                "published_figure_6_percent": FIGURE_6,
                "cells": cells,
                "caveat": CAVEAT,
            });
            output::write_or_print(path, &serde_json::to_string_pretty(&document)?)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn reduction(policy_s: f64, fcfs_s: f64) -> String {
    format!("{:+.1} %", (1.0 - policy_s / fcfs_s) * 100.0)
}

/// Mean JCT in seconds at batch 4, ours at both boundaries beside the paper's.
fn table_5(cells: &[Cell]) -> String {
    let mut table = output::table(&[
        "batch 4, mean JCT s",
        "rate",
        "FCFS",
        "ISRTF",
        "SJF",
        "ISRTF less",
        "SJF less",
    ]);
    let mut sums = [[0.0; 3]; 3];
    for row in TABLE_5 {
        let at = |boundary| {
            let same = |cell: &&Cell| {
                (cell.model, cell.batch, cell.boundary) == (row.model, 4, boundary)
                    && cell.multiple == row.multiple
            };
            cells
                .iter()
                .find(same)
                .map(|cell| [cell.fcfs_s, cell.isrtf_s, cell.sjf_s])
        };
        let lines = [
            (
                format!("{} paper", row.model),
                Some([row.fcfs_s, row.isrtf_s, row.sjf_s]),
            ),
            ("  simulated, batch".into(), at("batch")),
            ("  simulated, slot".into(), at("slot")),
        ];
        for (i, (name, jct_s)) in lines.into_iter().enumerate() {
            let Some(jct_s) = jct_s else { continue };
            let rate = if i == 0 {
                format!("{:.1}x", row.multiple)
            } else {
                String::new()
            };
            table.add_row(cells_of(name, rate, jct_s));
            (0..3).for_each(|j| sums[i][j] += jct_s[j]);
        }
    }
    for (name, sum) in ["all 15 paper", "  simulated, batch", "  simulated, slot"]
        .iter()
        .zip(sums)
    {
        table.add_row(cells_of((*name).to_owned(), "sum".into(), sum));
    }
    format!("Table 5 of the paper and its simulation\n{table}\n")
}

fn cells_of(name: String, rate: String, [fcfs, isrtf, sjf]: [f64; 3]) -> Vec<String> {
    let seconds = |s: f64| format!("{s:.2}");
    let (less_isrtf, less_sjf) = (reduction(isrtf, fcfs), reduction(sjf, fcfs));
    vec![
        name,
        rate,
        seconds(fcfs),
        seconds(isrtf),
        seconds(sjf),
        less_isrtf,
        less_sjf,
    ]
}

/// FCFS / ISRTF - 1 averaged over the models, by batch size and rate.
fn figure_6(cells: &[Cell]) -> String {
    let mut table = output::table(&[
        "mean over models of FCFS / ISRTF - 1",
        "1.0x",
        "3.0x",
        "5.0x",
    ]);
    for (batch, percent) in FIGURE_6 {
        let paper = percent.map(|value| format!("{value:+.2} %"));
        table.add_row(std::iter::once(format!("batch {batch} paper")).chain(paper));
        for boundary in ["batch", "slot"] {
            let mean = MULTIPLES.map(|multiple| {
                let chosen: Vec<f64> = cells
                    .iter()
                    .filter(|cell| (cell.batch, cell.boundary) == (batch, boundary))
                    .filter(|cell| cell.multiple == multiple)
                    .map(Cell::speedup_minus_one_percent)
                    .collect();
                format!(
                    "{:+.2} %",
                    chosen.iter().sum::<f64>() / chosen.len().max(1) as f64
                )
            });
            table.add_row(std::iter::once(format!("  simulated, {boundary}")).chain(mean));
        }
    }
    format!("Figure 6 of the paper and its simulation\n{table}\n")
}
