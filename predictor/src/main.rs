//! The `elis-predictor` command.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
