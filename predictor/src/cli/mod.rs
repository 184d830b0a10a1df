//! The command line: one module for each subcommand.

mod collect;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Collect what predictors of response lengths learn from.
#[derive(Debug, Parser)]
#[command(name = "elis-predictor", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask a live OpenAI-compatible server for responses and keep them, with their lengths.
    Collect(collect::Collect),
}

/// Runs the command. Exit codes: 0 done, 1 an error, 2 a wrong command line, 3 some requests
/// failed, 130 interrupted.
pub(crate) fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Collect(command) => command.run(),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("elis-predictor: {error:#}");
            ExitCode::FAILURE
        }
    }
}
