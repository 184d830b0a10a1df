//! The event loop: the scheduler core in virtual time, between a workload, a policy, a predictor
//! and modelled engines.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use elis_predictor::{LengthPredictor, PredictError, Text};
use elis_record::Recorder as Log;
use elis_scheduler::config::ConfigError;
use elis_scheduler::plan::{Plan, PolicyExit};
use elis_scheduler::{Input, Output, Predicted, Request, Scheduler, Time};
use elis_workloads::Arrival;
use thiserror::Error;

use crate::decider::Decider;
use crate::engine::Engine;
use crate::options::{DecisionCost, Failure, Options};
use crate::outcome::RunOutcome;
use crate::recorder::Recorder;

/// Why a simulation cannot run.
#[derive(Debug, Error)]
pub enum SimError {
    /// The options describe no possible worker.
    #[error("impossible worker: {0}")]
    Config(#[from] ConfigError),
    /// The predictor gave up.
    #[error("predictor: {0}")]
    Predict(#[from] PredictError),
    /// Arrivals must be sorted, and ids must be their positions.
    #[error("request {position}: {what}")]
    Workload {
        /// Position in the workload.
        position: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// What comes at a time. Of several at the same time the class decides, then the order in which
/// they were scheduled: that is the only place where order is defined.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a few are alive at a time, each is moved once"
)]
enum Event {
    Lost {
        worker: u16,
    },
    Back {
        worker: u16,
    },
    Predicted(Predicted),
    Answered {
        worker: u16,
        revision: u64,
        plan: Result<Plan, PolicyExit>,
    },
}

/// Classes of simultaneous events: arrivals come before the end of a step, so that they can join.
const CLASS_EVENT: u8 = 0;
const CLASS_ARRIVAL: u8 = 1;
const CLASS_STEP: u8 = 2;
const CLASS_TICK: u8 = 3;

#[derive(Debug)]
struct Scheduled {
    at_ns: u64,
    seq: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ns, self.seq).cmp(&(other.at_ns, other.seq))
    }
}

/// One simulation.
struct Simulation<'a> {
    scheduler: Scheduler,
    /// The most tokens of a job, prompt and response.
    room_tokens: u32,
    options: &'a Options,
    arrivals: &'a [Arrival],
    decider: &'a mut dyn Decider,
    predictor: &'a mut dyn LengthPredictor,
    engines: Vec<Engine>,
    events: BinaryHeap<Reverse<Scheduled>>,
    /// What happens now, before anything else.
    pending: VecDeque<Event>,
    questions: Vec<elis_predictor::Request<'a>>,
    answers: Vec<elis_predictor::Prediction>,
    finished: Vec<u64>,
    next_arrival: usize,
    now_ns: u64,
    seq: u64,
    recorder: Recorder,
    log: Option<&'a mut Log>,
}

/// Replays a workload under a policy. The same arguments give the same outcome, except for the
/// fields that are marked as real time.
///
/// # Errors
/// Impossible options, a workload out of order, a predictor that fails.
pub fn simulate(
    options: &Options,
    arrivals: &[Arrival],
    decider: &mut dyn Decider,
    predictor: &mut dyn LengthPredictor,
) -> Result<RunOutcome, SimError> {
    simulate_recorded(options, arrivals, decider, predictor, None)
}

/// The same, with everything that the core is told and says in a log.
///
/// # Errors
/// Those of [`simulate`]; what the log's writer meets is told when the log is finished.
pub fn simulate_recorded(
    options: &Options,
    arrivals: &[Arrival],
    decider: &mut dyn Decider,
    predictor: &mut dyn LengthPredictor,
    log: Option<&mut Log>,
) -> Result<RunOutcome, SimError> {
    check(arrivals)?;
    let latency_ns = predictor.latency_ns(1);
    let config = options.config(latency_ns);
    let rooms = config.workers.iter().map(|worker| worker.room_tokens());
    let room_tokens = u32::try_from(rooms.min().unwrap_or(0)).unwrap_or(u32::MAX);
    let scheduler = Scheduler::new(config)?;
    let profile = &options.profile;
    let engine = || Engine::new(profile.cost, profile.swap_per_block_us);
    let mut simulation = Simulation {
        scheduler,
        room_tokens,
        options,
        arrivals,
        decider,
        predictor,
        engines: (0..options.workers).map(|_| engine()).collect(),
        events: BinaryHeap::new(),
        pending: VecDeque::new(),
        questions: Vec::new(),
        answers: Vec::new(),
        finished: Vec::new(),
        next_arrival: 0,
        now_ns: 0,
        seq: 0,
        recorder: Recorder::new(options, arrivals),
        log,
    };
    simulation.settle();
    simulation.run()?;
    Ok(simulation.finish())
}

fn check(arrivals: &[Arrival]) -> Result<(), SimError> {
    for (position, arrival) in arrivals.iter().enumerate() {
        if arrival.id != position as u64 {
            return Err(SimError::Workload {
                position,
                what: "its id is not its position",
            });
        }
        if position > 0 && arrival.arrival_ns < arrivals[position - 1].arrival_ns {
            return Err(SimError::Workload {
                position,
                what: "it arrives before its predecessor",
            });
        }
    }
    Ok(())
}

