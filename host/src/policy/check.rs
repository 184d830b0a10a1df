//! `elis policy check`: loads a policy as the scheduler would and tries it on synthetic queues.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use elis_host::still::Still;
use elis_host::synthetic;
use elis_policy_runtime::{
    CONTRACT_VERSION, Decision, LoadedPolicy, Metering, Options, PolicyInstance, Runtime, resolve,
};
use elis_scheduler::plan::Plan;

use super::report::{Report, Trial};

/// Lengths of the queues, in jobs.
const SIZES: [usize; 4] = [64, 256, 1_000, 10_000];
/// Decisions timed for each length, after as many to warm up.
const REPEATS: usize = 51;
/// Longest median of a decision that is fit for live service: more would be felt in every
/// iteration.
const MEDIAN_LIMIT: Duration = Duration::from_millis(5);
/// Where a single decision is cut off; generous, since a busy machine is not the policy's fault.
const LIVE_BUDGET_MS: u32 = 1_000;

/// Options of the command.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of a policy (see `elis policy list`), or path of a .wasm file
    policy: String,
    /// Configuration of the policy, a TOML file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
#[expect(clippy::print_stdout, reason = "the output of the command")]
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let path = resolve::resolve(&args.policy)?;
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let config = match &args.config {
        Some(file) => std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?,
        None => String::new(),
    };
    let report = check(&path, &bytes, &config)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.text());
    }
    Ok(if report.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn load(bytes: &[u8], metering: Metering) -> anyhow::Result<LoadedPolicy> {
    let runtime = Runtime::new(Options {
        metering,
        ..Options::default()
    })?;
    Ok(runtime.load(bytes)?)
}

fn check(path: &Path, bytes: &[u8], config: &str) -> anyhow::Result<Report> {
    let metered = load(bytes, Options::default().metering)?;
    let live = load(
        bytes,
        Metering::Epoch {
            budget_ms: LIVE_BUDGET_MS,
        },
    )?;
    let mut report = Report {
        path: path.display().to_string(),
        contract: CONTRACT_VERSION,
        name: metered.info().name.clone(),
        version: metered.info().version.clone(),
        summary: metered.info().summary.clone(),
        kind: metered.kind().name(),
        size_bytes: metered.size_bytes(),
        sha256: metered.digest().to_owned(),
        compile_ms: metered.compile_time().as_secs_f64() * 1e3,
        imports: [],
        columns: metered
            .columns()
            .iter()
            .map(|column| column.name())
            .collect(),
        triggers: metered.trigger_names(),
        preemptive: metered.interest().preemptive,
        trials: Vec::new(),
        problems: Vec::new(),
    };
    for jobs in SIZES {
        let queue = synthetic::queue(jobs);
        match trial(&metered, &live, config, &queue, jobs)? {
            Ok(trial) => report.trials.push(trial),
            Err(problem) => report.problems.push(format!("{jobs} jobs: {problem}")),
        }
    }
    Ok(report)
}

/// Tries one queue; the inner error is what makes the policy unfit.
fn trial(
    metered: &LoadedPolicy,
    live: &LoadedPolicy,
    config: &str,
    queue: &Still,
    jobs: usize,
) -> anyhow::Result<Result<Trial, String>> {
    // A policy may keep state, so decisions are only comparable between fresh instances.
    let first = PolicyInstance::start(metered, config)?.decide(&queue.snapshot());
    let again = PolicyInstance::start(metered, config)?.decide(&queue.snapshot());
    let other =
        PolicyInstance::start(metered, config)?.decide(&synthetic::shuffled(queue).snapshot());
    let plan = match compare(&first, &again, &other) {
        Ok(plan) => plan,
        Err(problem) => return Ok(Err(problem)),
    };
    let strangers = queue.strangers(plan);
    if strangers > 0 {
        return Ok(Err(format!(
            "its plan names {strangers} jobs that do not exist or run twice"
        )));
    }
    Ok(median(live, config, queue)?.map(|median| Trial {
        jobs,
        fuel: first.fuel_used,
        median_us: median.as_secs_f64() * 1e6,
        run: plan.run.len(),
    }))
}

/// The plan, if all three decisions brought the same one.
fn compare<'a>(
    first: &'a Decision,
    again: &Decision,
    shuffled: &Decision,
) -> Result<&'a Plan, String> {
    for decision in [first, again, shuffled] {
        if let Err(exit) = decision.plan {
            let detail = decision.detail.as_deref().unwrap_or("no detail");
            return Err(format!("no plan: {} ({detail})", exit.name()));
        }
    }
    if first.plan != again.plan || first.fuel_used != again.fuel_used {
        return Err("the same queue twice gives two plans: it is not deterministic".to_owned());
    }
    if first.plan != shuffled.plan {
        return Err(
            "the plan depends on the order of the rows; break ties by arrival and id".to_owned(),
        );
    }
    first.plan.as_ref().map_err(|exit| exit.name().to_owned())
}

fn median(
    live: &LoadedPolicy,
    config: &str,
    queue: &Still,
) -> anyhow::Result<Result<Duration, String>> {
    let mut instance = PolicyInstance::start(live, config)?;
    let snapshot = queue.snapshot();
    let mut times = Vec::with_capacity(2 * REPEATS);
    for _ in 0..2 * REPEATS {
        let decision = instance.decide(&snapshot);
        if let Err(exit) = decision.plan {
            return Ok(Err(format!(
                "no plan within {LIVE_BUDGET_MS} ms: {}",
                exit.name()
            )));
        }
        times.push(decision.wall);
    }
    let timed = &mut times[REPEATS..];
    timed.sort_unstable();
    let median = timed[REPEATS / 2];
    Ok(if median <= MEDIAN_LIMIT {
        Ok(median)
    } else {
        Err(format!(
            "a decision takes {median:?}, which is more than {MEDIAN_LIMIT:?}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use elis_scheduler::plan::PolicyExit;

    use super::*;

    fn decision(run: &[u64], fuel_used: u64) -> Decision {
        Decision {
            plan: Ok(Plan {
                run: run.to_vec(),
                ..Plan::default()
            }),
            fuel_used,
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
            stalled: false,
            detail: None,
        }
    }

    #[test]
    fn only_three_equal_decisions_pass() {
        let good = decision(&[1, 2], 10);
        // Another order of rows may cost something else.
        assert!(compare(&good, &good, &decision(&[1, 2], 11)).is_ok());
        let text = compare(&good, &decision(&[2, 1], 10), &good).unwrap_err();
        assert!(text.contains("not deterministic"));
        let text = compare(&good, &good, &decision(&[2, 1], 10)).unwrap_err();
        assert!(text.contains("order of the rows"));
        let failed = Decision {
            plan: Err(PolicyExit::Trap),
            ..decision(&[], 0)
        };
        assert!(compare(&good, &good, &failed).unwrap_err().contains("trap"));
    }
}
