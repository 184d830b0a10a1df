//! The engine: one task for each request, started at its intended time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use elis_workloads::Arrival;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::answer::Answer;
use super::client::{Client, Clock};
use super::failure::{Failure, FailureKind};
use super::prompt::Draw;
use super::record::Record;
use super::request::RequestMaker;

/// A request's task begins this long before its time and makes its body meanwhile, so that nothing
/// but the sending is left to do.
const LEAD: Duration = Duration::from_millis(100);

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// At the times of the stream, whatever the server does.
    Open,
    /// Each of so many users sends the next one when the last is settled.
    Closed {
        /// Users.
        concurrency: usize,
    },
}

/// How a run is ended early; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    no_more: CancellationToken,
    at_once: CancellationToken,
}

impl Stop {
    /// The first time, no more is sent; the second, what is under way is given up.
    pub fn ask(&self) {
        if self.no_more.is_cancelled() {
            self.at_once.cancel();
        }
        self.no_more.cancel();
    }

    /// Whether somebody has asked.
    pub fn is_asked(&self) -> bool {
        self.no_more.is_cancelled()
    }

    /// Resolves once somebody has asked.
    pub async fn asked(&self) {
        self.no_more.cancelled().await;
    }
}

/// Sends streams to a server.
#[derive(Debug)]
pub struct Engine {
    /// The server.
    pub client: Client,
    /// Makes the bodies.
    pub maker: RequestMaker,
    /// When requests are sent.
    pub pace: Pace,
    /// The most requests at the server at once; what is held back by it counts from its intended
    /// start all the same.
    pub max_in_flight: usize,
    /// Ends a run early.
    pub stop: Stop,
}

/// What one run left.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Every request whose time came, by id.
    pub records: Vec<Record>,
    /// Requests whose time had not come when somebody asked to stop.
    pub unsent: u64,
    /// When the clock of the run showed 0.
    pub started: SystemTime,
}

/// What all tasks of a run share.
#[derive(Debug)]
struct Shared {
    client: Client,
    maker: RequestMaker,
    permits: Semaphore,
    stop: Stop,
    clock: Clock,
    draw: Draw,
}

impl Engine {
    /// Sends a stream and waits until all of it is settled; `watch` sees each record.
    pub async fn run(
        &self,
        arrivals: &[Arrival],
        draw: Draw,
        watch: &mut (dyn FnMut(&Record) + Send),
    ) -> Run {
        // Users who wait for one another begin at once, and no clock of theirs may stand still.
        let lead = match self.pace {
            Pace::Open => LEAD,
            Pace::Closed { .. } => Duration::ZERO,
        };
        let clock = Clock::starting_in(lead);
        let started = SystemTime::now() + lead;
        let shared = Arc::new(Shared {
            client: self.client.clone(),
            maker: self.maker.clone(),
            permits: Semaphore::new(self.max_in_flight),
            stop: self.stop.clone(),
            clock,
            draw,
        });
        let mut waiting = arrivals.iter().peekable();
        let mut tasks = JoinSet::new();
        let mut records = Vec::with_capacity(arrivals.len());
        loop {
            let next = waiting.peek().filter(|_| !self.stop.is_asked());
            tokio::select! {
                biased;
                () = self.turn(next, tasks.len(), clock), if next.is_some() => {
                    if let Some(arrival) = waiting.next() {
                        tasks.spawn(Arc::clone(&shared).attempt(arrival.clone(), self.pace));
                    }
                }
                Some(ended) = tasks.join_next() => match ended {
                    Ok(Some(record)) => {
                        watch(&record);
                        records.push(record);
                    }
                    Ok(None) => {}
                    // A bug of ours must not pass for a failure of the server.
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                () = self.stop.asked(), if next.is_some() => {}
                else => break,
            }
        }
        records.sort_by_key(|record: &Record| record.id);
        Run {
            unsent: (arrivals.len() - records.len()) as u64,
            records,
            started,
        }
    }

    /// Resolves when it is the next request's turn to get a task.
    async fn turn(&self, next: Option<&&Arrival>, running: usize, clock: Clock) {
        match (self.pace, next) {
            (Pace::Open, Some(arrival)) => {
                sleep_until(clock.instant(arrival.arrival_ns) - LEAD).await;
            }
            (Pace::Closed { concurrency }, Some(_)) if running < concurrency => {}
            _ => std::future::pending().await,
        }
    }
}

impl Shared {
    /// Sends one request at its time; none where somebody asked to stop before.
    async fn attempt(self: Arc<Self>, arrival: Arrival, pace: Pace) -> Option<Record> {
        let body = self.maker.body(&arrival, self.draw);
        let intended_ns = match pace {
            Pace::Closed { .. } => self.clock.now_ns(),
            Pace::Open => {
                tokio::select! {
                    biased;
                    () = self.stop.no_more.cancelled() => return None,
                    () = sleep_until(self.clock.instant(arrival.arrival_ns)) => {}
                }
                arrival.arrival_ns
            }
        };
        let mut record = Record {
            id: arrival.id,
            intended_ns,
            sent_ns: None,
            settled_ns: 0,
            held_back: self.permits.available_permits() == 0,
            prompt_tokens: arrival.prompt_tokens,
            wanted_tokens: arrival.output_tokens,
            tenant: arrival.tenant,
            priority: arrival.priority,
            answer: Answer::default(),
            failure: None,
        };
        record.failure = self.send(body, &mut record).await.err();
        record.settled_ns = self.clock.now_ns();
        Some(record)
    }

    async fn send(&self, body: Vec<u8>, record: &mut Record) -> Result<(), Failure> {
        let _permit = tokio::select! {
            biased;
            () = self.stop.no_more.cancelled() => {
                let detail = "held back by the limit of requests in flight until the run stopped";
                return Err(Failure::new(FailureKind::NotSent, detail));
            }
            permit = self.permits.acquire() => permit.ok(),
        };
        record.sent_ns = Some(self.clock.now_ns());
        let limit = self.client.target().timeout;
        let asked = self
            .client
            .ask(self.maker.api, body, self.clock, &mut record.answer);
        tokio::select! {
            biased;
            answered = timeout(limit, asked) => match answered {
                Ok(answered) => answered,
                // All but the orderly end of the stream is there.
                Err(_) if record.answer.is_whole() => Ok(()),
                Err(_) => {
                    let detail = format!("no whole response within {limit:?}");
                    Err(Failure::new(FailureKind::Timeout, detail))
                }
            },
            () = self.stop.at_once.cancelled() => {
                Err(Failure::new(FailureKind::Interrupted, "stopped while under way"))
            }
        }
    }
}