impl<'a> Simulation<'a> {
    fn run(&mut self) -> Result<(), SimError> {
        for failure in &self.options.failures {
            let Failure {
                worker,
                at_ns,
                down_ns,
            } = *failure;
            self.schedule(at_ns, Event::Lost { worker });
            self.schedule(at_ns.saturating_add(down_ns), Event::Back { worker });
        }
        let interest = self.decider.interest();
        self.tell(Input::PolicyInstalled {
            worker: None,
            interest,
        })?;
        while let Some((at_ns, class, worker)) = self.next() {
            self.now_ns = self.now_ns.max(at_ns);
            self.recorder.event(self.now_ns, &self.scheduler);
            match class {
                CLASS_EVENT => {
                    if let Some(Reverse(scheduled)) = self.events.pop() {
                        self.happen(scheduled.event)?;
                    }
                }
                CLASS_ARRIVAL => self.arrive()?,
                CLASS_STEP => self.step_ends(worker)?,
                _ => self.tell(Input::Tick)?,
            }
        }
        Ok(())
    }

    /// The next thing that happens: when, of what class, at which worker.
    fn next(&self) -> Option<(u64, u8, u16)> {
        let event = self
            .events
            .peek()
            .map(|Reverse(s)| (s.at_ns, CLASS_EVENT, 0));
        let arrival = self.arrivals.get(self.next_arrival);
        let arrival = arrival.map(|arrival| (arrival.arrival_ns, CLASS_ARRIVAL, 0));
        let steps = (0..).zip(&self.engines);
        let step = steps
            .filter_map(|(w, engine)| Some((engine.ends_ns()?, CLASS_STEP, w)))
            .min();
        let tick = self
            .scheduler
            .poll_timeout()
            .map(|at| (at.as_ns(), CLASS_TICK, 0));
        // A deadline that never comes is no event.
        let tick = tick.filter(|(at_ns, ..)| *at_ns < u64::MAX);
        [event, arrival, step, tick].into_iter().flatten().min()
    }

    fn schedule(&mut self, at_ns: u64, event: Event) {
        self.seq += 1;
        self.events.push(Reverse(Scheduled {
            at_ns,
            seq: self.seq,
            event,
        }));
    }

    fn arrive(&mut self) -> Result<(), SimError> {
        let arrival = &self.arrivals[self.next_arrival];
        self.next_arrival += 1;
        let deadline = |ns: u64| (ns > 0).then(|| Time::from_ns(arrival.arrival_ns + ns));
        let weights = &self.options.tenant_weights;
        let weight = weights.get(arrival.tenant as usize);
        // Not the true length, unless the core has to hear that there is no room for it.
        let room = self.room_tokens.saturating_sub(arrival.prompt_tokens);
        let limit = arrival.limit_tokens.min(room).max(arrival.output_tokens);
        let request = Request {
            tenant: arrival.tenant,
            tenant_weight: weight.copied().unwrap_or(1.0),
            priority: arrival.priority,
            ttft_deadline: deadline(arrival.ttft_deadline_ns),
            deadline: deadline(arrival.deadline_ns),
            ..Request::new(arrival.id, arrival.prompt_tokens, limit)
        };
        self.recorder.arrived();
        self.tell(Input::Arrive(request))
    }

    fn step_ends(&mut self, worker: u16) -> Result<(), SimError> {
        let mut finished = std::mem::take(&mut self.finished);
        let iterations = self.engines[usize::from(worker)].end(&mut finished);
        let result = self.tell(Input::StepDone {
            worker,
            iterations,
            finished: &finished,
        });
        self.finished = finished;
        result
    }

    fn happen(&mut self, event: Event) -> Result<(), SimError> {
        match event {
            Event::Lost { worker } => {
                if let Some(engine) = self.engines.get_mut(usize::from(worker)) {
                    engine.lose();
                }
                self.tell(Input::WorkerLost { worker })
            }
            Event::Back { worker } => self.tell(Input::WorkerBack { worker }),
            Event::Predicted(prediction) => self.tell(Input::Predicted(prediction)),
            Event::Answered {
                worker,
                revision,
                plan: Ok(plan),
            } => self.tell(Input::Decided {
                worker,
                revision,
                plan,
            }),
            Event::Answered {
                worker,
                revision,
                plan: Err(exit),
            } => self.tell(Input::DecisionFailed {
                worker,
                revision,
                exit,
            }),
        }
    }

    /// Hands an input to the core and performs all that follows at the same moment.
    fn tell(&mut self, input: Input<'_>) -> Result<(), SimError> {
        self.hand(input)?;
        while let Some(event) = self.pending.pop_front() {
            let input = match event {
                Event::Predicted(prediction) => Input::Predicted(prediction),
                Event::Answered {
                    worker,
                    revision,
                    plan: Ok(plan),
                } => Input::Decided {
                    worker,
                    revision,
                    plan,
                },
                Event::Answered {
                    worker,
                    revision,
                    plan: Err(exit),
                } => Input::DecisionFailed {
                    worker,
                    revision,
                    exit,
                },
                Event::Lost { .. } | Event::Back { .. } => continue,
            };
            self.hand(input)?;
        }
        self.settle();
        Ok(())
    }

