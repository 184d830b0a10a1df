//! The scheduling thread: the core in real time, everybody's messages in, orders to workers out.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use elis_scheduler::{
    Ended, Input, Output, Predicted, RejectReason, Request, Scheduler, Span, Time,
};
use tokio::sync::{mpsc, oneshot};

use super::deck::{self, Deck};
use super::forecast::{Asked, Forecasts};
use super::metrics::Metrics;
use super::recordings::{Order as RecordingOrder, Recordings};
use super::runner::{Order, Report};
use super::tenants::Tenants;
use super::{Event, GenerateError, GenerateRequest, Generation, IterationLog, Status};
use crate::telemetry::DECISION;

/// What the scheduling thread is told.
pub(crate) enum Message {
    Submit {
        request: Box<GenerateRequest>,
        reply: oneshot::Sender<Result<Generation, GenerateError>>,
    },
    Cancel(u64),
    Done {
        worker: u16,
        report: Report,
    },
    /// Predictions have come.
    Predicted,
    Record(RecordingOrder),
    /// About policies.
    Deck(deck::Order),
    Drain(oneshot::Sender<()>),
}

/// A request that is being served.
struct Live {
    request: Arc<GenerateRequest>,
    events: mpsc::UnboundedSender<Event>,
    /// The worker that knows of it.
    home: Option<u16>,
    said: String,
}

/// A worker's thread as seen from here.
pub(crate) struct Crew {
    pub(crate) orders: Sender<Order>,
    pub(crate) interrupt: Arc<AtomicBool>,
    /// When its last step ended, if jobs were left.
    pub(crate) idle_since: Option<Instant>,
}

pub(crate) struct Driver {
    pub(crate) scheduler: Scheduler,
    pub(crate) deck: Deck,
    pub(crate) forecasts: Forecasts,
    pub(crate) crew: Vec<Crew>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) messages: Sender<Message>,
    pub(crate) log: Option<IterationLog>,
    pub(crate) begin: Instant,
    pub(crate) tenants: Tenants,
    pub(crate) recordings: Recordings,
    jobs: HashMap<u64, Live>,
    next_id: u64,
    /// The request that is being taken in, and why it is not.
    arriving: Option<(u64, Option<GenerateError>)>,
    draining: Vec<oneshot::Sender<()>>,
    drains: bool,
    /// Inputs that follow from outputs, after all of these are done.
    pending: VecDeque<Input<'static>>,
    predicted: Vec<Predicted>,
}

