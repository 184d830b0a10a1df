//! A measurement: each policy once on each stream, in an order that is drawn anew for every stream,
//! so that what drifts over time (heat, caches, neighbours) falls on all policies alike.

use elis_workloads::{Arrival, Workload};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::engine::{Engine, Run};
use super::idle::{BusyError, Idle, Seen};
use super::prompt::Draw;
use super::record::Record;
use super::switch::{PolicySwitch, SwitchError};

/// A stream of one seed.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Its seed.
    pub seed: u64,
    /// Its requests.
    pub workload: Workload,
}

/// One run of one policy.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyRun {
    /// The policy, or what a single run is called.
    pub policy: String,
    /// Seed of the stream.
    pub seed: u64,
    /// How many runs went before it.
    pub position: u64,
    /// What it left.
    pub run: Run,
}

/// Why a measurement ends before its time.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The policy cannot be changed.
    #[error(transparent)]
    Switch(#[from] SwitchError),
    /// The server does not come to rest.
    #[error(transparent)]
    Busy(#[from] BusyError),
}

/// What is measured.
#[derive(Debug)]
pub struct Session<'a> {
    /// Sends the streams.
    pub engine: &'a Engine,
    /// Changes policies; none where the server is taken as it is.
    pub switch: Option<&'a dyn PolicySwitch>,
    /// How the server is found to be idle between runs.
    pub idle: &'a Idle,
    /// The policies.
    pub policies: Vec<String>,
    /// The streams, one for each repetition.
    pub streams: Vec<Stream>,
    /// Requests that are sent before each run, one after the other, and not measured.
    pub warm_up: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Measured {
    /// The runs, in the order in which they were made.
    pub runs: Vec<PolicyRun>,
    /// Whether all that the server said of itself was that it answered.
    pub only_rested: bool,
    /// Why it ended early; the runs until then are there.
    pub ended_by: Option<SessionError>,
}

/// What happens in the course of a measurement.
#[derive(Debug)]
pub enum Event<'a> {
    /// A run begins.
    Begin {
        /// The policy.
        policy: &'a str,
        /// Seed of the stream.
        seed: u64,
        /// Requests in the stream.
        requests: usize,
    },
    /// A request is settled.
    Settled(&'a Record),
}

/// The policies in the order in which they meet the stream of a seed.
pub fn order(policies: &[String], seed: u64) -> Vec<String> {
    let mut order = policies.to_vec();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    order
}

impl Session<'_> {
    /// Measures; `watch` hears of what happens.
    pub async fn run(&self, watch: &mut (dyn FnMut(Event<'_>) + Send)) -> Measured {
        let mut measured = Measured::default();
        'all: for stream in &self.streams {
            for policy in order(&self.policies, stream.seed) {
                if self.engine.stop.is_asked() {
                    break 'all;
                }
                let prepared = tokio::select! {
                    biased;
                    () = self.engine.stop.asked() => break 'all,
                    prepared = self.prepare(&policy, measured.runs.is_empty()) => prepared,
                };
                match prepared {
                    Ok(seen) => measured.only_rested |= seen == Some(Seen::Rested),
                    Err(error) => {
                        measured.ended_by = Some(error);
                        break 'all;
                    }
                }
                let position = measured.runs.len() as u64;
                let run = self.run_one(&policy, stream, position, watch).await;
                measured.runs.push(PolicyRun {
                    policy,
                    seed: stream.seed,
                    position,
                    run,
                });
            }
        }
        measured
    }

    /// Waits until the server is idle and lets it decide by the policy.
    async fn prepare(&self, policy: &str, first: bool) -> Result<Option<Seen>, SessionError> {
        // A single run on a server that others use as well is nobody's business but the user's.
        let alone = self.policies.len() == 1 && self.switch.is_none();
        let seen = if first && alone {
            None
        } else {
            Some(self.idle.wait(&self.engine.client).await?)
        };
        if let Some(switch) = self.switch {
            switch.switch(policy).await?;
        }
        Ok(seen)
    }

    async fn run_one(
        &self,
        policy: &str,
        stream: &Stream,
        position: u64,
        watch: &mut (dyn FnMut(Event<'_>) + Send),
    ) -> Run {
        let arrivals = &stream.workload.arrivals;
        self.warm_up(arrivals, position).await;
        watch(Event::Begin {
            policy,
            seed: stream.seed,
            requests: arrivals.len(),
        });
        let draw = Draw {
            seed: stream.seed,
            run: position,
        };
        let mut settled = |record: &Record| watch(Event::Settled(record));
        self.engine.run(arrivals, draw, &mut settled).await
    }

    /// Sends the first requests of a stream, with prompts of their own, one after the other.
    async fn warm_up(&self, arrivals: &[Arrival], position: u64) {
        let draw = Draw {
            seed: u64::MAX,
            run: position,
        };
        for arrival in arrivals.iter().take(self.warm_up) {
            let mut first = arrival.clone();
            first.arrival_ns = 0;
            self.engine.run(&[first], draw, &mut |_| {}).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_drawn_by_seed_and_differ() {
        let policies: Vec<String> = ["a", "b", "c"].map(String::from).into();
        let orders: Vec<Vec<String>> = (0..12).map(|seed| order(&policies, seed)).collect();
        for one in &orders {
            let mut sorted = one.clone();
            sorted.sort();
            assert_eq!(sorted, policies);
        }
        assert!(policies.iter().all(|p| orders.iter().any(|o| &o[0] == p)));
        assert_eq!(orders[3], order(&policies, 3));
    }
}