    fn hand(&mut self, input: Input<'_>) -> Result<(), SimError> {
        let now = Time::from_ns(self.now_ns);
        if let Some(log) = &mut self.log {
            log.input(now, &input);
        }
        self.scheduler.handle(now, input);
        self.drain()
    }

    fn settle(&mut self) {
        if let Some(log) = &mut self.log {
            // A log that nobody writes any more says so when it is finished.
            log.settle(&self.scheduler);
        }
    }

    fn drain(&mut self) -> Result<(), SimError> {
        while let Some(output) = self.scheduler.poll_output() {
            if let Some(log) = &mut self.log {
                log.output(&output, &self.scheduler);
            }
            match output {
                Output::Predict {
                    job,
                    prompt_tokens,
                    generated_tokens,
                    max_new_tokens,
                } => {
                    let arrival = self.arrival(job);
                    self.questions.push(elis_predictor::Request {
                        job,
                        prompt_tokens,
                        generated_tokens,
                        max_new_tokens,
                        true_total_tokens: Some(arrival.map_or(1, |a| a.output_tokens)),
                        text: arrival.and_then(|arrival| text(arrival, generated_tokens)),
                    });
                }
                Output::Decide { worker, revision } => self.decide(worker, revision),
                Output::Dispatch { worker } => self.dispatch(worker),
                Output::Interrupt { worker } => {
                    self.engines[usize::from(worker)].interrupt(self.now_ns);
                }
                Output::Finished(ended) => self.recorder.finished(self.now_ns, &ended),
                Output::Rejected { job, .. } => self.recorder.rejected(job, self.now_ns),
                Output::Cancelled { .. } => {}
            }
        }
        self.predict()
    }

    /// What a job will really be: its length and its text are known here, and nowhere in the core.
    fn arrival(&self, job: u64) -> Option<&'a Arrival> {
        self.arrivals.get(usize::try_from(job).ok()?)
    }

    /// Answers all questions that came up at this moment as one batch.
    fn predict(&mut self) -> Result<(), SimError> {
        if self.questions.is_empty() {
            return Ok(());
        }
        self.answers.clear();
        self.predictor.predict(&self.questions, &mut self.answers)?;
        let latency_ns = self.predictor.latency_ns(self.questions.len());
        let at_ns = self.now_ns + latency_ns;
        for (question, answer) in std::mem::take(&mut self.questions)
            .iter()
            .zip(&self.answers)
        {
            self.seq += 1;
            let event = Event::Predicted(Predicted {
                job: question.job,
                at_tokens: question.generated_tokens,
                remaining_tokens: answer.remaining_tokens,
                sigma_tokens: answer.sigma_tokens,
                p90_tokens: answer.p90_tokens,
                source: answer.source as u32,
            });
            if latency_ns == 0 {
                self.pending.push_back(event);
            } else {
                self.events.push(Reverse(Scheduled {
                    at_ns,
                    seq: self.seq,
                    event,
                }));
            }
        }
        Ok(())
    }

    fn decide(&mut self, worker: u16, revision: u64) {
        let Some(snapshot) = self.scheduler.snapshot(worker) else {
            return;
        };
        let answer = self.decider.decide(&snapshot);
        self.recorder.decided(worker, revision, &answer);
        let cost_ns = match self.options.decision_cost {
            DecisionCost::Free => 0,
            DecisionCost::Fixed { ns } => ns,
            DecisionCost::Fuel { ns_per_unit } => (answer.fuel as f64 * ns_per_unit) as u64,
        };
        let event = Event::Answered {
            worker,
            revision,
            plan: answer.plan,
        };
        if cost_ns == 0 {
            self.pending.push_back(event);
        } else {
            self.schedule(self.now_ns + cost_ns, event);
        }
    }

    fn dispatch(&mut self, worker: u16) {
        let Some(step) = self.scheduler.step(worker) else {
            return;
        };
        let (arrivals, scheduler) = (self.arrivals, &self.scheduler);
        let remaining = |job: u64| {
            let arrival = usize::try_from(job).ok().and_then(|job| arrivals.get(job));
            let total = arrival.map_or(1, |arrival| arrival.output_tokens);
            total.saturating_sub(scheduler.generated_tokens(job).unwrap_or(0))
        };
        self.engines[usize::from(worker)].begin(self.now_ns, step, remaining);
    }

    fn finish(mut self) -> RunOutcome {
        let busy_ns = self.engines.iter().map(|engine| engine.busy_ns).sum();
        self.recorder
            .finish(self.scheduler.stats(), busy_ns, self.options.seed)
    }
}

/// What a predictor may read of a request after so many tokens.
fn text(arrival: &Arrival, generated_tokens: u32) -> Option<Text<'_>> {
    let response = arrival.text.as_deref()?;
    Some(Text {
        prompt: &response.prompt,
        generated: response.after(generated_tokens),
        served_model: &response.model,
    })
}

#[cfg(test)]
mod tests;
