//! Reads a log record by record, up to its end or to where it was cut.

use std::io::{self, Read};

use crate::frame::{self, HEAD_BYTES, MAGIC, Next, VERSION};
use crate::record::Record;

/// Why a log cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be read.
    #[error("cannot read the log: {0}")]
    Io(#[from] io::Error),
    /// Something else.
    #[error("this is no log of elis: it does not begin with {:?}", String::from_utf8_lossy(&MAGIC))]
    NotALog,
    /// Another format.
    #[error(
        "the log has version {found} and this program reads version {VERSION}: replay it with the \
         release that recorded it"
    )]
    Version {
        /// Its version.
        found: u32,
    },
    /// Bytes were changed.
    #[error("the log is damaged at byte {offset}: {what}; all before it was read")]
    Corrupt {
        /// Where the frame begins that is damaged.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The sums are right and the content is not.
    #[error("the frame at byte {offset} holds no records of this version: {source}")]
    Record {
        /// Where the frame begins.
        offset: u64,
        /// What is wrong.
        source: postcard::Error,
    },
}

/// How a log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was ended.
    Complete,
    /// It was cut off: whoever recorded was killed, or the file is not whole.
    Cut {
        /// The bytes that can be read.
        offset: u64,
        /// Bytes after these, of a frame that is not whole.
        lost_bytes: u64,
    },
}

/// A log as it is read.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    /// Where the next frame begins.
    next: u64,
    /// Where the present one began.
    frame: u64,
    records: Vec<u8>,
    /// How far `records` is read.
    at: usize,
    ended: bool,
    ending: Option<Ending>,
}

impl<R: Read> Reader<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// It is no log, or one of another version.
    pub fn open(mut input: R) -> Result<Self, LogError> {
        let mut head = [0; HEAD_BYTES];
        let there = frame::fill(&mut input, &mut head)?;
        let whole = there == HEAD_BYTES;
        if !MAGIC.starts_with(&head[..there.min(MAGIC.len())]) {
            return Err(LogError::NotALog);
        }
        let found = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
        if whole && found != VERSION {
            return Err(LogError::Version { found });
        }
        let cut = Ending::Cut {
            offset: 0,
            lost_bytes: there as u64,
        };
        Ok(Self {
            input,
            next: HEAD_BYTES as u64,
            frame: HEAD_BYTES as u64,
            records: Vec::new(),
            at: 0,
            ended: false,
            ending: (!whole).then_some(cut),
        })
    }

    /// The next record, `None` at the end or the cut.
    ///
    /// # Errors
    /// The file is damaged from here on, or cannot be read.
    pub fn read(&mut self) -> Result<Option<Record<'static>>, LogError> {
        while self.at >= self.records.len() {
            if self.ending.is_some() {
                return Ok(None);
            }
            match frame::next(&mut self.input, self.next)? {
                Next::Frame { records, bytes } => {
                    self.frame = self.next;
                    self.next += bytes;
                    self.records = records;
                    self.at = 0;
                }
                Next::Cut { bytes: 0 } if self.ended => self.ending = Some(Ending::Complete),
                Next::Cut { bytes } => {
                    self.ending = Some(Ending::Cut {
                        offset: self.next,
                        lost_bytes: bytes,
                    });
                }
            }
        }
        let rest = &self.records[self.at..];
        let taken = postcard::take_from_bytes::<Record<'static>>(rest);
        let (record, left) = taken.map_err(|source| LogError::Record {
            offset: self.frame,
            source,
        })?;
        self.at = self.records.len() - left.len();
        self.ended = matches!(record, Record::End { .. });
        Ok(Some(record))
    }

    /// Where the frame begins that the last record was in.
    pub fn offset(&self) -> u64 {
        self.frame
    }

    /// Bytes that were read and understood.
    pub fn bytes(&self) -> u64 {
        match self.ending {
            Some(Ending::Cut { offset, .. }) => offset,
            _ => self.next,
        }
    }

    /// How it ends, once that is known.
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }
}
