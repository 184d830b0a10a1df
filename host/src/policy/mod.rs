//! `elis policy`: is a policy fit to run, and which ones are there.

mod check;
mod list;
mod report;
mod synthetic;

use std::process::ExitCode;

use clap::Subcommand;

/// What to do with policies.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Load a policy as the scheduler would and try it on synthetic queues
    ///
    /// The verdict is the exit code: 0 fit to run, 1 not. A policy is fit if it follows the
    /// contract, imports nothing, answers every queue within its budget, names only jobs that
    /// exist, and decides the same whenever the same jobs are there, in whatever order.
    #[command(after_help = "Examples:\n  \
        elis policy check isrtf\n  \
        elis policy check target/policies/isrtf.wasm --config aged.toml\n  \
        elis policy check target/wasm/wasm32-unknown-unknown/policy/my_policy.wasm --json")]
    Check(check::Args),
    /// List the policies that can be given by name
    List(list::Args),
}

/// Runs the command.
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check(args) => check::run(&args),
        Command::List(args) => list::run(&args),
    }
}
