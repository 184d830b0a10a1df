//! Plays a script: virtual time, a policy, and engines whose every iteration takes 10 ms.

use std::collections::BTreeMap;

use elis_scheduler::config::{Batching, Boundary, Config, CostHint, Placement, WorkerConfig};
use elis_scheduler::plan::{Interest, Plan, PolicyExit, Preemption};
use elis_scheduler::{NO_DEADLINE, Output, Span, Time};
use elis_sim::Decider;

use super::script::Command;
use super::transcript;
use crate::core_properties::world::World;
use crate::support::ArrivalOrder;
use crate::twins::native::native;

const ITERATION: Span = Span::from_ms(10);

/// A step that runs: since when, and when it was asked to end early.
#[derive(Debug, Clone, Copy)]
struct Flight {
    since: Time,
    interrupted: Option<Time>,
}

/// What the next decision is instead of the policy's own.
enum Cue {
    Fails(PolicyExit),
    Plans(Box<Plan>),
    /// The policy's own, but after the deadline.
    Late,
}

/// Everything a script has set up.
#[derive(Default)]
pub(crate) struct Stage {
    world: Option<World>,
    policy: Option<Box<dyn Decider>>,
    cues: Vec<Cue>,
    manual_predictions: bool,
    flights: BTreeMap<u16, Flight>,
    /// A plan that has missed its time.
    overtime: Option<Plan>,
    lines: Vec<String>,
    /// Outputs that have been written down.
    seen: usize,
}

impl Stage {
    /// Performs one command; gives the lines that belong under it.
    pub(crate) fn perform(&mut self, command: &Command) -> Vec<String> {
        let before = self
            .world
            .as_ref()
            .map(|world| world.scheduler.stats().clone());
        match command.verb.as_str() {
            "config" => self.config(command),
            "policy" => self.install(command.word(0)),
            "arrive" => self.arrive(command),
            "predict" => self.predict(command),
            "policy-fails" => self.cues.push(Cue::Fails(exit(command.word(0)))),
            "policy-plans" => self.cues.push(Cue::Plans(Box::new(plan(command)))),
            "late" => self.cues.push(Cue::Late),
            "cancel" => self.world().cancel(command.number(0)),
            "lose" => {
                let worker = command.number(0) as u16;
                self.flights.remove(&worker);
                self.world().lose(worker);
            }
            "back" => self.world().back(command.number(0) as u16),
            "run-until" => match command.word(0) {
                "idle" => self.run(None),
                _ => self.run(Some(Time::from_us(command.number(0) * 1_000))),
            },
            "queue" => self.queue(command.number(0) as u16),
            other => panic!("there is no verb {other:?}"),
        }
        if self.world.is_some() {
            self.answer_all();
            let before = before.unwrap_or_default();
            let counted = transcript::counted(&before, self.world().scheduler.stats());
            self.lines.extend(counted);
        }
        std::mem::take(&mut self.lines)
    }

    /// No script ends with a request that has not.
    pub(crate) fn close(&mut self) {
        let live = &self.world().live;
        assert!(live.is_empty(), "{live:?} have not ended: run-until idle");
        assert!(self.cues.is_empty(), "the policy was not asked again");
    }

    fn world(&mut self) -> &mut World {
        self.world.as_mut().expect("a script begins with config")
    }

    fn config(&mut self, command: &Command) {
        command.only(&[
            "slots",
            "tokens",
            "block",
            "blocks",
            "cpu",
            "window",
            "boundary",
            "batching",
            "workers",
            "deadline",
            "max-wait",
            "predictions",
            "repredict",
        ]);
        let worker = WorkerConfig {
            max_num_seqs: command.count("slots", 2),
            max_batched_tokens: command.count("tokens", 64),
            block_size_tokens: command.count("block", 4),
            gpu_blocks: command.count("blocks", 100),
            cpu_blocks: command.count("cpu", 0),
            watermark_blocks: 0,
            batching: match command.text("batching", "mixed") {
                "prefill-first" => Batching::PrefillFirst,
                _ => Batching::Mixed,
            },
            cost: CostHint::default(),
        };
        self.manual_predictions = command.text("predictions", "oracle") == "manual";
        let config = Config {
            boundary: match command.text("boundary", "slot") {
                "batch" => Boundary::Batch,
                _ => Boundary::Slot,
            },
            placement: Placement::Jobs,
            window_tokens: command.count("window", 10),
            repredict_tokens: command.count("repredict", 0),
            prediction_wait: NO_DEADLINE,
            decision_deadline: command.given("deadline").map_or(NO_DEADLINE, Span::from_ms),
            max_wait: Span::from_ms(command.given("max-wait").unwrap_or(0)),
            jobs_max: 100,
            seed: 0,
            workers: vec![worker; command.count("workers", 1) as usize],
        };
        self.world = Some(World::new(config, Interest::default()));
        self.policy = Some(Box::new(ArrivalOrder));
    }

    fn install(&mut self, name: &str) {
        let policy = native(name);
        let interest = policy.interest();
        self.policy = Some(policy);
        self.world().install(None, interest);
    }

    fn arrive(&mut self, command: &Command) {
        command.only(&["prompt", "output", "at"]);
        if let Some(at) = command.given("at") {
            self.run(Some(Time::from_us(at * 1_000)));
        }
        let (prompt, output) = (command.count("prompt", 4), command.count("output", 4));
        let id = self.world().arrive(prompt, output, 0);
        assert_eq!(id, command.number(0), "ids count up");
    }

    fn predict(&mut self, command: &Command) {
        let tokens = command.word(1).parse().expect("a length");
        self.world().predict_job(command.number(0), tokens);
    }

