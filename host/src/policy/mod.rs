//! `elis policy`: is a policy fit to run, which ones are there, and which one decides.

mod check;
mod list;
mod remote;
mod report;

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
    /// List the policies that can be given by name, or with --to those of a running server
    #[command(after_help = "Examples:\n  \
        elis policy list\n  \
        elis policy list --to http://127.0.0.1:8081")]
    List(list::Args),
    /// Send a policy to a running server, which checks and keeps it
    ///
    /// The exit code is 0 if all checks passed. A policy that fails to start without a
    /// configuration is kept, since it may get one when it is promoted.
    #[command(after_help = "Examples:\n  \
        elis policy push mine.wasm --to http://127.0.0.1:8081\n  \
        elis policy push isrtf                 one that is here, by its name\n  \
        minisign -Sm mine.wasm && elis policy push mine.wasm")]
    Push(remote::Push),
    /// Show a policy of a running server: its role, its counts, its last fault
    Show(remote::One),
    /// Let a policy decide beside the live one; nobody runs its plans
    #[command(after_help = "Examples:\n  \
        elis policy shadow 3f2a91 --config aged.toml --share 0.05\n  \
        elis policy show 3f2a91                what came of it so far\n  \
        elis policy shadow                     end it")]
    Shadow(remote::Shadow),
    /// Let a policy decide for a share of the workers, under a guard that takes it back by itself
    ///
    /// The server needs two workers or more (`elis serve --workers`). The rest goes on under the
    /// live policy, to compare with. Without a digest: how the canary stands.
    #[command(after_help = "Examples:\n  \
        elis policy canary 3f2a91 --share 0.25 --max-p99-ttft-ms 800 --for 5m --promote\n  \
        elis policy canary 3f2a91 --max-error-rate 0 --max-faults 3\n  \
        elis policy canary                     how it stands, against the rest\n  \
        elis policy canary --end               the live policy decides everywhere\n  \
        elis policy canary --promote-now")]
    Canary(remote::Canary),
    /// Make a policy the live one, between two decisions
    ///
    /// If anything goes wrong, up to and with its first decision, the policy before stays live.
    #[command(after_help = "Examples:\n  \
        elis policy promote 3f2a91 --config aged.toml\n  \
        elis policy promote 3f2a91 --epoch 7   only if nothing has changed since epoch 7")]
    Promote(remote::Promote),
    /// Go back to the policy that was live before
    Rollback(remote::Rollback),
    /// Have a server let go of a policy that is not in use
    Remove(remote::One),
    /// Watch a server decide: a line each second, and one for each change
    #[command(after_help = "Examples:\n  \
        elis policy watch --to http://127.0.0.1:8081\n  \
        elis policy watch --every 5 --lines 12 --json | jq .policies.counts")]
    Watch(remote::Watch),
}

/// Runs the command.
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check(args) => check::run(&args),
        Command::List(args) => list::run(&args),
        Command::Push(args) => remote::push(&args),
        Command::Show(args) => remote::show(&args),
        Command::Shadow(args) => remote::shadow(&args),
        Command::Canary(args) => remote::canary(&args),
        Command::Promote(args) => remote::promote(&args),
        Command::Rollback(args) => remote::rollback(&args),
        Command::Remove(args) => remote::remove(&args),
        Command::Watch(args) => remote::watch(&args),
    }
}
