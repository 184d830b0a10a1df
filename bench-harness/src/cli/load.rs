//! `elis-bench load`: a request stream on a real server.

mod args;
mod report;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use elis_bench_harness::load::{
    Client, CommandSwitch, Engine, HttpSwitch, Idle, Length, Pace, PolicySwitch, RequestMaker,
    Session, Stop, Stream, Target,
};

use super::options::StreamArgs;
use args::{ComparisonArgs, PaceArgs, ReportArgs, RequestArgs, ServerArgs};
use report::Setting;
use watch::Watch;

/// The most tokens of a response that ends by itself, where nothing else is said.
const NATURAL_TOKENS: u32 = 1024;

/// Send a request stream to a server and measure what its users see.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  elis-bench load --url http://127.0.0.1:8080 --rate 2 --requests 200 --out results/
  elis-bench load --url http://127.0.0.1:8000 --workload azure:trace.csv --speedup 4 --api chat
  elis-bench load --url http://127.0.0.1:8080 --concurrency 8 --requests 100 --json -
  elis-bench load --url http://127.0.0.1:8080 --ramp 1:10:60s,10:10:30s
  elis-bench load --url http://127.0.0.1:8080 --compare fcfs,sjf,isrtf --seeds 5 --out results/
  elis-bench load --url http://127.0.0.1:8000 --compare a,b --switch-command './restart.sh {policy}'

Latencies count from the intended start of a request, also where it was sent late. Requests are not
sent again: each error is a record and is counted by its kind. The first Ctrl-C sends no more and
waits for what is under way, the second does not; what was measured is reported.

Exit codes: 0 done, 1 error, 2 usage, 3 too many requests failed (--allow-errors), 4 a policy was
significantly worse (--gate) or too few met the objectives (--min-goodput), 130 interrupted.
All figures are measured.")]
pub(crate) struct Load {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    stream: StreamArgs,
    #[command(flatten)]
    pace: PaceArgs,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    comparison: ComparisonArgs,
    #[command(flatten)]
    report: ReportArgs,
}

impl Load {
    pub(crate) fn run(self) -> Result<ExitCode> {
        self.check()?;
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?
            .block_on(self.measure())
    }

    fn check(&self) -> Result<()> {
        let seconds = [
            ("--timeout", self.server.timeout_s, 0.001),
            ("--settle", self.comparison.settle_s, 0.0),
            ("--idle-timeout", self.comparison.idle_timeout_s, 0.0),
        ];
        for (name, value, least) in seconds {
            ensure!(
                (least..=1e6).contains(&value),
                "{name} must lie between {least} and 1000000 seconds"
            );
        }
        let shares = [
            ("--allow-errors", Some(self.report.allow_errors)),
            ("--min-goodput", self.report.min_goodput),
        ];
        for (name, share) in shares {
            ensure!(
                share.is_none_or(|share| (0.0..=1.0).contains(&share)),
                "{name} is a share from 0 to 1"
            );
        }
        let policies = self.policies();
        for (i, policy) in policies.iter().enumerate() {
            ensure!(
                !policies[..i].contains(policy),
                "--compare names '{policy}' twice"
            );
        }
        if let Some(baseline) = &self.comparison.baseline {
            ensure!(
                policies.contains(baseline),
                "--baseline {baseline} is not among the policies of --compare"
            );
        }
        Ok(())
    }

    async fn measure(self) -> Result<ExitCode> {
        let streams = self.streams()?;
        let client = Client::new(Target {
            url: self.server.url.clone(),
            api_key: self.server.api_key.clone(),
            timeout: Duration::from_secs_f64(self.server.timeout_s),
        })?;
        let switch = self.switch(&client);
        // A command may be what starts the server.
        if let (Some(switch), Some(_)) = (&switch, &self.comparison.switch_command) {
            switch.switch(&self.comparison.compare[0]).await?;
        }
        let model = match &self.server.model {
            Some(model) => model.clone(),
            None => client.first_model().await?,
        };
        let engine = self.engine(client.clone(), model, &streams);
        let idle = self.idle(&client);
        tokio::spawn(listen(engine.stop.clone()));
        let session = Session {
            engine: &engine,
            switch: switch.as_deref(),
            idle: &idle,
            policies: self.policies(),
            streams,
            warm_up: self.request.warm_up as usize,
        };
        let runs = session.policies.len() * session.streams.len();
        let mut watch = Watch::new(runs)?;
        let measured = session.run(&mut |event| watch.event(&event)).await;
        watch.finish();
        let setting = Setting {
            load: &self,
            session: &session,
            measured: &measured,
        };
        if measured.runs.is_empty() {
            return match measured.ended_by {
                Some(error) => Err(error.into()),
                None => {
                    eprintln!("elis-bench: stopped before anything was sent");
                    Ok(ExitCode::from(130))
                }
            };
        }
        let document = setting.document()?;
        setting.publish(&document)?;
        setting.exit_code(&document)
    }