    fn queue(&mut self, worker: u16) {
        let world = self.world();
        let snapshot = world
            .scheduler
            .snapshot(worker)
            .expect("it has this worker");
        let names = ["new", "prefill", "decode", "paused", "swapped", "evicted"];
        let mut lines = Vec::new();
        for row in 0..snapshot.jobs.len() {
            let job = snapshot.jobs.row(row);
            lines.push(format!(
                "{}: {}, {} of {} tokens, {} blocks",
                job.id,
                names[job.state as usize],
                job.generated_tokens,
                job.max_new_tokens,
                job.gpu_blocks
            ));
        }
        lines.sort();
        lines.push(format!("free: {} blocks", snapshot.header.gpu_blocks_free));
        self.lines.extend(lines);
    }

    /// Lets things happen, until a time or until nothing is left to happen.
    fn run(&mut self, until: Option<Time>) {
        for _ in 0..10_000 {
            self.answer_all();
            let now = self.world().now;
            let step = self.next_end();
            let timer = self.world().scheduler.poll_timeout();
            let timer = timer.filter(|at| *at < Time::from_ns(u64::MAX));
            let next = [step.map(|(at, ..)| at), timer].into_iter().flatten().min();
            let Some(next) = next.filter(|at| until.is_none_or(|until| *at <= until)) else {
                if let Some(until) = until {
                    self.world().pass(until - now);
                }
                return;
            };
            self.world().pass(next - now);
            match step {
                Some((at, worker, early)) if at == next => {
                    self.flights.remove(&worker);
                    self.world().end_step(worker, early);
                }
                _ => drop(self.world().tick()),
            }
        }
        panic!("it does not come to an end");
    }

    /// The step that ends first: when, on which worker, after how many iterations at most.
    fn next_end(&mut self) -> Option<(Time, u16, u32)> {
        let world = self.world.as_ref()?;
        let ends = self.flights.iter().map(|(&worker, flight)| {
            let early = flight.interrupted.map_or(u32::MAX, |at| {
                (at - flight.since).as_ns().div_ceil(ITERATION.as_ns()) as u32
            });
            let iterations = world.iterations(worker, early);
            let span = Span::from_ns(ITERATION.as_ns() * u64::from(iterations));
            (flight.since + span, worker, early)
        });
        ends.min()
    }

    /// Answers all questions of this moment and writes down all that was said.
    fn answer_all(&mut self) {
        loop {
            self.write_down();
            if let Some(job) = self.world().wish().filter(|_| !self.manual_predictions) {
                let truth = self.world().truths[&job];
                let left = truth.output_tokens - truth.generated;
                self.world().predict_job(job, left as f32);
            } else if let Some(worker) = self.world().question().filter(|_| self.overtime.is_none())
            {
                self.decide(worker);
            } else if self.overtime.is_some() && self.world().question().is_none() {
                let plan = self.overtime.take().unwrap_or_default();
                self.world().answer_late(0, plan);
            } else {
                return;
            }
        }
    }

    fn decide(&mut self, worker: u16) {
        let cue = (!self.cues.is_empty()).then(|| self.cues.remove(0));
        let policy = self.policy.as_mut().expect("config installs one");
        let world = self.world.as_mut().expect("a script begins with config");
        let snapshot = world
            .scheduler
            .snapshot(worker)
            .expect("it was asked about");
        let fired = transcript::triggers(snapshot.header.fired);
        let own = policy.decide(&snapshot).plan;
        let (answer, late) = match cue {
            None => (own, false),
            Some(Cue::Late) => (own, true),
            Some(Cue::Fails(exit)) => (Err(exit), false),
            Some(Cue::Plans(plan)) => (Ok(*plan), false),
        };
        let text = transcript::answer(&answer);
        let late_text = if late { " (late)" } else { "" };
        let now = transcript::time(world.now);
        self.lines.push(format!(
            "{now} asked about {worker} ({fired}): {text}{late_text}"
        ));
        match answer {
            Ok(plan) if late => self.overtime = Some(plan),
            Ok(plan) => world.answer(0, |_, _| plan),
            Err(exit) => world.fail(0, exit),
        }
    }

    fn write_down(&mut self) {
        let world = self.world.as_ref().expect("a script begins with config");
        for said in &world.log[self.seen..] {
            match said.output {
                Output::Dispatch { worker } => {
                    let flight = Flight {
                        since: said.at,
                        interrupted: None,
                    };
                    self.flights.insert(worker, flight);
                }
                Output::Interrupt { worker } => {
                    let flight = self.flights.get_mut(&worker).expect("a step runs");
                    flight.interrupted = Some(said.at);
                }
                _ => {}
            }
            self.lines.extend(transcript::said(said));
        }
        self.seen = world.log.len();
    }
}

fn exit(name: &str) -> PolicyExit {
    let exit = PolicyExit::ALL.into_iter().find(|exit| exit.name() == name);
    exit.unwrap_or_else(|| panic!("a policy cannot end by {name:?}"))
}

fn plan(command: &Command) -> Plan {
    command.only(&[
        "run",
        "preempt",
        "mode",
        "victims",
        "victim-mode",
        "reject",
        "slots",
        "defer",
    ]);
    let mode = |key| match command.text(key, "pause") {
        "swap" => Preemption::Swap,
        "recompute" => Preemption::Recompute,
        _ => Preemption::Pause,
    };
    let preempt = command.list("preempt");
    let defer = command.list("defer");
    Plan {
        run: command.list("run"),
        preempt_modes: vec![mode("mode"); preempt.len()],
        preempt,
        victims: command.list("victims"),
        victim_mode: mode("victim-mode"),
        reject: command.list("reject"),
        max_num_seqs: command.count("slots", 0),
        defer_until_us: vec![500_000; defer.len()],
        defer,
        ..Plan::default()
    }
}
