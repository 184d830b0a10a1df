//! A driver for the core that plays clients, engines, policy and predictor, one thing at a time,
//! and looks after each of them whether everything still adds up.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use elis_record::{Pace, Recorder, Replay, Replayed, Start};
use elis_scheduler::config::Config;
use elis_scheduler::plan::{Interest, Plan, PolicyExit};
use elis_scheduler::{
    Ended, Input, NO_DEADLINE, Output, Predicted, Request, Scheduler, Span, Step, Time,
};

use super::engine::{Engine, Truth};
use super::invariants;

/// A decision that the core waits for.
#[derive(Debug, Clone, Copy)]
struct Question {
    worker: u16,
    revision: u64,
    asked: Time,
}

/// A prediction that the core waits for.
#[derive(Debug, Clone, Copy)]
struct Wish {
    job: u64,
    at_tokens: u32,
}

/// Everything around the core.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) scheduler: Scheduler,
    pub(crate) engines: Vec<Engine>,
    pub(crate) truths: BTreeMap<u64, Truth>,
    /// Requests that were taken in and have not ended.
    pub(crate) live: BTreeSet<u64>,
    /// When jobs that a plan has put off may be looked at again.
    deferred: BTreeMap<u64, Time>,
    pub(crate) up: Vec<bool>,
    pub(crate) now: Time,
    questions: Vec<Question>,
    /// Revisions whose time is over.
    stale: Vec<(u16, u64)>,
    wishes: Vec<Wish>,
    next_id: u64,
    /// All that the core said.
    pub(crate) log: Vec<Said>,
    recording: Option<(Recorder, Shared)>,
}

/// A file in memory that two hold.
#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One output, with the step where it is about one.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) at: Time,
    pub(crate) output: Output,
    pub(crate) step: Option<Step>,
}

impl World {
    pub(crate) fn new(config: Config, interest: Interest) -> Self {
        let engines = config.workers.iter().copied().map(Engine::new).collect();
        let up = vec![true; config.workers.len()];
        let mut world = Self {
            scheduler: Scheduler::new(config).expect("only possible configurations are drawn"),
            engines,
            truths: BTreeMap::new(),
            live: BTreeSet::new(),
            deferred: BTreeMap::new(),
            up,
            now: Time::ZERO,
            questions: Vec::new(),
            stale: Vec::new(),
            wishes: Vec::new(),
            next_id: 1,
            log: Vec::new(),
            recording: None,
        };
        world.install(None, interest);
        world
    }

    /// Records from here on.
    pub(crate) fn record(&mut self) {
        let file = Shared::default();
        let recorder = Recorder::start(file.clone(), Start::default(), Vec::new(), Pace::Offline);
        let mut recorder = recorder.unwrap();
        recorder.settle(&self.scheduler);
        self.recording = Some((recorder, file));
    }

    /// Replays what was recorded.
    pub(crate) fn replay(&mut self) -> Replayed {
        let (recorder, file) = self.recording.take().unwrap();
        recorder.finish().unwrap();
        let bytes = file.0.lock().unwrap();
        let mut replay = Replay::open(&bytes[..]).unwrap();
        replay.run(&mut ()).unwrap();
        let last = replay.scheduler().unwrap();
        assert_eq!(last.stats(), self.scheduler.stats());
        replay.replayed()
    }

    /// Lets time pass; timers go off on the way.
    pub(crate) fn pass(&mut self, span: Span) {
        let target = self.now + span;
        while self
            .scheduler
            .poll_timeout()
            .is_some_and(|due| due < target)
        {
            self.tick();
        }
        self.now = target;
    }

