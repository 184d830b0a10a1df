//! Tells a core what a log says and holds what it does against what the log knows.

use std::io::Read;

use elis_scheduler::{Input, Output, Scheduler, Time};

use crate::digest::Digest;
use crate::reader::{Ending, LogError, Reader};
use crate::record::{Checkpoint, Post, Record, Start};

/// Somebody who looks on while a log is replayed.
pub trait Witness {
    /// The inputs that follow go on from here. `fresh` where nothing had happened before.
    fn resumed(&mut self, _posts: &[Post], _fresh: bool, _scheduler: &Scheduler) {}

    /// Policies are about to be installed; those that stay are among them.
    fn policies(&mut self, _posts: &[Post]) {}

    /// The core is about to be told something.
    fn input(&mut self, _now: Time, _input: &Input<'_>, _scheduler: &Scheduler) {}

    /// The core has said something.
    fn output(&mut self, _now: Time, _output: &Output, _scheduler: &Scheduler) {}

    /// Inputs are missing here.
    fn gap(&mut self, _inputs: u64) {}
}

/// Several look on, one after the other.
impl Witness for Vec<&mut dyn Witness> {
    fn resumed(&mut self, posts: &[Post], fresh: bool, scheduler: &Scheduler) {
        for one in self {
            one.resumed(posts, fresh, scheduler);
        }
    }

    fn policies(&mut self, posts: &[Post]) {
        for one in self {
            one.policies(posts);
        }
    }

    fn input(&mut self, now: Time, input: &Input<'_>, scheduler: &Scheduler) {
        for one in self {
            one.input(now, input, scheduler);
        }
    }

    fn output(&mut self, now: Time, output: &Output, scheduler: &Scheduler) {
        for one in self {
            one.output(now, output, scheduler);
        }
    }

    fn gap(&mut self, inputs: u64) {
        for one in self {
            one.gap(inputs);
        }
    }
}

/// Nobody looks on; the digests are compared all the same.
impl Witness for () {}

/// Why a replay ends before the log does.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The records make no sense in this order.
    #[error("the log is damaged: in the frame at byte {offset} {what}")]
    Order {
        /// Where the frame begins.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The core does not do what it did.
    #[error(
        "the replay differs from the log at input {input}, {} ns after the start of the recorded \
         program, in the frame at byte {offset}: it was recorded by {build}, this is {ours}",
        at.as_ns(), ours = env!("CARGO_PKG_VERSION")
    )]
    Diverged {
        /// Where the frame begins.
        offset: u64,
        /// Inputs that were replayed.
        input: u64,
        /// The time of the last one.
        at: Time,
        /// Who recorded.
        build: String,
    },
}

/// How far a replay has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replayed {
    /// Who recorded what.
    pub start: Start,
    /// Runs of inputs without a gap.
    pub segments: u64,
    /// Inputs.
    pub inputs: u64,
    /// Questions to policies.
    pub decisions: u64,
    /// Jobs in all snapshots together.
    pub jobs_shown: u64,
    /// Digests that were compared and are equal.
    pub checks: u64,
    /// Inputs before the last check, which are therefore proven.
    pub proven_inputs: u64,
    /// Inputs that the log says are missing.
    pub lost_inputs: u64,
    /// The first and the last time.
    pub from: Time,
    /// The same.
    pub to: Time,
    /// Bytes of the log that were read.
    pub bytes: u64,
    /// How the log ends, if it was read to there.
    pub ending: Option<Ending>,
}

/// A log on its way through a core.
#[derive(Debug)]
pub struct Replay<R> {
    reader: Reader<R>,
    scheduler: Option<Scheduler>,
    digest: Digest,
    now: Time,
    done: Replayed,
}

