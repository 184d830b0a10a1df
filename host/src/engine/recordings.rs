//! The recordings that are under way: each is told what the core is told and what it says.

use std::fmt;
use std::io::Write;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use elis_record::{Pace, Policy, Post, RecordError, Recorder, Start, Tally};
use elis_scheduler::{Input, Output, Scheduler, Time};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::oneshot;

use super::deck::Deck;
use super::driver::Message;

/// Recordings at a time: each costs the scheduling thread a little.
const RECORDINGS_MAX: usize = 4;

/// What the scheduling thread is told of recordings.
pub(crate) enum Order {
    Begin {
        out: Box<dyn Write + Send>,
        reply: oneshot::Sender<Result<u64, RecordingError>>,
    },
    End(u64),
}

/// Why there is no recording.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// There are enough.
    #[error("{RECORDINGS_MAX} recordings are under way; end one of them first")]
    TooMany,
    /// It does not start.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// This engine has none.
    #[error("this engine does not record")]
    None,
    /// The engine is gone.
    #[error("the engine is gone")]
    Gone,
}

/// A recording under way; dropping it ends the log.
#[must_use = "a recording ends when it is dropped"]
pub struct Recording {
    number: u64,
    messages: Sender<Message>,
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Recording").field(&self.number).finish()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // An engine that is gone has ended it.
        let _ = self.messages.send(Message::Record(Order::End(self.number)));
    }
}

/// Begins a recording.
pub(crate) async fn begin(
    messages: Sender<Message>,
    out: Box<dyn Write + Send>,
) -> Result<Recording, RecordingError> {
    let (reply, answer) = oneshot::channel();
    let order = Message::Record(Order::Begin { out, reply });
    messages.send(order).map_err(|_| RecordingError::Gone)?;
    let number = answer.await.map_err(|_| RecordingError::Gone)??;
    Ok(Recording { number, messages })
}

/// Begins a recording, on a thread that may wait.
pub(crate) fn begin_blocking(
    messages: &Sender<Message>,
    out: Box<dyn Write + Send>,
) -> Result<Recording, RecordingError> {
    let (reply, answer) = oneshot::channel();
    let order = Message::Record(Order::Begin { out, reply });
    messages.send(order).map_err(|_| RecordingError::Gone)?;
    let number = answer.blocking_recv().map_err(|_| RecordingError::Gone)??;
    let messages = messages.clone();
    Ok(Recording { number, messages })
}

/// All recordings of a core.
pub(crate) struct Recordings {
    all: Vec<(u64, Recorder)>,
    next: u64,
    /// How often policies had changed when the recordings were told last.
    changes: u64,
    /// The last instance that they were told of.
    seat: u64,
    /// What is recorded, for whoever reads the log.
    origin: String,
    recorded: Recorded,
}

impl Recordings {
    pub(crate) fn new(origin: String, recorded: Recorded) -> Self {
        Self {
            all: Vec::new(),
            next: 1,
            changes: 0,
            seat: 0,
            origin,
            recorded,
        }
    }

    /// Does as it is told; between two inputs, when the core has said all.
    pub(crate) fn take(&mut self, order: Order, deck: &Deck, scheduler: &Scheduler) {
        match order {
            Order::Begin { out, reply } => {
                // Whoever asked and has gone drops what it is given, which ends the recording.
                let _ = reply.send(self.begin(out, deck, scheduler));
            }
            Order::End(number) => {
                let at = self.all.iter().position(|(known, _)| *known == number);
                let ended = at.map(|at| self.all.remove(at).1);
                finish(ended.into_iter().collect(), || ());
            }
        }
    }

