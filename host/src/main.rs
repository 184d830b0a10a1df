//! The `elis` command: serve a model, look after policies.

mod doctor;
mod model;
mod policy;
mod record;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "elis",
    version,
    about = "A scheduler for LLM serving whose policies are WebAssembly components",
    after_help = "Examples:\n  \
        elis serve --model models/smollm2-135m-instruct --policy isrtf\n  \
        elis policy list                 what can be given by name\n  \
        elis policy check isrtf          is it fit to run, and what does a decision cost\n  \
        elis policy check my.wasm --json the same of a file, for a script"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    /// Look at models
    #[command(subcommand)]
    Model(model::Command),
    Doctor(doctor::Doctor),
    Record(record::Record),
    /// Check policies and list them
    #[command(subcommand)]
    Policy(policy::Command),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(options) => serve::run(*options),
        Command::Model(command) => model::run(command),
        Command::Doctor(options) => doctor::run(&options),
        Command::Record(options) => record::run(&options),
        Command::Policy(command) => policy::run(command),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("elis: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
