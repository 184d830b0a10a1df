//! Gathers from a replay what a simulation of the same hours needs.

use std::collections::BTreeMap;

use crate::fit::Measurement;
use elis_record::{Policy, Post, Witness};
use elis_scheduler::config::Config;
use elis_scheduler::{Input, Output, Predicted, Request, Scheduler, Time};

/// How a job ended in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It gave all its tokens.
    Finished,
    /// Its client went away.
    Cancelled,
    /// It was refused.
    Refused,
    /// It was still there when the log ended.
    Open,
}

/// One job as the log knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// When it arrived.
    pub arrival: Time,
    /// What it asked for.
    pub request: Request,
    /// Tokens that it had when the log began; `None` for one that arrived later.
    pub carried_tokens: Option<u32>,
    /// Tokens at its end.
    pub tokens: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// When.
    pub ended: Time,
    /// What was predicted of it, in the order in which the answers came.
    pub predictions: Vec<Predicted>,
}

/// What a log tells of its hours.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// How the scheduler was set up.
    pub config: Option<Config>,
    /// All jobs, by number and so by arrival.
    pub jobs: BTreeMap<u64, Job>,
    /// Policies in the order in which they came, with the decisions of each.
    pub policies: Vec<(Policy, u64)>,
    /// Steps without moves between memories: an iteration on average, and how many there were.
    pub steps: Vec<(Measurement, u32)>,
    /// For each answered question to the predictor how long it took, nanoseconds.
    pub prediction_ns: Vec<u64>,
    /// The first and the last time.
    pub from: Time,
    /// The same.
    pub to: Time,
}

impl Observed {
    /// The policy that decided most often.
    pub fn main_policy(&self) -> Option<&Policy> {
        let most = self.policies.iter().max_by_key(|(_, decisions)| *decisions);
        most.map(|(policy, _)| policy)
    }

    /// How many jobs ended so.
    pub fn count(&self, outcome: Outcome) -> usize {
        let jobs = self.jobs.values();
        jobs.filter(|job| job.outcome == outcome).count()
    }
}

/// A step that runs.
#[derive(Debug, Clone, Copy)]
struct Running {
    since: Time,
    decode_seqs: u32,
    decode_kv_tokens: u64,
    prefill_tokens: u64,
    max_iterations: u32,
    moves: bool,
}

/// The witness that gathers.
#[derive(Debug, Default)]
pub struct Observer {
    observed: Observed,
    running: BTreeMap<u16, Running>,
    asked: BTreeMap<u64, Time>,
    /// Who decides for whom, and where its decisions are counted.
    posts: Vec<(Post, usize)>,
}

impl Observer {
    /// All of it; `last` is the core as the log leaves it.
    pub fn finish(mut self, last: Option<&Scheduler>) -> Observed {
        for (&id, job) in &mut self.observed.jobs {
            if job.outcome == Outcome::Open {
                job.tokens = last.and_then(|s| s.generated_tokens(id)).unwrap_or(0);
                job.ended = self.observed.to;
            }
        }
        self.observed
    }

    /// Notes who decides from now on; who went on deciding is counted on, unless all begins `anew`.
    fn post(&mut self, posts: &[Post], anew: bool) {
        let old = std::mem::take(&mut self.posts);
        for post in posts {
            let stays = old
                .iter()
                .find(|(known, _)| !anew && known.seat == post.seat);
            let place = stays.map_or(self.observed.policies.len(), |(_, at)| *at);
            if stays.is_none() {
                self.observed.policies.push((post.policy.clone(), 0));
            }
            self.posts.push((post.clone(), place));
        }
    }

    fn carry(&mut self, scheduler: &Scheduler) {
        for worker in 0..scheduler.config().workers.len() as u16 {
            let Some(snapshot) = scheduler.snapshot(worker) else {
                continue;
            };
            for row in (0..snapshot.jobs.len()).map(|row| snapshot.jobs.row(row)) {
                let due = |us: u64| (us > 0).then(|| Time::from_us(us));
                let request = Request {
                    tenant: row.tenant,
                    priority: row.priority,
                    program: row.program,
                    model: row.model,
                    ttft_deadline: due(row.ttft_deadline_us),
                    deadline: due(row.deadline_us),
                    ..Request::new(row.id, row.prompt_tokens, row.max_new_tokens)
                };
                let known = (row.prediction_source > 0).then_some(Predicted {
                    job: row.id,
                    at_tokens: row.predicted_at_tokens,
                    remaining_tokens: row.predicted_remaining_tokens,
                    sigma_tokens: row.predicted_sigma_tokens,
                    p90_tokens: row.predicted_p90_tokens,
                    source: row.prediction_source,
                });
                let job = Job {
                    predictions: known.into_iter().collect(),
                    carried_tokens: Some(row.generated_tokens),
                    ..Job::new(Time::from_us(row.arrival_us), request)
                };
                // After a gap a job may be known already, with its arrival.
                self.observed.jobs.entry(row.id).or_insert(job);
            }
        }
    }

