//! `elis-bench compare --suite`: all policies on a suite of workloads.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use clap::Args;
use elis_bench_harness::experiment::BOUND;
use elis_bench_harness::report::suite::{page, table};
use elis_bench_harness::report::table::TableOptions;
use elis_bench_harness::suite::{self, Choice, Part, Suite, SuiteDocument};

use super::compare::Compare;
use super::options::runtime;
use super::output;

/// A suite, and what of it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Suite")]
pub(crate) struct SuiteArgs {
    /// Run a suite of workloads instead of one: siblings, or the path of a .toml file
    #[arg(
        long,
        value_name = "SUITE",
        conflicts_with_all = [
            "StreamArgs", "WorkerArgs", "baseline", "predictor", "loads", "slo_ttft_ms",
            "slo_tpot_ms", "slo_jct_ms", "no_bound",
        ]
    )]
    pub(crate) suite: Option<String>,
    /// Its small form, to see that everything runs
    #[arg(long, requires = "suite")]
    smoke: bool,
    /// Its part; policies are tuned on one and judged on the other, report by default
    #[arg(long, requires = "suite")]
    part: Option<Part>,
    /// Only this cell or group of cells; may be given again
    #[arg(long = "cell", requires = "suite", value_name = "CELL")]
    cells: Vec<String>,
    /// The folder of the real traces; cells whose trace is not there are left out and named
    #[arg(long, default_value = "../shared/data/traces", value_name = "DIR")]
    data: PathBuf,
}

/// Runs the suite that a command line of `compare` names.
pub(super) fn run(command: &Compare, name: &str) -> Result<ExitCode> {
    let suite = Suite::load(name)?;
    let args = &command.suite;
    let choice = Choice {
        part: args.part,
        cells: args.cells.clone(),
        smoke: args.smoke,
        seeds: command
            .seeds
            .map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
        data: args.data.clone(),
    };
    let plan = suite::plan(&suite, &choice)?;
    for left in &plan.left_out {
        eprintln!("elis-bench: {} is left out: {}", left.what, left.reason);
    }
    let field = suite::field(&runtime()?, &suite, &command.policies)?;
    let bar = output::bar("simulating", "runs");
    let runs = field.runs(&plan);
    bar.set_length(runs);
    let tell = |done: u64| {
        // Without a terminal there is no bar; a log still wants to know how far it is.
        if bar.is_hidden() && done * 10 / runs > (done - 1) * 10 / runs {
            eprintln!("elis-bench: {done} of {runs} runs done");
        }
    };
    let done = AtomicU64::new(0);
    let progress = || {
        bar.inc(1);
        tell(done.fetch_add(1, Ordering::Relaxed) + 1);
    };
    let document = suite::run(&suite, &plan, &field, output::generated(), &progress)?;
    bar.finish_and_clear();
    publish(command, &document)?;
    Ok(exit_code(command, &document))
}

fn publish(command: &Compare, document: &SuiteDocument) -> Result<()> {
    let json = command.json.as_deref();
    let to_stdout = json.is_some_and(|path| path.as_os_str() == "-");
    if !to_stdout {
        output::print(&table::render(document, TableOptions::detect()))?;
    }
    if let Some(folder) = &command.out {
        let html = folder.join("suite.html");
        output::write(&html, &page::render(document)?)?;
        output::write(&folder.join("suite.json"), &document.to_json()?)?;
        if !to_stdout {
            output::print(&format!("report: {}", output::shown(&html).display()))?;
        }
    }
    if let Some(path) = json {
        output::write_or_print(path, &document.to_json()?)?;
    }
    Ok(())
}

/// 3 where requests were lost, 4 where a gate did not hold.
fn exit_code(command: &Compare, document: &SuiteDocument) -> ExitCode {
    let lost = document.lost_requests();
    if lost > 0 {
        eprintln!("elis-bench: {lost} requests were neither completed nor refused");
        return ExitCode::from(3);
    }
    if !command.gate {
        return ExitCode::SUCCESS;
    }
    // The baselines are judged only where somebody asks for it.
    let judged = |policy: &str| {
        let named = command.policies.iter().any(|given| given == policy);
        named || (policy != BOUND && !document.baselines.iter().any(|b| b == policy))
    };
    let losses = document.losses().into_iter().filter(|loss| judged(loss.0));
    let losses: Vec<String> = losses
        .map(|(policy, cell)| format!("{policy} on {cell}"))
        .collect();
    if losses.is_empty() {
        return ExitCode::SUCCESS;
    }
    let first = document
        .baselines
        .first()
        .map_or("the baseline", String::as_str);
    eprintln!(
        "elis-bench: significantly worse than {first}: {}",
        losses.join(", ")
    );
    ExitCode::from(4)
}
