//! What a driver tells of a scheduler, turned into chunks of a log.

use std::io::Write;
use std::sync::Arc;

use elis_scheduler::{Input, Output, Scheduler, Span, Time};

use crate::digest::Digest;
use crate::record::{Checkpoint, Happened, Post, Record, Start};
use crate::writer::{Chunk, RecordError, Sent, Tally, Writer};

/// Encoded bytes that are handed to the writer together.
const CHUNK_BYTES: usize = 64 << 10;

/// The longest that a live recording keeps an input to itself: what a killed server loses.
const CHUNK_AGE: Span = Span::from_ms(250);

/// Inputs between two checks where nobody decides.
const INPUTS_PER_CHECK: u32 = 64;

/// What matters more when the two disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// The scheduler never waits: where the writer cannot keep up, the log gets a gap.
    Live,
    /// The log is whole: a simulation waits for its writer.
    Offline,
}

/// Records one scheduler. Dropped without [`Self::finish`] it leaves a log that reads as cut.
#[derive(Debug)]
pub struct Recorder {
    writer: Writer,
    pace: Pace,
    posts: Vec<Post>,
    digest: Digest,
    chunk: Chunk,
    /// The first time in `chunk`.
    since: Time,
    /// The last time in the log.
    last: Time,
    /// Inputs since the last check; a check is due where a policy was asked.
    unchecked: u32,
    asked: bool,
    /// Whether the log has a checkpoint from which all inputs are in it.
    follows: bool,
    begun: bool,
    /// Inputs that are missing before the present chunk, and inputs that are not.
    gap: u64,
    inputs: u64,
    gone: bool,
}

impl Recorder {
    /// Begins a log. Nothing is recorded before the first [`Self::settle`].
    ///
    /// # Errors
    /// There is no thread for its writer.
    pub fn start(
        out: impl Write + Send + 'static,
        start: Start,
        posts: Vec<Post>,
        pace: Pace,
    ) -> Result<Self, RecordError> {
        let mut recorder = Self {
            writer: Writer::start(out)?,
            pace,
            posts,
            digest: Digest::default(),
            chunk: Chunk::default(),
            since: Time::ZERO,
            last: Time::ZERO,
            unchecked: 0,
            asked: false,
            follows: false,
            begun: false,
            gap: 0,
            inputs: 0,
            gone: false,
        };
        recorder.put(&Record::Start(start));
        Ok(recorder)
    }

    /// Policies are about to be installed; those that stay are among them.
    pub fn policies(&mut self, posts: Vec<Post>) {
        if self.follows {
            self.check();
            self.put(&Record::Policies(posts.clone()));
        }
        self.posts = posts;
        self.forget();
    }

    /// What policies were handed is where they began; later it says nothing of what they know.
    fn forget(&mut self) {
        for post in &mut self.posts {
            post.memory = Vec::new();
        }
    }

    /// The core is about to be told something.
    pub fn input(&mut self, now: Time, input: &Input<'_>) {
        if !self.follows {
            self.gap += 1;
            self.writer.note_lost();
            return;
        }
        if self.asked || self.unchecked >= INPUTS_PER_CHECK {
            self.check();
        }
        let after = now - self.last;
        self.last = now;
        self.put(&Record::Input {
            after,
            what: Happened::from(input),
        });
        self.chunk.inputs += 1;
        self.unchecked += 1;
    }

    /// The core has said something; before anything else happens to it.
    pub fn output(&mut self, output: &Output, scheduler: &Scheduler) {
        if self.follows {
            self.digest.output(output, scheduler);
            self.asked |= matches!(output, Output::Decide { .. });
        }
    }

    /// The core has been told all that there was and has said all about it. Begins, hands on what
    /// is due, and takes up again after a gap. Says whether anybody still writes.
    pub fn settle(&mut self, scheduler: &Scheduler) -> bool {
        if !self.follows && !self.gone && self.writer.has_room() {
            self.begin(scheduler);
        }
        let now = scheduler.now();
        let live = self.pace == Pace::Live;
        let stale = live && (now - self.since >= CHUNK_AGE || scheduler.jobs() == 0);
        if self.chunk.bytes.len() >= CHUNK_BYTES || (stale && !self.chunk.bytes.is_empty()) {
            self.hand_on(self.pace == Pace::Offline);
        }
        if self.chunk.bytes.is_empty() {
            self.since = now;
        }
        !self.gone
    }

    fn begin(&mut self, scheduler: &Scheduler) {
        if self.begun {
            self.put(&Record::Gap { inputs: self.gap });
        }
        let fresh = scheduler.stats().asked == 0;
        let checkpoint = Checkpoint::new(&self.posts, fresh, scheduler);
        self.put(&Record::Checkpoint(checkpoint));
        self.forget();
        self.digest.reset();
        self.unchecked = 0;
        self.asked = false;
        self.last = scheduler.now();
        self.since = self.last;
        self.begun = true;
        self.follows = true;
    }

    fn check(&mut self) {
        if self.unchecked > 0 {
            self.put(&Record::Check(self.digest.value()));
            self.unchecked = 0;
            self.asked = false;
        }
    }

    fn put(&mut self, record: &Record<'_>) {
        let bytes = std::mem::take(&mut self.chunk.bytes);
        // Writing numbers and lists to memory does not fail.
        self.chunk.bytes = postcard::to_extend(record, bytes).unwrap_or_default();
    }

    fn hand_on(&mut self, wait: bool) {
        if self.follows {
            self.check();
        }
        let room = self.chunk.bytes.len();
        let chunk = std::mem::take(&mut self.chunk);
        let inputs = chunk.inputs;
        self.chunk.bytes.reserve(room.min(CHUNK_BYTES));
        match self.writer.send(chunk, wait) {
            Sent::Taken => {
                self.inputs += inputs;
                self.gap = 0;
            }
            Sent::Dropped => {
                self.gap += inputs;
                self.follows = false;
            }
            Sent::Gone => {
                self.follows = false;
                self.gone = true;
            }
        }
    }

    /// Whether the log is without a gap at present.
    pub fn follows(&self) -> bool {
        self.follows
    }

    /// What has been written so far.
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.writer.tally)
    }

    /// Ends the log and waits until it is written.
    ///
    /// # Errors
    /// The disk is full, or whoever listened has gone.
    pub fn finish(mut self) -> Result<Arc<Tally>, RecordError> {
        if self.follows {
            self.check();
        } else if self.begun && self.gap > 0 {
            self.put(&Record::Gap { inputs: self.gap });
        }
        let inputs = self.inputs + self.chunk.inputs;
        self.put(&Record::End { inputs });
        self.hand_on(true);
        self.writer.finish()
    }
}
