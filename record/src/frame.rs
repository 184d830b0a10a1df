//! The outer form of a log: a head, then frames that are compressed and guarded one by one.
//!
//! Each frame stands alone, so that what was written before a cut can be read. The sums over a
//! frame's own head tell a damaged length from a file that ends early.

use std::io::{self, Read, Write as _};

use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

use crate::reader::LogError;

/// The first bytes of every log.
pub(crate) const MAGIC: [u8; 8] = *b"elis-log";

/// The version of the format that this crate writes, and the only one that it reads.
pub const VERSION: u32 = 3;

/// Bytes before the first frame.
pub(crate) const HEAD_BYTES: usize = 12;

/// Bytes before a frame's body: its length, its sum, the sum of these two.
const FRAME_HEAD_BYTES: usize = 12;

/// The largest frame that is believed, inflated: a checkpoint of the most jobs is well below.
const FRAME_BYTES_MAX: u64 = 1 << 30;

/// What a log begins with.
pub(crate) fn head() -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(&MAGIC);
    head[8..].copy_from_slice(&VERSION.to_le_bytes());
    head
}

/// Encoded records as a frame, written over `out`.
pub(crate) fn seal(records: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.clear();
    out.resize(FRAME_HEAD_BYTES, 0);
    let mut deflate = DeflateEncoder::new(&mut *out, Compression::new(3));
    deflate.write_all(records)?;
    deflate.finish()?;
    let body = &out[FRAME_HEAD_BYTES..];
    let length = u32::try_from(body.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let sum = crc(body);
    out[0..4].copy_from_slice(&length.to_le_bytes());
    out[4..8].copy_from_slice(&sum.to_le_bytes());
    let own = crc(&out[..8]);
    out[8..12].copy_from_slice(&own.to_le_bytes());
    Ok(())
}

/// What comes next in a file.
#[derive(Debug)]
pub(crate) enum Next {
    /// The records of a frame, and the bytes that it took.
    Frame { records: Vec<u8>, bytes: u64 },
    /// The file ends inside a frame, after so many bytes of it; none where it ends between two.
    Cut { bytes: u64 },
}

/// Reads a frame that begins at `offset`.
pub(crate) fn next(input: &mut impl Read, offset: u64) -> Result<Next, LogError> {
    let corrupt = |what| LogError::Corrupt { offset, what };
    let mut head = [0; FRAME_HEAD_BYTES];
    let there = fill(input, &mut head)?;
    if there < FRAME_HEAD_BYTES {
        return Ok(Next::Cut {
            bytes: there as u64,
        });
    }
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if crc(&head[..8]) != word(8) {
        return Err(corrupt("the head of a frame is damaged"));
    }
    let mut body = Vec::new();
    let length = u64::from(word(0));
    input.take(length).read_to_end(&mut body)?;
    let bytes = FRAME_HEAD_BYTES as u64 + body.len() as u64;
    if (body.len() as u64) < length {
        return Ok(Next::Cut { bytes });
    }
    if crc(&body) != word(4) {
        return Err(corrupt("a frame is damaged"));
    }
    let mut records = Vec::new();
    let mut inflate = DeflateDecoder::new(&body[..]).take(FRAME_BYTES_MAX + 1);
    let inflated = inflate.read_to_end(&mut records);
    if inflated.is_err() || records.len() as u64 > FRAME_BYTES_MAX {
        return Err(corrupt("a frame cannot be inflated"));
    }
    Ok(Next::Frame { records, bytes })
}

/// Reads until the buffer is full or the file ends; how much came.
pub(crate) fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut there = 0;
    while there < buffer.len() {
        match input.read(&mut buffer[there..]) {
            Ok(0) => break,
            Ok(more) => there += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(there)
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}
