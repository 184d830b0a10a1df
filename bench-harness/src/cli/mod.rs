//! The command line: one module for each subcommand.

mod compare;
mod inspect;
mod load;
mod options;
mod output;
mod paper;
mod replay;
mod suite;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Compare scheduling policies for LLM serving on real request streams, simulated or measured.
#[derive(Debug, Parser)]
#[command(name = "elis-bench", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Replay a request stream under several policies and report which won, and how surely.
    Compare(compare::Compare),
    Replay(Box<replay::Replay>),
    /// Send a request stream to a real server and measure what its users see.
    Load(load::Load),
    /// Look at request streams.
    #[command(subcommand)]
    Workload(inspect::Workload),
    /// Look at modelled workers, or fit one to measurements.
    #[command(subcommand)]
    Worker(worker::Worker),
    /// Run the set-ups of the ELIS paper's Table 5 and Figure 6 beside its figures.
    Paper(paper::Paper),
}

/// Runs the command. Exit codes: 0 done, 1 an error, 2 a wrong command line, 3 requests were lost,
/// 4 a gate did not hold, 130 stopped by a signal.
pub(crate) fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Compare(command) => command.run(),
        Command::Replay(command) => command.run(),
        Command::Load(command) => command.run(),
        Command::Workload(command) => command.run(),
        Command::Worker(command) => command.run(),
        Command::Paper(command) => command.run(),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("elis-bench: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes, but for those that the text before already says.
fn explain(error: &anyhow::Error) -> String {
    error
        .chain()
        .map(ToString::to_string)
        .fold(String::new(), |told, cause| {
            if told.contains(&cause) {
                told
            } else if told.is_empty() {
                cause
            } else {
                format!("{told}: {cause}")
            }
        })
}
