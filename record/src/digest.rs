//! A running digest of all that a core says and shows.

use elis_scheduler::columns::{Column, ColumnRef};
use elis_scheduler::{Output, Scheduler};
use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

/// Rows that a question may cost on average beyond those with a slot, so that a long queue does not
/// make recording dear.
const ROWS_PER_QUESTION: usize = 256;

/// XXH3-64 over outputs in their encoding, with the step behind a dispatch and the snapshot behind
/// a question. Of a snapshot the header and the jobs with a slot count each time, and everything
/// as soon as there have been enough questions for its length. Not for adversaries: a log is as
/// trustworthy as whoever hands it over.
#[derive(Default)]
pub(crate) struct Digest {
    hash: Xxh3,
    scratch: Vec<u8>,
    /// Rows that questions have not cost yet.
    spare: usize,
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digest({:016x})", self.value())
    }
}

impl Digest {
    /// Begins anew.
    pub(crate) fn reset(&mut self) {
        self.hash.reset();
        self.spare = 0;
    }

    /// The digest of everything so far.
    pub(crate) fn value(&self) -> u64 {
        self.hash.digest()
    }

    /// Takes in an output, and what it makes the driver look at.
    pub(crate) fn output(&mut self, output: &Output, scheduler: &Scheduler) {
        self.encoded(output);
        match *output {
            Output::Dispatch { worker } => self.encoded(&scheduler.step(worker)),
            Output::Decide { worker, .. } => self.snapshot(worker, scheduler),
            _ => {}
        }
    }

    fn encoded(&mut self, value: &impl Serialize) {
        let scratch = std::mem::take(&mut self.scratch);
        // Writing numbers and lists to memory does not fail.
        let scratch = postcard::to_extend(value, scratch).unwrap_or_default();
        self.take_in(scratch);
    }

    fn snapshot(&mut self, worker: u16, scheduler: &Scheduler) {
        let Some(snapshot) = scheduler.snapshot(worker) else {
            return;
        };
        self.encoded(&snapshot.header);
        self.spare += ROWS_PER_QUESTION;
        let all = self.spare >= snapshot.jobs.len();
        if all {
            self.spare = 0;
        }
        let running = snapshot.header.running as usize;
        for column in Column::all().filter(|column| all || column.is_of_jobs()) {
            let mut scratch = std::mem::take(&mut self.scratch);
            let column = snapshot.column(column);
            let rows = if all { column.len() } else { running };
            match column {
                ColumnRef::U32s(values) => copy(&values[..rows], &mut scratch, u32::to_le_bytes),
                ColumnRef::U64s(values) => copy(&values[..rows], &mut scratch, u64::to_le_bytes),
                ColumnRef::F32s(values) => copy(&values[..rows], &mut scratch, f32::to_le_bytes),
            }
            self.take_in(scratch);
        }
    }

    /// Hashes bytes, and keeps their memory for the next.
    fn take_in(&mut self, mut bytes: Vec<u8>) {
        self.hash.update(&bytes);
        bytes.clear();
        self.scratch = bytes;
    }
}

fn copy<T: Copy, const N: usize>(values: &[T], out: &mut Vec<u8>, bytes: fn(T) -> [u8; N]) {
    out.resize(values.len() * N, 0);
    for (place, &value) in out.chunks_exact_mut(N).zip(values) {
        place.copy_from_slice(&bytes(value));
    }
}
