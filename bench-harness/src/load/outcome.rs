//! From records to what the statistics and reports take.

use std::collections::BTreeMap;

use elis_sim::outcome::{Ending, RequestOutcome, RunOutcome, RunSummary};

use super::engine::Run;
use super::record::Record;
use super::session::PolicyRun;
use crate::metrics::ClientSide;
use crate::stats::Sample;

/// Stands where the simulator gives the digest of a policy's bytes.
const DIGEST: &str = "not known: the server has it";

/// A run in the form of the simulator's.
pub fn run_outcome(run: &PolicyRun) -> RunOutcome {
    let records = &run.run.records;
    let mut requests: Vec<RequestOutcome> = records.iter().map(Record::outcome).collect();
    count_overtaking(&mut requests);
    let completed = || requests.iter().filter(|r| r.ending == Ending::Completed);
    let first_ns = requests.iter().map(|r| r.arrival_ns).min();
    let last_ns = requests.iter().map(|r| r.finish_ns).max();
    let sum = |tokens: fn(&RequestOutcome) -> u32| completed().map(|r| u64::from(tokens(r))).sum();
    let rejected = requests.iter().filter(|r| r.ending == Ending::Rejected);
    let summary = RunSummary {
        arrived: requests.len() as u64,
        completed: completed().count() as u64,
        rejected: rejected.count() as u64,
        makespan_ns: last_ns.unwrap_or(0).saturating_sub(first_ns.unwrap_or(0)),
        prompt_tokens: sum(|r| r.prompt_tokens),
        output_tokens: sum(|r| r.output_tokens),
        ..RunSummary::default()
    };
    RunOutcome {
        policy: run.policy.clone(),
        digest: DIGEST.into(),
        seed: run.seed,
        requests,
        summary,
        ..RunOutcome::default()
    }
}

/// For each request, how many were to start after it and finished before it.
fn count_overtaking(requests: &mut [RequestOutcome]) {
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|&i| (requests[i].arrival_ns, requests[i].id));
    let mut later_finishes: Vec<u64> = Vec::new();
    for i in order.into_iter().rev() {
        let request = &mut requests[i];
        if request.ending != Ending::Completed {
            continue;
        }
        let earlier = later_finishes.partition_point(|finish| *finish < request.finish_ns);
        request.overtaken_by = earlier as u32;
        later_finishes.insert(earlier, request.finish_ns);
    }
}

/// What only the client knows of the runs of one policy.
pub fn client_side(runs: &[&Run]) -> ClientSide {
    let records = || runs.iter().flat_map(|run| &run.records);
    let completed = || records().filter(|record| record.failure.is_none());
    let count = |which: fn(&Record) -> bool| completed().filter(|r| which(r)).count() as u64;
    let names = |record: &Record| Some(record.failure.as_ref()?.kind.name().into_owned());
    let lags = |run: &Run| -> Vec<f64> {
        let lags = run.records.iter().filter_map(Record::send_lag_ns);
        lags.map(|ns| ns as f64 / 1e6).collect()
    };
    let lags: Vec<Vec<f64>> = runs.iter().map(|run| lags(run)).collect();
    let means: Vec<_> = lags
        .iter()
        .map(|run| crate::stats::sample::mean(run))
        .collect();
    ClientSide {
        errors: tally(records().filter_map(names)),
        finish_reasons: tally(completed().filter_map(|r| r.answer.finish_reason.clone())),
        send_lag_ms: Sample::new(lags.into_iter().flatten()).distribution(&means),
        held_back: records().filter(|record| record.held_back).count() as u64,
        in_flight_max: runs.iter().map(|run| in_flight_max(run)).max().unwrap_or(0),
        counted_by_chunks: count(|record| record.answer.usage.is_none()),
        shorter_than_wanted: count(|r| r.answer.output_tokens() < r.wanted_tokens),
        unsent: runs.iter().map(|run| run.unsent).sum(),
    }
}

fn tally(names: impl Iterator<Item = String>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_insert(0) += 1;
    }
    counts
}

/// The most requests that were at the server at the same time.
fn in_flight_max(run: &Run) -> u64 {
    let sent = run
        .records
        .iter()
        .filter_map(|r| Some((r.sent_ns?, r.settled_ns)));
    let mut steps: Vec<(u64, i64)> = sent.flat_map(|(from, to)| [(from, 1), (to, -1)]).collect();
    // Of steps at one moment, those down come first.
    steps.sort_unstable();
    let (mut now, mut most) = (0, 0);
    for (_, step) in steps {
        now += step;
        most = most.max(now);
    }
    most.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::load::failure::{Failure, FailureKind};
    use crate::load::record::tests::record;

    fn run(records: Vec<Record>) -> Run {
        Run {
            records,
            unsent: 2,
            started: SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn nothing_that_was_sent_is_lost_from_the_counts() {
        let mut records = vec![record(0, 0), record(1, 5), record(2, 200), record(3, 300)];
        records[1].failure = Some(Failure::new(FailureKind::Status(429), ""));
        records[2].failure = Some(Failure::new(FailureKind::Timeout, ""));
        records[3].answer.usage = None;
        let run = run(records);
        let client = client_side(&[&run]);
        assert_eq!(
            client.errors,
            [("http-429".to_owned(), 1), ("timeout".to_owned(), 1)].into()
        );
        assert_eq!(client.finish_reasons, [("length".to_owned(), 2)].into());
        assert_eq!(
            (client.counted_by_chunks, client.shorter_than_wanted),
            (1, 1)
        );
        assert_eq!((client.in_flight_max, client.unsent), (2, 2));
        assert_eq!(client.send_lag_ms.mean, Some(10.0));
        let outcome = run_outcome(&PolicyRun {
            policy: "p".into(),
            seed: 0,
            position: 0,
            run,
        });
        let s = &outcome.summary;
        assert_eq!((s.arrived, s.completed, s.rejected), (4, 2, 1));
        assert_eq!((s.makespan_ns, s.output_tokens), (370_000_000, 9));
    }

    #[test]
    fn who_finishes_before_an_earlier_one_overtakes_it() {
        let mut records = [record(0, 0), record(1, 5), record(2, 10)].to_vec();
        records[0].answer.last_token_ns = Some(1_000_000_000);
        let outcome = run_outcome(&PolicyRun {
            policy: "p".into(),
            seed: 0,
            position: 0,
            run: run(records),
        });
        let overtaken: Vec<_> = outcome.requests.iter().map(|r| r.overtaken_by).collect();
        assert_eq!(overtaken, [2, 0, 0]);
    }
}