    fn end(&mut self, id: u64, now: Time, outcome: Outcome, tokens: Option<u32>) {
        if let Some(job) = self.observed.jobs.get_mut(&id) {
            job.outcome = outcome;
            job.ended = now;
            job.tokens = tokens.unwrap_or(job.tokens);
        }
    }

    fn step_done(&mut self, worker: u16, iterations: u32, now: Time) {
        let Some(running) = self.running.remove(&worker) else {
            return;
        };
        let iterations = iterations.min(running.max_iterations);
        let span_ns = (now - running.since).as_ns();
        if iterations == 0 || running.moves || span_ns == 0 {
            return;
        }
        // The context grows by a token of each job in each iteration.
        let grown = u64::from(running.decode_seqs) * u64::from(iterations - 1) / 2;
        let measured = Measurement {
            decode_seqs: running.decode_seqs,
            decode_kv_tokens: running.decode_kv_tokens + grown,
            prefill_tokens: running.prefill_tokens,
            latency_ms: span_ns as f64 / 1e6 / f64::from(iterations),
        };
        self.observed.steps.push((measured, iterations));
    }
}

impl Job {
    fn new(arrival: Time, request: Request) -> Self {
        Self {
            arrival,
            request,
            carried_tokens: None,
            tokens: 0,
            outcome: Outcome::Open,
            ended: arrival,
            predictions: Vec::new(),
        }
    }
}

impl Witness for Observer {
    fn resumed(&mut self, posts: &[Post], _fresh: bool, scheduler: &Scheduler) {
        if self.observed.config.is_none() {
            self.observed.config = Some(scheduler.config().clone());
            self.observed.from = scheduler.now();
        }
        self.post(posts, true);
        self.running.clear();
        self.asked.clear();
        // How a job ended that is gone since a gap, nobody knows.
        let known =
            |id: &u64, job: &mut Job| job.outcome != Outcome::Open || scheduler.job(*id).is_some();
        self.observed.jobs.retain(known);
        self.carry(scheduler);
    }

    fn policies(&mut self, posts: &[Post]) {
        self.post(posts, false);
    }

    fn input(&mut self, now: Time, input: &Input<'_>, scheduler: &Scheduler) {
        self.observed.to = now;
        match input {
            Input::Arrive(request) => {
                let job = Job::new(now, *request);
                self.observed.jobs.insert(request.id, job);
            }
            Input::Predicted(predicted) => {
                if let Some(since) = self.asked.remove(&predicted.job) {
                    self.observed.prediction_ns.push((now - since).as_ns());
                }
                if let Some(job) = self.observed.jobs.get_mut(&predicted.job) {
                    job.predictions.push(*predicted);
                }
            }
            Input::Cancel { job } => {
                let tokens = scheduler.generated_tokens(*job);
                if let Some(job) = self.observed.jobs.get_mut(job) {
                    job.tokens = tokens.unwrap_or(job.tokens);
                }
            }
            Input::StepDone {
                worker, iterations, ..
            } => self.step_done(*worker, *iterations, now),
            Input::WorkerLost { worker } => {
                self.running.remove(worker);
            }
            _ => {}
        }
    }

    fn output(&mut self, now: Time, output: &Output, scheduler: &Scheduler) {
        match output {
            Output::Predict { job, .. } => {
                self.asked.insert(*job, now);
            }
            Output::Decide { worker, .. } => {
                let place = self.posts.iter().find(|(post, _)| post.holds(*worker));
                if let Some((_, at)) = place {
                    self.observed.policies[*at].1 += 1;
                }
            }
            Output::Dispatch { worker } => {
                let Some(step) = scheduler.step(*worker) else {
                    return;
                };
                let chunks = step.prefill.iter().map(|chunk| u64::from(chunk.tokens));
                let running = Running {
                    since: now,
                    decode_seqs: step.decode_seqs,
                    decode_kv_tokens: step.decode_kv_tokens,
                    prefill_tokens: chunks.sum(),
                    max_iterations: step.max_iterations,
                    moves: !(step.swap_in.is_empty() && step.swap_out.is_empty()),
                };
                self.running.insert(*worker, running);
            }
            Output::Finished(ended) => {
                let tokens = Some(ended.row.generated_tokens);
                self.end(ended.row.id, now, Outcome::Finished, tokens);
            }
            Output::Cancelled { job } => self.end(*job, now, Outcome::Cancelled, None),
            Output::Rejected { job, .. } => self.end(*job, now, Outcome::Refused, None),
            Output::Interrupt { .. } => {}
        }
    }
}
