//! The `elis` command: what an author or an operator does with policies.

mod policy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "elis",
    version,
    about = "A scheduler for LLM serving whose policies are WebAssembly components",
    after_help = "Examples:\n  \
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
    /// Check policies and list them
    #[command(subcommand)]
    Policy(policy::Command),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
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