    fn begin(
        &mut self,
        out: Box<dyn Write + Send>,
        deck: &Deck,
        scheduler: &Scheduler,
    ) -> Result<u64, RecordingError> {
        if self.all.len() >= RECORDINGS_MAX {
            return Err(RecordingError::TooMany);
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let start = Start {
            build: concat!("elis ", env!("CARGO_PKG_VERSION")).to_owned(),
            origin: self.origin.clone(),
            began_unix_ms: since.map_or(0, |since| since.as_millis() as u64),
        };
        self.changes = deck.changes();
        let mut posts = posts(deck);
        for post in &mut posts {
            self.seat = self.seat.max(post.seat);
            // Where it began says nothing any more of what it knows.
            post.memory = Vec::new();
        }
        let mut recorder = Recorder::start(out, start, posts, Pace::Live)?;
        recorder.settle(scheduler);
        let number = self.next;
        self.next += 1;
        self.recorded.lock().push(recorder.tally());
        self.all.push((number, recorder));
        tracing::info!(recording = number, "a recording begins");
        Ok(number)
    }

    /// The core is about to be told something.
    pub(crate) fn input(&mut self, now: Time, input: &Input<'_>, deck: &Deck) {
        // The deck may have changed its policy in the midst of a decision, before the core hears
        // of it.
        if self.changes != deck.changes() && !self.all.is_empty() {
            self.changes = deck.changes();
            let posts = self.news(deck);
            for (_, recorder) in &mut self.all {
                recorder.policies(posts.clone());
            }
        }
        for (_, recorder) in &mut self.all {
            recorder.input(now, input);
        }
    }

    /// Who decides from now on, with what new ones were handed.
    fn news(&mut self, deck: &Deck) -> Vec<Post> {
        let mut posts = posts(deck);
        for post in posts.iter_mut().filter(|post| post.seat <= self.seat) {
            post.memory = Vec::new();
        }
        let seats = posts.iter().map(|post| post.seat);
        self.seat = seats.fold(self.seat, u64::max);
        posts
    }

    /// The core has said something.
    pub(crate) fn output(&mut self, output: &Output, scheduler: &Scheduler) {
        for (_, recorder) in &mut self.all {
            recorder.output(output, scheduler);
        }
    }

    /// The core has said all.
    pub(crate) fn settle(&mut self, scheduler: &Scheduler) {
        let dead = |(number, recorder): &mut (u64, Recorder)| {
            let gone = !recorder.settle(scheduler);
            gone.then_some(*number)
        };
        let dead: Vec<u64> = self.all.iter_mut().filter_map(dead).collect();
        for number in dead {
            if let Some(at) = self.all.iter().position(|(known, _)| *known == number) {
                finish(vec![self.all.remove(at).1], || ());
            }
        }
    }

    /// Ends all, and calls back when they are written.
    pub(crate) fn finish(&mut self, then: impl FnOnce() + Send + 'static) {
        let all = self.all.drain(..).map(|(_, recorder)| recorder);
        finish(all.collect(), then);
    }
}

/// Ends recordings off the scheduling thread, since a disk or a client may be slow.
fn finish(recorders: Vec<Recorder>, then: impl FnOnce() + Send + 'static) {
    if recorders.is_empty() {
        then();
        return;
    }
    let end = move || {
        for recorder in recorders {
            match recorder.finish() {
                Ok(tally) => {
                    let (inputs, lost) = (tally.inputs(), tally.lost());
                    tracing::info!(bytes = tally.bytes(), inputs, lost, "a recording has ended");
                }
                Err(error) => tracing::warn!(%error, "a recording broke off"),
            }
        }
        then();
    };
    if let Err(error) = thread::Builder::new().spawn(end) {
        tracing::warn!(%error, "a recording is left without an end");
    }
}

fn posts(deck: &Deck) -> Vec<Post> {
    let seats = deck.seats().into_iter();
    seats
        .map(|(workers, seat)| Post {
            workers,
            seat: seat.number,
            policy: Policy {
                name: seat.policy().info().name.clone(),
                digest: seat.policy().digest().to_owned(),
                config: seat.choice.config.clone(),
            },
            memory: seat.memory.clone(),
        })
        .collect()
}

/// What all recordings have written, for Prometheus.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorded(Arc<Mutex<Vec<Arc<Tally>>>>);

impl Recorded {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Tally>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Recorded {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let tallies = self.lock();
        // Its recorder and its writer hold one too, as long as there is something to write.
        let active = tallies.iter().filter(|t| Arc::strong_count(t) > 1).count();
        let sum = |of: fn(&Tally) -> u64| tallies.iter().map(|tally| of(tally)).sum::<u64>();
        let gauge = ConstGauge::new(active as i64);
        let help = "Recordings under way";
        let place = encoder.encode_descriptor("recordings", help, None, gauge.metric_type())?;
        gauge.encode(place)?;
        let counters = [
            ("recorded_bytes", "Bytes of logs written", sum(Tally::bytes)),
            ("recorded_inputs", "Inputs in logs", sum(Tally::inputs)),
            (
                "recorded_lost_inputs",
                "Inputs that are missing in logs, since the writer could not keep up",
                sum(Tally::lost),
            ),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            let place = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(place)?;
        }
        Ok(())
    }
}