impl<R: Read> Replay<R> {
    /// Reads the head of a log and who recorded it.
    ///
    /// # Errors
    /// It is no log of this version.
    pub fn open(input: R) -> Result<Self, ReplayError> {
        let mut reader = Reader::open(input)?;
        let mut done = Replayed::default();
        match reader.read()? {
            Some(Record::Start(start)) => done.start = start,
            Some(_) => {
                return Err(ReplayError::Order {
                    offset: reader.offset(),
                    what: "the log does not say who recorded it",
                });
            }
            // Cut before anything was in it.
            None => {}
        }
        Ok(Self {
            reader,
            scheduler: None,
            digest: Digest::default(),
            now: Time::ZERO,
            done,
        })
    }

    /// How far it has come.
    pub fn replayed(&self) -> Replayed {
        Replayed {
            bytes: self.reader.bytes(),
            ending: self.reader.ending(),
            ..self.done.clone()
        }
    }

    /// The core as it stands; none before the first checkpoint and after a gap.
    pub fn scheduler(&self) -> Option<&Scheduler> {
        self.scheduler.as_ref()
    }

    /// Replays all that can be read.
    ///
    /// # Errors
    /// The log is damaged, or the core does something else; what came before stands in
    /// [`Self::replayed`].
    pub fn run(&mut self, witness: &mut dyn Witness) -> Result<(), ReplayError> {
        while let Some(record) = self.reader.read()? {
            self.take(&record, witness)?;
        }
        Ok(())
    }

    fn take(&mut self, record: &Record<'_>, witness: &mut dyn Witness) -> Result<(), ReplayError> {
        match record {
            Record::Start(_) => return Err(self.order("a second log begins")),
            Record::Checkpoint(checkpoint) => self.resume(checkpoint, witness)?,
            Record::Policies(posts) => witness.policies(posts),
            Record::Input { after, what } => {
                self.now += *after;
                self.tell(&what.input(), witness)?;
            }
            Record::Check(digest) => {
                if *digest != self.digest.value() {
                    return Err(ReplayError::Diverged {
                        offset: self.reader.offset(),
                        input: self.done.inputs,
                        at: self.now,
                        build: self.done.start.build.clone(),
                    });
                }
                self.done.checks += 1;
                self.done.proven_inputs = self.done.inputs;
            }
            Record::Gap { inputs } => {
                self.done.lost_inputs += inputs;
                self.scheduler = None;
                witness.gap(*inputs);
            }
            Record::End { inputs } => {
                if *inputs != self.done.inputs {
                    return Err(self.order("the log counts other inputs than it holds"));
                }
            }
        }
        Ok(())
    }

    fn resume(
        &mut self,
        checkpoint: &Checkpoint,
        witness: &mut dyn Witness,
    ) -> Result<(), ReplayError> {
        let offset = self.reader.offset();
        let scheduler = checkpoint.scheduler();
        let scheduler = scheduler.map_err(|source| LogError::Record { offset, source })?;
        self.now = scheduler.now();
        if self.done.segments == 0 {
            self.done.from = self.now;
        }
        self.done.to = self.now;
        self.done.segments += 1;
        self.digest.reset();
        witness.resumed(&checkpoint.posts, checkpoint.fresh, &scheduler);
        self.scheduler = Some(scheduler);
        Ok(())
    }

    fn tell(&mut self, input: &Input<'_>, witness: &mut dyn Witness) -> Result<(), ReplayError> {
        let Some(scheduler) = &mut self.scheduler else {
            return Err(self.order("an input comes without a state before it"));
        };
        self.done.inputs += 1;
        self.done.to = self.now;
        witness.input(self.now, input, scheduler);
        scheduler.handle(self.now, input.clone());
        while let Some(output) = scheduler.poll_output() {
            self.digest.output(&output, scheduler);
            if let Output::Decide { worker, .. } = output {
                self.done.decisions += 1;
                let rows = scheduler.snapshot(worker).map_or(0, |s| s.jobs.len());
                self.done.jobs_shown += rows as u64;
            }
            witness.output(self.now, &output, scheduler);
        }
        Ok(())
    }

    fn order(&self, what: &'static str) -> ReplayError {
        ReplayError::Order {
            offset: self.reader.offset(),
            what,
        }
    }
}
