//! The chores of the repository as one command: `cargo xtask --help`.

#![expect(clippy::print_stdout, reason = "what the chores say is for a terminal")]

mod bench;
mod cuda;
mod demo;
mod interpreted;
mod live;
mod models;
mod policies;
mod smith;
mod suite;
mod test;
mod traces;
mod workspace;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "The chores of the Elis repository"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what is missing, build, and compare the built-in policies on the industrial stream
    Demo(demo::Demo),
    /// Install what is missing and pass everything that must hold; CI calls this
    Test(test::Test),
    /// Build every policy under policies/ into a component in target/policies
    Policies,
    /// Build the policies in Python and JavaScript, where their tools can be had
    Interpreted,
    /// Bring the small real models into models/
    Models,
    /// Run the criterion benches and keep a dated result
    Bench,
    Cuda(cuda::Cuda),
    Smith(smith::Smith),
    /// Compare the built-in policies on every real trace and keep a dated result
    Traces(traces::Traces),
    /// Compare all policies on a suite of workloads and keep a dated result
    Suite(suite::Suite),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Demo(demo) => demo::run(&demo),
        Command::Test(options) => test::run(&options),
        Command::Policies => policies::run(),
        Command::Interpreted => interpreted::run(),
        Command::Models => models::run(),
        Command::Bench => bench::run(),
        Command::Cuda(options) => cuda::run(&options),
        Command::Smith(options) => smith::run(&options),
        Command::Traces(traces) => traces::run(&traces),
        Command::Suite(suite) => suite::run(&suite),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
