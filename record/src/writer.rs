//! The thread that compresses and writes, behind a queue with an end.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use crate::frame;

/// Chunks that wait to be written: some megabytes, or some seconds of a busy server.
const CHUNKS_MAX: usize = 64;

/// Why a log is not, or no longer, written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// There is no thread for it.
    #[error("cannot start the thread that writes the log: {0}")]
    Thread(io::Error),
    /// The disk is full, or whoever listened has gone.
    #[error("cannot write the log: {0}")]
    Write(#[from] io::Error),
    /// The thread came to an end that it should not have.
    #[error("the thread that writes the log has died")]
    Died,
}

/// Encoded records on their way.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) bytes: Vec<u8>,
    /// Inputs in it.
    pub(crate) inputs: u64,
}

/// What has been written so far, for metrics.
#[derive(Debug, Default)]
pub struct Tally {
    waiting: AtomicUsize,
    bytes: AtomicU64,
    raw_bytes: AtomicU64,
    inputs: AtomicU64,
    lost: AtomicU64,
}

impl Tally {
    /// Bytes of the log.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The same before compression.
    pub fn raw_bytes(&self) -> u64 {
        self.raw_bytes.load(Ordering::Relaxed)
    }

    /// Inputs in the log.
    pub fn inputs(&self) -> u64 {
        self.inputs.load(Ordering::Relaxed)
    }

    /// Inputs that are missing, because the writer could not keep up.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// What became of a chunk.
pub(crate) enum Sent {
    Taken,
    /// The queue is full; the chunk is dropped.
    Dropped,
    /// Nobody writes any more.
    Gone,
}

/// The near end of the queue.
#[derive(Debug)]
pub(crate) struct Writer {
    chunks: SyncSender<Chunk>,
    thread: JoinHandle<io::Result<()>>,
    pub(crate) tally: Arc<Tally>,
}

impl Writer {
    pub(crate) fn start(out: impl Write + Send + 'static) -> Result<Self, RecordError> {
        let (chunks, inbox) = sync_channel(CHUNKS_MAX);
        let tally = Arc::<Tally>::default();
        let counted = Arc::clone(&tally);
        let thread = thread::Builder::new()
            .name("elis-record".to_owned())
            .spawn(move || write(out, &inbox, &counted))
            .map_err(RecordError::Thread)?;
        Ok(Self {
            chunks,
            thread,
            tally,
        })
    }

    /// An input came that is not recorded.
    pub(crate) fn note_lost(&self) {
        self.tally.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether half of the queue or more is free.
    pub(crate) fn has_room(&self) -> bool {
        self.tally.waiting.load(Ordering::Acquire) <= CHUNKS_MAX / 2
    }

    /// Hands a chunk over, and waits for room or drops it.
    pub(crate) fn send(&self, chunk: Chunk, wait: bool) -> Sent {
        let inputs = chunk.inputs;
        self.tally.waiting.fetch_add(1, Ordering::AcqRel);
        let sent = if wait {
            self.chunks.send(chunk).map_err(|_| Sent::Gone)
        } else {
            self.chunks.try_send(chunk).map_err(|error| match error {
                TrySendError::Full(_) => Sent::Dropped,
                TrySendError::Disconnected(_) => Sent::Gone,
            })
        };
        match sent {
            Ok(()) => Sent::Taken,
            Err(why) => {
                self.tally.waiting.fetch_sub(1, Ordering::AcqRel);
                self.tally.lost.fetch_add(inputs, Ordering::Relaxed);
                why
            }
        }
    }

    /// Waits until all is written.
    pub(crate) fn finish(self) -> Result<Arc<Tally>, RecordError> {
        drop(self.chunks);
        self.thread.join().map_err(|_| RecordError::Died)??;
        Ok(self.tally)
    }
}

fn write(mut out: impl Write, inbox: &Receiver<Chunk>, tally: &Tally) -> io::Result<()> {
    out.write_all(&frame::head())?;
    out.flush()?;
    tally
        .bytes
        .fetch_add(frame::HEAD_BYTES as u64, Ordering::Relaxed);
    let mut sealed = Vec::new();
    for chunk in inbox {
        frame::seal(&chunk.bytes, &mut sealed)?;
        out.write_all(&sealed)?;
        // Whatever ends the process, what was handed over until then is there.
        out.flush()?;
        tally.waiting.fetch_sub(1, Ordering::AcqRel);
        tally
            .bytes
            .fetch_add(sealed.len() as u64, Ordering::Relaxed);
        let raw = chunk.bytes.len() as u64;
        tally.raw_bytes.fetch_add(raw, Ordering::Relaxed);
        tally.inputs.fetch_add(chunk.inputs, Ordering::Relaxed);
    }
    Ok(())
}