    /// One stream for each repetition, with the times at which its requests are to be sent.
    fn streams(&self) -> Result<Vec<Stream>> {
        let reference = self.stream.workload()?;
        let mut overrides = self.stream.overrides()?;
        if let Some(ramp) = &self.pace.ramp {
            overrides.rate_rps = Some(1.0);
            overrides.take = overrides.take.or_else(|| Some(ramp.requests()));
        }
        if self.pace.concurrency.is_some() {
            // Users wait for answers and not for times, but lengths without times need a rate.
            overrides.rate_rps = Some(1.0);
        }
        let first = self.comparison.seed;
        let seeds = first..first.saturating_add(self.comparison.seeds);
        let load = |seed| {
            overrides.seed = seed;
            let mut workload = reference.load(&overrides)?;
            if let Some(ramp) = &self.pace.ramp {
                ramp.apply(&mut workload.arrivals);
            }
            Ok(Stream { seed, workload })
        };
        seeds.map(load).collect()
    }

    fn engine(&self, client: Client, model: String, streams: &[Stream]) -> Engine {
        let tenants = streams.first().map(|s| &s.workload.provenance.tenants);
        let tenants = tenants.filter(|tenants| tenants.len() > 1);
        let names = tenants.into_iter().flatten().map(|t| t.name.clone());
        Engine {
            client,
            maker: RequestMaker {
                api: self.server.api.into(),
                model,
                length: self.length(),
                token_ids: self.request.token_ids.clone(),
                tenants: names.collect(),
                extra: self.request.extra_body.clone().unwrap_or_default(),
            },
            pace: match self.pace.concurrency {
                Some(users) => Pace::Closed {
                    concurrency: users as usize,
                },
                None => Pace::Open,
            },
            max_in_flight: self.server.max_requests_in_flight as usize,
            stop: Stop::default(),
        }
    }

    fn length(&self) -> Length {
        if !self.request.natural {
            return Length::Exact;
        }
        Length::Natural {
            max_tokens: self.stream.max_output_tokens.unwrap_or(NATURAL_TOKENS),
            told: self.request.tell_lengths,
        }
    }

    /// The policies that take turns, or the one that the server has.
    fn policies(&self) -> Vec<String> {
        if self.comparison.compare.is_empty() {
            return vec![self.comparison.label.clone()];
        }
        self.comparison.compare.clone()
    }

    fn switch(&self, client: &Client) -> Option<Box<dyn PolicySwitch>> {
        let comparison = &self.comparison;
        if comparison.compare.is_empty() {
            return None;
        }
        Some(match &comparison.switch_command {
            Some(command) => Box::new(CommandSwitch::new(command.clone())),
            None => Box::new(HttpSwitch::new(
                client.clone(),
                &comparison.admin_url,
                comparison.admin_token.clone(),
            )),
        })
    }

    fn idle(&self, client: &Client) -> Idle {
        let comparison = &self.comparison;
        let metrics_url = comparison.metrics_url.clone();
        let admin = comparison.admin_url.trim_end_matches('/');
        // A server that is switched by a command has no admin address that is known.
        let elis = !comparison.compare.is_empty() && comparison.switch_command.is_none();
        Idle {
            status_url: elis.then(|| format!("{admin}/admin/status")),
            token: comparison.admin_token.clone(),
            metrics_url: metrics_url.unwrap_or_else(|| client.target().address("/metrics")),
            gauges: comparison.idle_gauges.clone(),
            settle: Duration::from_secs_f64(comparison.settle_s),
            limit: Duration::from_secs_f64(comparison.idle_timeout_s),
        }
    }
}

/// Turns signals into asking to stop, for as long as the program runs.
async fn listen(stop: Stop) {
    while signal().await.is_ok() {
        if stop.is_asked() {
            eprintln!("elis-bench: giving up what is under way");
        } else {
            eprintln!("elis-bench: sending no more; again gives up what is under way");
        }
        stop.ask();
    }
}

#[cfg(unix)]
async fn signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut end = signal(SignalKind::terminate())?;
    tokio::select! {
        done = tokio::signal::ctrl_c() => done,
        _ = end.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

/// An address as it may be shown: without a name and a password in it.
fn shown_url(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => match rest.split_once('@') {
            Some((secret, host)) if !secret.contains('/') => format!("{scheme}://{host}"),
            _ => url.to_owned(),
        },
        None => url.to_owned(),
    }
}

/// Token ids from LOW to HIGH.
fn token_ids(text: &str) -> Result<std::ops::RangeInclusive<u32>> {
    let wanted = || format!("'{text}': give LOW:HIGH, for example 1000:29999");
    let Some((low, high)) = text.split_once(':') else {
        bail!(wanted())
    };
    let (low, high): (u32, u32) = (
        low.parse().with_context(wanted)?,
        high.parse().with_context(wanted)?,
    );
    ensure!(low <= high, wanted());
    Ok(low..=high)
}

/// An object in JSON.
fn object(text: &str) -> Result<serde_json::Map<String, serde_json::Value>> {
    serde_json::from_str(text).context("give a JSON object, for example '{\"top_k\": 1}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_objects_are_read_or_explained() {
        assert_eq!(token_ids("5:9").unwrap(), 5..=9);
        for wrong in ["5", "9:5", "a:b"] {
            let error = format!("{:#}", token_ids(wrong).unwrap_err());
            assert!(error.contains("1000:29999"), "{error}");
        }
        assert_eq!(object("{\"a\":1}").unwrap().len(), 1);
        assert!(object("[1]").is_err());
    }

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        assert_eq!(shown_url("http://me:pw@h:1/v1"), "http://h:1/v1");
        assert_eq!(shown_url("http://h:1/a@b"), "http://h:1/a@b");
    }
}
