//! The command line: one module for each subcommand.

mod collect;
mod corpus;
mod eval;
mod fine_tune;
mod hold_out;
mod predict;
mod train;
mod train_probe;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Predict how long responses will be: collect responses, train on them, judge, predict.
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
    /// Fit the layers of an encoder to lengths, for `train` to read embeddings that know of them.
    FineTune(fine_tune::Tune),
    /// Train a predictor on responses of known length.
    Train(train::Train),
    /// Train a probe on hidden states of the served model.
    TrainProbe(train_probe::TrainProbe),
    /// Judge a predictor on prompts that it was not trained on, beside simpler ways.
    Eval(eval::Eval),
    /// Write the responses that `train` holds back, as a workload that it has not seen.
    HoldOut(hold_out::HoldOut),
    /// Predict the lengths of responses to the prompts on standard input.
    Predict(predict::Predict),
}

/// Runs the command. Exit codes: 0 done, 1 an error, 2 a wrong command line, 3 some requests
/// failed, 130 interrupted.
pub(crate) fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Collect(command) => command.run(),
        Command::FineTune(command) => command.run(),
        Command::Train(command) => command.run(),
        Command::TrainProbe(command) => command.run(),
        Command::Eval(command) => command.run(),
        Command::HoldOut(command) => command.run(),
        Command::Predict(command) => command.run(),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("elis-predictor: {error:#}");
            ExitCode::FAILURE
        }
    }
}