impl Driver {
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of an engine, given once"
    )]
    pub(crate) fn new(
        scheduler: Scheduler,
        deck: Deck,
        forecasts: Forecasts,
        crew: Vec<Crew>,
        metrics: Arc<Metrics>,
        messages: Sender<Message>,
        log: Option<IterationLog>,
        tenants: Tenants,
        recordings: Recordings,
    ) -> Self {
        Self {
            scheduler,
            deck,
            forecasts,
            crew,
            metrics,
            messages,
            log,
            begin: Instant::now(),
            tenants,
            recordings,
            jobs: HashMap::new(),
            next_id: 1,
            arriving: None,
            draining: Vec::new(),
            drains: false,
            pending: VecDeque::new(),
            predicted: Vec::new(),
        }
    }

    /// Serves until all who could send messages are gone, or it is drained.
    pub(crate) fn run(mut self, messages: &Receiver<Message>) {
        self.announce();
        self.note();
        loop {
            match self.next(messages) {
                Ok(Some(message)) => self.take(message),
                Ok(None) => self.tick(),
                Err(()) => return,
            }
            self.note();
            let now = self.now();
            self.deck.look(now, &self.scheduler);
            self.announce();
            if self.drains && self.jobs.is_empty() {
                let replies = std::mem::take(&mut self.draining);
                self.recordings.finish(move || {
                    for reply in replies {
                        let _ = reply.send(());
                    }
                });
            }
        }
    }

    /// The next message, `None` when a timer of the core or a look of the deck is due.
    fn next(&self, messages: &Receiver<Message>) -> Result<Option<Message>, ()> {
        let due = [self.scheduler.poll_timeout(), self.deck.due()];
        let due = due.into_iter().flatten().min().map(Time::as_ns);
        let Some(due) = due.filter(|&due| due < u64::MAX) else {
            return messages.recv().map(Some).map_err(|_| ());
        };
        let left = due.saturating_sub(self.now().as_ns());
        match messages.recv_timeout(Duration::from_nanos(left)) {
            Ok(message) => Ok(Some(message)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(()),
        }
    }

    fn tick(&mut self) {
        let due = self.scheduler.poll_timeout();
        if due.is_some_and(|due| due <= self.now()) {
            self.tell(Input::Tick);
        }
    }

    fn now(&self) -> Time {
        Time::from_ns(u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn note(&mut self) {
        let (waiting, running, used) = self.scheduler.load();
        let total = self.scheduler.config().workers.iter();
        let status = Status {
            waiting,
            running,
            kv_blocks_used: used,
            kv_blocks_total: total.map(|worker| worker.gpu_blocks).sum(),
            policy: self.deck.live().info().name.clone(),
            starvation_boosts: self.scheduler.stats().starvation_boosts,
            ready: !self.drains,
        };
        self.metrics.note(&status, self.scheduler.stats());
        self.deck.note(&self.scheduler);
        let unanswered = i64::try_from(self.forecasts.unanswered).unwrap_or(i64::MAX);
        self.metrics.unanswered.set(unanswered);
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Submit { request, reply } => self.submit(*request, reply),
            Message::Cancel(job) => {
                if self.jobs.contains_key(&job) {
                    self.left(job);
                    self.tell(Input::Cancel { job });
                }
            }
            Message::Done { worker, report } => self.done(worker, report),
            Message::Predicted => {
                let mut predicted = std::mem::take(&mut self.predicted);
                self.forecasts.collect(&mut predicted);
                for prediction in predicted.drain(..) {
                    self.tell(Input::Predicted(prediction));
                }
                self.predicted = predicted;
            }
            Message::Deck(order) => {
                // Faults up to here are those of the policy up to here.
                self.deck.note(&self.scheduler);
                let (waiting, ..) = self.scheduler.load();
                let now = self.now();
                self.deck.order(order, waiting > 0, now);
                self.announce();
            }
            Message::Record(order) => {
                self.recordings.take(order, &self.deck, &self.scheduler);
            }
            Message::Drain(reply) => {
                self.drains = true;
                self.draining.push(reply);
            }
        }
    }

    /// Tells the core of other policies, if there are any.
    fn announce(&mut self) {
        while let Some((worker, interest)) = self.deck.news() {
            self.tell(Input::PolicyInstalled { worker, interest });
        }
    }

    /// A client has left.
    fn left(&self, job: u64) {
        let home = self.scheduler.worker_of(job);
        if let Some((worker, row)) = home.zip(self.scheduler.job(job))
            && row.first_token_us == 0
        {
            self.deck.left(worker, row.arrival_us, self.now());
        }
    }

    fn submit(
        &mut self,
        request: GenerateRequest,
        reply: oneshot::Sender<Result<Generation, GenerateError>>,
    ) {
        if self.drains {
            let _ = reply.send(Err(GenerateError::Draining));
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        let now = self.now();
        let due = |span: Option<Duration>| {
            let ns = u64::try_from(span?.as_nanos()).ok()?;
            Some(now + Span::from_ns(ns))
        };
        let prompt_tokens = request.prompt_tokens.len() as u32;
        let core = Request {
            tenant: self.tenants.number(&request.tenant),
            priority: request.priority,
            ttft_deadline: due(request.ttft_deadline),
            deadline: due(request.deadline),
            ..Request::new(id, prompt_tokens, request.max_new_tokens)
        };
        let (events, heard) = mpsc::unbounded_channel();
        let live = Live {
            request: Arc::new(request),
            events,
            home: None,
            said: String::new(),
        };
        self.jobs.insert(id, live);
        self.metrics.prompt_tokens.inc_by(prompt_tokens.into());
        let messages = self.messages.clone();
        let cancel = move || {
            // An engine that is gone serves nobody any more.
            let _ = messages.send(Message::Cancel(id));
        };
        self.arriving = Some((id, None));
        self.tell(Input::Arrive(core));
        let refused = self.arriving.take().and_then(|(_, refused)| refused);
        // A client that is gone already drops its generation, which cancels the job.
        let _ = reply.send(match refused {
            Some(error) => Err(error),
            None => Ok(Generation::new(heard, cancel)),
        });
    }

    /// A step came to its end.
    fn done(&mut self, worker: u16, report: Report) {
        for (job, text) in report.said {
            if let Some(live) = self.jobs.get_mut(&job) {
                live.said += &text;
            }
        }
        self.metrics.generated_tokens.inc_by(report.tokens);
        self.metrics.batch.observe(report.batch as f64);
        self.metrics.busy.inc_by(report.busy.as_secs_f64());
        if let Some(log) = &mut self.log {
            log.write(&report.log);
        }
        if let Some((error, jobs)) = report.failed {
            tracing::error!(%error, ?jobs, "a worker failed");
            for job in jobs {
                self.deck.failed(worker);
                if let Some(live) = self.jobs.get(&job) {
                    let error = GenerateError::Worker(error.to_string());
                    let _ = live.events.send(Event::Failed(error));
                }
                self.tell(Input::Cancel { job });
            }
        }
        if let Some(crew) = self.crew.get_mut(usize::from(worker)) {
            crew.idle_since = Some(Instant::now());
        }
        self.tell(Input::StepDone {
            worker,
            iterations: report.iterations,
            finished: &report.finished,
        });
        // Without jobs it waits for nobody.
        let queue = self.scheduler.snapshot(worker);
        if queue.is_none_or(|queue| queue.jobs.is_empty())
            && let Some(crew) = self.crew.get_mut(usize::from(worker))
        {
            crew.idle_since = None;
        }
    }

    /// Hands an input to the core and performs all that follows from it.
    fn tell(&mut self, input: Input<'_>) {
        self.hand(input);
        while let Some(input) = self.pending.pop_front() {
            self.hand(input);
        }
        self.recordings.settle(&self.scheduler);
    }

    fn hand(&mut self, input: Input<'_>) {
        let now = self.now();
        self.recordings.input(now, &input, &self.deck);
        self.scheduler.handle(now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.scheduler.poll_output() {
            self.recordings.output(&output, &self.scheduler);
            match output {
                Output::Predict {
                    job,
                    prompt_tokens,
                    generated_tokens,
                    max_new_tokens,
                } => self.predict(job, prompt_tokens, generated_tokens, max_new_tokens),
                Output::Decide { worker, revision } => self.decide(worker, revision),
                Output::Dispatch { worker } => self.dispatch(worker),
                Output::Interrupt { worker } => {
                    if let Some(crew) = self.crew.get(usize::from(worker)) {
                        crew.interrupt.store(true, Ordering::Release);
                    }
                }
                Output::Finished(ended) => self.finished(&ended),
                Output::Rejected {
                    job,
                    worker,
                    reason,
                } => {
                    if reason == RejectReason::ByPolicy {
                        self.deck.failed(worker);
                    }
                    self.rejected(job, reason);
                }
                Output::Cancelled { job } => {
                    self.metrics.ended("cancelled");
                    self.forget(job, None, true);
                }
            }
        }
    }

    fn predict(&mut self, job: u64, prompt_tokens: u32, generated_tokens: u32, most: u32) {
        let Some(live) = self.jobs.get(&job) else {
            return;
        };
        let asked = Asked {
            job,
            prompt: Arc::clone(&live.request.prompt),
            generated: live.said.as_str().into(),
            prompt_tokens,
            generated_tokens,
            max_new_tokens: most,
            // Where nothing but the limit ends a response, the limit is its length.
            oracle_tokens: live.request.oracle_tokens.or_else(|| {
                let exact = live.request.ignore_eos && live.request.stop.is_empty();
                exact.then_some(live.request.max_new_tokens)
            }),
        };
        let answer = self.forecasts.ask(&asked);
        self.pending.extend(answer.map(Input::Predicted));
    }

    fn decide(&mut self, worker: u16, revision: u64) {
        let Some(snapshot) = self.scheduler.snapshot(worker) else {
            return;
        };
        let decision = self.deck.decide(&snapshot);
        self.metrics.decision.observe(decision.wall.as_secs_f64());
        let (waiting, running, _) = self.scheduler.load();
        tracing::trace!(
            name: DECISION,
            policy = self.deck.seat(worker).policy().info().name,
            worker,
            waiting,
            running,
            outcome = decision.plan.as_ref().map_or_else(|exit| exit.name(), |_| "plan"),
            duration_ms = decision.wall.as_secs_f64() * 1e3,
            "decision"
        );
        self.pending.push_back(match decision.plan {
            Ok(plan) => Input::Decided {
                worker,
                revision,
                plan,
            },
            Err(exit) => {
                let detail = decision.detail.unwrap_or_default();
                tracing::warn!(cause = exit.name(), detail, "the policy failed");
                Input::DecisionFailed {
                    worker,
                    revision,
                    exit,
                }
            }
        });
        // Another policy may have stepped in; it is asked again at the next boundary.
        while let Some((worker, interest)) = self.deck.news() {
            self.pending
                .push_back(Input::PolicyInstalled { worker, interest });
        }
    }

    fn dispatch(&mut self, worker: u16) {
        let Some(step) = self.scheduler.step(worker) else {
            return;
        };
        let Some(crew) = self.crew.get_mut(usize::from(worker)) else {
            return;
        };
        for &job in &step.added {
            let live = self.jobs.get_mut(&job);
            let Some(live) = live.filter(|live| live.home != Some(worker)) else {
                continue;
            };
            live.home = Some(worker);
            let _ = crew.orders.send(Order::Open {
                job,
                request: Arc::clone(&live.request),
                events: live.events.clone(),
            });
        }
        crew.interrupt.store(false, Ordering::Release);
        if let Some(since) = crew.idle_since.take() {
            let gap_s = since.elapsed().as_secs_f64();
            self.metrics.gap.inc_by(gap_s);
            self.metrics.pause.observe(gap_s);
        }
        let _ = crew.orders.send(Order::Run(Box::new(step.clone())));
    }

    fn finished(&mut self, ended: &Ended) {
        let now = self.now();
        let seconds = |from: Time, to: Time| (to - from).as_ns() as f64 / 1e9;
        let tokens = ended.row.generated_tokens;
        self.metrics.ended("finished");
        self.metrics.jct.observe(seconds(ended.arrival, now));
        if let Some(run) = ended.first_run {
            self.metrics.queueing.observe(seconds(ended.arrival, run));
        }
        if let Some(first) = ended.first_token {
            let ttft_s = seconds(ended.arrival, first);
            self.metrics.ttft.observe(ttft_s);
            let jct_s = seconds(ended.arrival, now);
            self.deck
                .finished(ended.worker, ended.arrival, jct_s, ttft_s);
            if tokens > 1 {
                let each = seconds(first, now) / f64::from(tokens - 1);
                self.metrics.tpot.observe(each);
            }
        }
        self.forget(ended.row.id, Some(tokens), false);
    }

    fn rejected(&mut self, job: u64, reason: RejectReason) {
        self.metrics.ended("refused");
        let error = match reason {
            RejectReason::QueueFull => GenerateError::QueueFull {
                jobs: self.scheduler.jobs(),
            },
            reason => GenerateError::Refused(reason),
        };
        match &mut self.arriving {
            Some((arriving, refused)) if *arriving == job => *refused = Some(error),
            _ => {
                if let Some(live) = self.jobs.get(&job) {
                    let _ = live.events.send(Event::Failed(error));
                }
            }
        }
        self.forget(job, None, true);
    }

    /// Drops all that is kept of a job; `close` where its worker does not know yet.
    fn forget(&mut self, job: u64, length_tokens: Option<u32>, close: bool) {
        for error in self.forecasts.close(job, length_tokens) {
            self.metrics.prediction_error.observe(error);
        }
        let Some(live) = self.jobs.remove(&job) else {
            return;
        };
        let crew = live
            .home
            .and_then(|home| self.crew.get_mut(usize::from(home)));
        if let Some(crew) = crew {
            if close {
                let _ = crew.orders.send(Order::Close(job));
            }
            if self.jobs.is_empty() {
                crew.idle_since = None;
            }
        }
    }
}
