//! `elis-bench replay`: a recorded log, again and under other policies.

use std::fmt::Write as _;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use elis_bench_harness::experiment::Contestant;
use elis_bench_harness::metrics::MetricOptions;
use elis_bench_harness::replay::{AtHand, Divergence, DivergenceWitness, PlanCheck, PlanVerdict};
use elis_bench_harness::report::table::{self, TableOptions};
use elis_bench_harness::report::text::tame;
use elis_bench_harness::report::{Document, Inputs, assemble, csv, page};
use elis_record::{Ending, Replay as LogReplay, ReplayError, Replayed, Witness};
use elis_sim::Profile;
use elis_sim::hindsight::{Calibration, Counterfactual, Observed, Observer, Outcome, Refit, refit};
use elis_sim::outcome::RunOutcome;
use serde_json::json;

use super::options::runtime;
use super::output;

/// Replay a recorded log: does it reproduce, and what would another policy have done?
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  elis record --out run.elog --for 10m                       of a running elis serve
  elis-bench replay run.elog                                 what is in it
  elis-bench replay run.elog --verify                        it reproduces bit for bit, or where not
  elis-bench replay run.elog --policy mine.wasm              decisions and completion times instead
  elis-bench replay run.elog --policy isrtf@aged.toml --predictor elis-paper --out results/

Every replay compares the digests of the log: steps, snapshots and outputs of the core are those of
the recorded run. --verify also asks the recorded policies again, where they are at hand. Under
--policy divergence is counted on the recorded snapshots; completion times are simulated, on a
worker fitted to the recorded iterations, and the report says how far that is from the recorded run.

Exit codes: 0 done, also where a log was cut off; 1 damaged, or it does not reproduce; 2 usage.")]
pub(crate) struct Replay {
    /// The log
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// Ask the recorded policies again and expect the recorded plans
    #[arg(long)]
    verify: bool,
    /// Another policy by name or path, with @CONFIG.toml behind it; may be given again
    #[arg(long = "policy", value_name = "POLICY")]
    policies: Vec<String>,
    /// A recorded policy that has no name here: its file; may be given again
    #[arg(long = "with", value_name = "PATH")]
    with: Vec<String>,
    /// Length predictor of the simulation, instead of the recorded predictions
    #[arg(long, value_name = "PREDICTOR", requires = "policies")]
    predictor: Option<String>,
    /// A worker's pace for the simulation, instead of a fit to the recorded iterations
    #[arg(long, value_name = "PROFILE", requires = "policies")]
    worker: Option<String>,
    /// Folder for report.html, report.json and requests.csv
    #[arg(long, value_name = "DIR", requires = "policies")]
    out: Option<PathBuf>,
    /// Write the comparison as one JSON document to a path, or to standard output for -
    #[arg(long, value_name = "PATH", requires = "policies")]
    json: Option<PathBuf>,
}