    pub(crate) fn arrive(&mut self, prompt_tokens: u32, output_tokens: u32, tenant: u32) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let truth = Truth {
            prompt_tokens,
            output_tokens,
            generated: 0,
        };
        self.truths.insert(id, truth);
        self.live.insert(id);
        self.tell(Input::Arrive(Request {
            tenant,
            ..Request::new(id, prompt_tokens, output_tokens)
        }));
        id
    }

    pub(crate) fn cancel(&mut self, job: u64) {
        self.tell(Input::Cancel { job });
    }

    /// Answers the question that `pick` points to, if there is any.
    pub(crate) fn answer(&mut self, pick: usize, plan: impl FnOnce(&Self, u16) -> Plan) {
        if self.questions.is_empty() {
            return;
        }
        let question = self.questions.remove(pick % self.questions.len());
        let Question {
            worker, revision, ..
        } = question;
        let plan = plan(self, worker);
        // Where the deadline has come with the answer, the answer is first and counts.
        self.note_deferrals(worker, &plan);
        self.tell(Input::Decided {
            worker,
            revision,
            plan,
        });
        self.stale.push((worker, revision));
    }

    fn note_deferrals(&mut self, worker: u16, plan: &Plan) {
        let snapshot = self.scheduler.snapshot(worker).expect("it was asked about");
        if plan.defer.len() != plan.defer_until_us.len() {
            return;
        }
        for (id, &until_us) in plan.defer.iter().zip(&plan.defer_until_us) {
            let until = Time::from_us(until_us);
            if snapshot.jobs.id.contains(id) && until > self.now {
                self.deferred.insert(*id, until);
            }
        }
    }

    pub(crate) fn fail(&mut self, pick: usize, exit: PolicyExit) {
        if self.questions.is_empty() {
            return;
        }
        let question = self.questions.remove(pick % self.questions.len());
        let (worker, revision) = (question.worker, question.revision);
        self.tell(Input::DecisionFailed {
            worker,
            revision,
            exit,
        });
        self.stale.push((worker, revision));
    }

    /// Answers a question once more, or one that the core no longer waits for; it must not matter.
    pub(crate) fn answer_late(&mut self, pick: usize, plan: Plan) {
        if self.stale.is_empty() {
            return;
        }
        let (worker, revision) = self.stale[pick % self.stale.len()];
        let (log, late) = (self.log.len(), self.scheduler.stats().late);
        self.tell(Input::Decided {
            worker,
            revision,
            plan,
        });
        assert_eq!(self.log.len(), log, "a late answer changes nothing");
        assert_eq!(self.scheduler.stats().late, late + 1);
    }

    pub(crate) fn predict(&mut self, pick: usize, remaining_tokens: f32) {
        if self.wishes.is_empty() {
            return;
        }
        let Wish { job, at_tokens } = self.wishes.remove(pick % self.wishes.len());
        self.tell(Input::Predicted(Predicted {
            job,
            at_tokens,
            remaining_tokens,
            sigma_tokens: f32::NAN,
            p90_tokens: f32::NAN,
            source: 5,
        }));
    }

    /// Ends the step of a worker, if one runs; an interrupted one after about `early` iterations.
    pub(crate) fn end_step(&mut self, worker: u16, early: u32) -> bool {
        let engine = &mut self.engines[usize::from(worker)];
        let Some(iterations) = engine.iterations(early, &self.truths) else {
            return false;
        };
        let finished = engine.end(iterations, &mut self.truths);
        self.tell(Input::StepDone {
            worker,
            iterations,
            finished: &finished,
        });
        true
    }

    /// The worker of the question that has been open for longest.
    pub(crate) fn question(&self) -> Option<u16> {
        self.questions.first().map(|question| question.worker)
    }

    /// The job whose prediction has been awaited for longest.
    pub(crate) fn wish(&self) -> Option<u64> {
        self.wishes.first().map(|wish| wish.job)
    }

    pub(crate) fn predict_job(&mut self, job: u64, remaining_tokens: f32) {
        let at = self.wishes.iter().position(|wish| wish.job == job);
        self.predict(at.expect("its prediction is awaited"), remaining_tokens);
    }

    /// Iterations of the step that a worker runs, as for [`Engine::iterations`].
    pub(crate) fn iterations(&self, worker: u16, early: u32) -> u32 {
        let engine = &self.engines[usize::from(worker)];
        engine.iterations(early, &self.truths).expect("a step runs")
    }

    /// An engine that is idle says that it is done; it must not matter.
    pub(crate) fn end_nothing(&mut self, worker: u16) {
        if !self.engines[usize::from(worker)].busy() {
            let log = self.log.len();
            self.tell(Input::StepDone {
                worker,
                iterations: 1,
                finished: &[],
            });
            assert_eq!(self.log.len(), log, "no step, no outputs");
        }
    }

    pub(crate) fn lose(&mut self, worker: u16) {
        self.engines[usize::from(worker)].lose();
        self.up[usize::from(worker)] = false;
        self.lapse(worker);
        self.tell(Input::WorkerLost { worker });
    }

    pub(crate) fn back(&mut self, worker: u16) {
        self.up[usize::from(worker)] = true;
        self.tell(Input::WorkerBack { worker });
    }

    pub(crate) fn install(&mut self, worker: Option<u16>, interest: Interest) {
        let scheduler = &self.scheduler;
        let elsewhere = |job: &u64| worker.is_some() && scheduler.worker_of(*job) != worker;
        self.deferred.retain(|job, _| elsewhere(job));
        self.tell(Input::PolicyInstalled { worker, interest });
    }

    /// Goes to the next timer, if one is set.
    pub(crate) fn tick(&mut self) -> bool {
        let due = self.scheduler.poll_timeout();
        let due = due.filter(|at| *at < Time::from_ns(u64::MAX));
        self.now = self.now.max(due.unwrap_or(Time::ZERO));
        self.tell(Input::Tick);
        let next = self.scheduler.poll_timeout();
        assert!(
            next.is_none_or(|at| at > self.now),
            "a timer goes off for ever"
        );
        due.is_some()
    }

    /// Plays by the rules until nothing happens any more.
    pub(crate) fn settle(&mut self) {
        for worker in 0..self.up.len() as u16 {
            if !self.up[usize::from(worker)] {
                self.back(worker);
            }
        }
        for _ in 0..200_000 {
            self.pass(Span::from_us(100));
            if !self.wishes.is_empty() {
                self.predict(0, 50.0);
            } else if !self.questions.is_empty() {
                self.answer(0, |_, _| Plan::default());
            } else {
                let ended = (0..self.up.len() as u16).any(|worker| self.end_step(worker, 1));
                if !ended && (self.live.is_empty() || !self.tick()) {
                    return;
                }
            }
        }
        panic!("it does not come to an end: {:?}", self.live);
    }

    /// Hands in what happened, performs what follows and checks what has come of it.
    fn tell(&mut self, input: Input<'_>) {
        let ticks = input == Input::Tick;
        if let Some((recorder, _)) = &mut self.recording {
            recorder.input(self.now, &input);
        }
        self.scheduler.handle(self.now, input);
        while let Some(output) = self.scheduler.poll_output() {
            if let Some((recorder, _)) = &mut self.recording {
                recorder.output(&output, &self.scheduler);
            }
            let step = match output {
                Output::Dispatch { worker } => self.scheduler.step(worker).cloned(),
                _ => None,
            };
            self.log.push(Said {
                at: self.now,
                output: output.clone(),
                step,
            });
            self.perform(output);
        }
        if ticks {
            self.lapse_what_is_due();
        }
        invariants::check(self);
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Predict {
                job,
                generated_tokens,
                ..
            } => {
                assert!(self.live.contains(&job), "a prediction of a dead job");
                assert!(!self.predicts(job), "job {job} is being predicted");
                assert_eq!(generated_tokens, self.truths[&job].generated);
                self.wishes.push(Wish {
                    job,
                    at_tokens: generated_tokens,
                });
            }
            Output::Decide { worker, revision } => self.ask(worker, revision),
            Output::Dispatch { worker } => {
                assert!(self.up[usize::from(worker)], "a step of a lost worker");
                self.lapse_by_deadline(worker);
                let step = self.scheduler.step(worker).expect("it has this worker");
                self.engines[usize::from(worker)].begin(step, &self.truths);
            }
            Output::Interrupt { worker } => self.engines[usize::from(worker)].interrupt(),
            Output::Finished(ended) => self.finished(&ended),
            Output::Rejected { job, .. } | Output::Cancelled { job } => self.gone(job),
        }
    }

    fn ask(&mut self, worker: u16, revision: u64) {
        assert!(self.up[usize::from(worker)], "about a lost worker");
        assert!(!self.engines[usize::from(worker)].busy());
        self.lapse_by_deadline(worker);
        invariants::check_guard(self, worker);
        self.questions.push(Question {
            worker,
            revision,
            asked: self.now,
        });
    }

    fn finished(&mut self, ended: &Ended) {
        let truth = self.truths[&ended.row.id];
        assert_eq!(ended.row.generated_tokens, truth.output_tokens);
        assert_eq!(ended.row.delivered_tokens, truth.output_tokens);
        let (run, token) = (ended.first_run.unwrap(), ended.first_token.unwrap());
        assert!(ended.arrival <= run && run <= token && token <= self.now);
        self.gone(ended.row.id);
    }

    fn gone(&mut self, job: u64) {
        assert!(self.live.remove(&job), "job {job} ends twice");
        for engine in &mut self.engines {
            engine.forget(job);
        }
    }

    /// Whether the core waits for an answer about a worker.
    pub(crate) fn is_asked(&self, worker: u16) -> bool {
        self.questions.iter().any(|q| q.worker == worker)
    }

    pub(crate) fn predicts(&self, job: u64) -> bool {
        self.wishes.iter().any(|wish| wish.job == job)
    }

    /// Whether a job is put off; at the very moment of its end the timer may not have gone off yet.
    pub(crate) fn defers(&self, job: u64) -> bool {
        self.deferred
            .get(&job)
            .is_some_and(|until| *until >= self.now)
    }

    fn is_due(&self, question: &Question) -> bool {
        let deadline = self.scheduler.config().decision_deadline;
        deadline != NO_DEADLINE && question.asked + deadline <= self.now
    }

    /// A worker goes on although it was asked about: only the deadline allows that.
    fn lapse_by_deadline(&mut self, worker: u16) {
        for question in self.questions.iter().filter(|q| q.worker == worker) {
            assert!(self.is_due(question), "{question:?} is still open");
        }
        self.lapse(worker);
    }

    fn lapse_what_is_due(&mut self) {
        for worker in 0..self.up.len() as u16 {
            if self
                .questions
                .iter()
                .any(|q| q.worker == worker && self.is_due(q))
            {
                self.lapse(worker);
            }
        }
    }

    fn lapse(&mut self, worker: u16) {
        let open = self.questions.iter().filter(|q| q.worker == worker);
        self.stale.extend(open.map(|q| (worker, q.revision)));
        self.questions.retain(|q| q.worker != worker);
    }
}