impl Replay {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let runtime = runtime()?;
        let asks = self.verify || !self.policies.is_empty();
        let at_hand = if asks {
            AtHand::gather(&runtime, &self.with)?
        } else {
            AtHand::default()
        };
        let others = self.policies.iter();
        let others = others.map(|given| Contestant::load(&runtime, given));
        let mut others = others.collect::<Result<Vec<_>, _>>()?;
        for (other, given) in others.iter_mut().zip(&self.policies) {
            // Beside a recorded policy of the same name it needs one of its own.
            other.name = format!("{} (replayed)", shorten(given));
        }
        let mut observer = Observer::default();
        let mut plans = PlanCheck::new(&at_hand);
        let mut divergences = Vec::new();
        for other in &others {
            let slot = other.policy.start(&other.config)?;
            divergences.push(DivergenceWitness::new(&other.name, slot));
        }
        let mut witnesses: Vec<&mut dyn Witness> = vec![&mut observer];
        if self.verify {
            witnesses.push(&mut plans);
        }
        witnesses.extend(divergences.iter_mut().map(|one| one as &mut dyn Witness));
        let (replayed, result, observed) = {
            let mut replay = open(&self.log)?;
            let result = replay.run(&mut witnesses);
            drop(witnesses);
            let observed = observer.finish(replay.scheduler());
            (replay.replayed(), result, observed)
        };
        let verdicts = plans.verdicts();
        let mut told = summary(&self.log, &replayed, &observed);
        told += &verdict(&replayed, result.as_ref().err(), &verdicts);
        let to_stdout = self.json.as_deref() == Some(Path::new("-"));
        if to_stdout {
            eprint!("{told}");
        } else {
            output::print(told.trim_end())?;
        }
        if let Err(error) = result {
            return Err(error).with_context(|| self.log.display().to_string());
        }
        if verdicts.iter().any(|verdict| verdict.different > 0) {
            bail!("a recorded policy does not give the recorded plans");
        }
        if !others.is_empty() {
            let divergences: Vec<_> = divergences.into_iter().map(|one| one.finish()).collect();
            self.compare(&at_hand, &others, &observed, &divergences)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Simulates the log's requests under the recorded policy and the others.
    fn compare(
        &self,
        at_hand: &AtHand,
        others: &[Contestant],
        observed: &Observed,
        divergences: &[Divergence],
    ) -> Result<()> {
        let recorded = observed.main_policy().context("the log names no policy")?;
        let loaded = at_hand.get(&recorded.digest).with_context(|| {
            let digest = recorded.digest.get(..12).unwrap_or(&recorded.digest);
            let name = tame(&recorded.name, 40);
            format!(
                "the recorded policy {name} ({digest}) is not at hand: give it with --with PATH"
            )
        })?;
        let baseline = Contestant {
            name: recorded.name.clone(),
            policy: loaded.clone(),
            config: recorded.config.clone(),
            predictor: None,
            window_tokens: None,
        };
        let given = self.worker.as_deref().map(Profile::resolve).transpose()?;
        let refit = refit(observed, given.as_ref())?;
        let counterfactual = Counterfactual::new(observed, &refit)?;
        let mut runs = Vec::new();
        for contestant in std::iter::once(&baseline).chain(others) {
            runs.push(vec![self.simulate(&counterfactual, contestant)?]);
        }
        let calibration = counterfactual.calibrate(&runs[0][0]);
        let document = self.document(observed, &refit, &calibration, divergences, &runs)?;
        self.publish(&document, &runs)
    }

    fn simulate(&self, log: &Counterfactual, contestant: &Contestant) -> Result<RunOutcome> {
        let mut slot = contestant.policy.start(&contestant.config)?;
        let given = self.predictor.as_deref();
        let given = given.map(|name| elis_predictor::parse(name, log.seed()));
        let mut predictor = given.transpose()?;
        let run = match &mut predictor {
            Some(predictor) => log.run(&mut slot, Some(predictor.as_mut())),
            None => log.run(&mut slot, None),
        };
        let mut run = run.with_context(|| format!("policy {}", contestant.name))?;
        run.policy.clone_from(&contestant.name);
        run.digest = contestant.policy.digest().to_owned();
        Ok(run)
    }

    fn document(
        &self,
        observed: &Observed,
        refit: &Refit,
        calibration: &Calibration,
        divergences: &[Divergence],
        runs: &[Vec<RunOutcome>],
    ) -> Result<Document> {
        let mut notes = vec![calibrated(refit, calibration)];
        notes.extend(divergences.iter().map(diverged));
        notes.extend(left_out(observed));
        let workers = observed.config.as_ref().map_or(1, |c| c.workers.len());
        Ok(assemble(Inputs {
            generated: output::generated(),
            workload: json!({
                "name": format!("recorded: {}", self.log.display()),
                "requests": observed.jobs.len(),
                "seconds": (observed.to - observed.from).as_ns() as f64 / 1e9,
                "divergence": divergences,
            }),
            worker: json!({
                "profile": refit.profile,
                "workers": workers,
                "fitted_steps": refit.steps,
                "fit_mape": refit.mape,
                "calibration": calibration,
                "calibration_error": calibration.error(),
            }),
            predictor: self.predictor.clone().unwrap_or_else(|| "recorded".into()),
            runs,
            baseline: &runs[0][0].policy,
            metrics: MetricOptions {
                workers: workers as u32,
                ..MetricOptions::default()
            },
            notes,
            ..Inputs::default()
        })?)
    }

    fn publish(&self, document: &Document, runs: &[Vec<RunOutcome>]) -> Result<()> {
        let to_stdout = self.json.as_deref() == Some(Path::new("-"));
        if !to_stdout {
            output::print(&table::render(document, TableOptions::detect()))?;
        }
        if let Some(folder) = &self.out {
            let html = folder.join("report.html");
            output::write(&html, &page::render(document)?)?;
            output::write(&folder.join("report.json"), &document.to_json()?)?;
            let rows = output::create(&folder.join("requests.csv"))?;
            csv::write_requests(rows, runs.iter().flatten())?;
            if !to_stdout {
                output::print(&format!("report: {}", output::shown(&html).display()))?;
            }
        }
        match &self.json {
            Some(path) => output::write_or_print(path, &document.to_json()?),
            None => Ok(()),
        }
    }
}

fn open(path: &Path) -> Result<LogReplay<BufReader<File>>> {
    let at = || path.display().to_string();
    let file = File::open(path).with_context(at)?;
    LogReplay::open(BufReader::new(file)).with_context(at)
}

/// The last part of a path.
fn shorten(given: &str) -> &str {
    let (name, _) = given.split_once('@').unwrap_or((given, ""));
    let stem = Path::new(name).file_stem().and_then(|stem| stem.to_str());
    stem.unwrap_or(given)
}

/// What is in the log.
fn summary(path: &Path, replayed: &Replayed, observed: &Observed) -> String {
    let start = &replayed.start;
    let seconds = (replayed.to - replayed.from).as_ns() as f64 / 1e9;
    let mut text = format!(
        "{}: {} bytes, {seconds:.1} s of {}, recorded by {}\n",
        path.display(),
        replayed.bytes,
        tame(&start.origin, 80),
        tame(&start.build, 40),
    );
    let _ = writeln!(
        text,
        "  {} inputs in {} run(s), {} requests, {} decisions that show {} jobs",
        replayed.inputs,
        replayed.segments,
        observed.jobs.len(),
        replayed.decisions,
        replayed.jobs_shown,
    );
    if replayed.jobs_shown > 0 {
        let each = replayed.bytes as f64 / replayed.jobs_shown as f64;
        let _ = writeln!(text, "  {each:.2} bytes per job per decision");
    }
    for (policy, decisions) in &observed.policies {
        let digest = policy.digest.get(..12).unwrap_or(&policy.digest);
        let name = tame(&policy.name, 40);
        let _ = writeln!(text, "  policy {name} ({digest}): {decisions} decisions");
    }
    text
}

/// Whether it reproduces, and how far.
fn verdict(replayed: &Replayed, error: Option<&ReplayError>, plans: &[PlanVerdict]) -> String {
    let mut text = String::new();
    let said = match error {
        None => "the core reproduces, bit for bit",
        Some(ReplayError::Diverged { .. }) => "then the core does something else",
        Some(_) => "the core reproduces up to the damage",
    };
    let _ = writeln!(
        text,
        "  {} digests equal, {} inputs proven: {said}",
        replayed.checks, replayed.proven_inputs
    );
    if replayed.lost_inputs > 0 {
        let _ = writeln!(
            text,
            "  {} inputs are missing, where the writer could not keep up; each run is proven by \
             itself",
            replayed.lost_inputs
        );
    }
    match replayed.ending {
        Some(Ending::Complete) => text += "  the log is complete\n",
        Some(Ending::Cut { offset, lost_bytes }) => {
            let _ = writeln!(
                text,
                "  the log was cut off: {offset} bytes can be read, {lost_bytes} bytes after them \
                 are of an unfinished frame; of a server that was killed the last 250 ms may be \
                 missing"
            );
        }
        None => {}
    }
    for plan in plans {
        text += &planned(plan);
    }
    text
}

fn planned(plan: &PlanVerdict) -> String {
    let digest = plan.policy.digest.get(..12).unwrap_or_default();
    let mut text = format!("  policy {} ({digest}): ", tame(&plan.policy.name, 40));
    match &plan.not_asked {
        Some(why) => text += why,
        None => {
            let all = plan.equal + plan.different;
            let _ = write!(text, "{} of {all} plans equal", plan.equal);
        }
    }
    if plan.failed > 0 {
        let _ = write!(text, ", {} decisions had failed", plan.failed);
    }
    if let Some(revision) = plan.first_different {
        let _ = write!(text, ", the first that differs is revision {revision}");
        if !plan.fresh {
            text += "; what it remembered when the recording began is not known";
        }
    }
    text + "\n"
}

fn calibrated(refit: &Refit, calibration: &Calibration) -> String {
    let fit = match refit.mape {
        Some(mape) => format!(
            "worker fitted to {} recorded steps, {:.1} % off on average",
            refit.steps,
            mape * 100.0
        ),
        None => "worker as given".to_owned(),
    };
    format!(
        "simulated, calibrated on the record: the recorded policy had a mean JCT of {:.3} s, \
         simulated it is {:.3} s ({:+.1} %) over {} requests; {fit}",
        calibration.recorded_jct_ms / 1e3,
        calibration.simulated_jct_ms / 1e3,
        calibration.error() * 100.0,
        calibration.requests,
    )
}

fn diverged(divergence: &Divergence) -> String {
    let share = divergence.other_jobs_share();
    let share = share.map_or_else(
        || "no".to_owned(),
        |share| format!("{:.1} % of", share * 100.0),
    );
    let tau = divergence.tau_mean;
    let tau = tau.map_or_else(|| "not defined".to_owned(), |tau| format!("{tau:.3}"));
    format!(
        "on the recorded snapshots {} chooses other jobs in {share} {} decisions; Kendall's tau of \
         the order {tau} (mean of {}); {} decisions were not answered by both",
        divergence.policy, divergence.compared, divergence.tau_decisions, divergence.unanswered,
    )
}

/// What of the log is not in the figures.
fn left_out(observed: &Observed) -> Option<String> {
    let carried = observed.jobs.values();
    let carried = carried.filter(|job| job.carried_tokens.is_some()).count();
    let (open, cancelled, refused) = (
        observed.count(Outcome::Open),
        observed.count(Outcome::Cancelled),
        observed.count(Outcome::Refused),
    );
    (carried + open + cancelled + refused > 0).then(|| {
        format!(
            "figures are over requests that arrived and finished within the log; {carried} were \
             there before, {open} were not finished, {cancelled} left and are simulated as long as \
             they came, {refused} were refused and are left out"
        )
    })
}
