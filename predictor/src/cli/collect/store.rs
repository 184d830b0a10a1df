//! The files that a collection grows: one of responses, and beside it one of failures.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::prompts::without_position;

/// What the rows of responses call themselves.
pub(crate) const RESPONSES: &str = "elis-responses/1";
/// What the rows of failures call themselves.
pub(crate) const FAILURES: &str = "elis-failures/1";

/// One response, as it is written.
#[derive(Debug, Serialize)]
pub(crate) struct Response<'a> {
    pub(crate) schema: &'static str,
    pub(crate) id: &'a str,
    pub(crate) source: &'a str,
    pub(crate) licence: Option<&'a str>,
    pub(crate) sample: u32,
    pub(crate) model: &'a str,
    pub(crate) prompt: &'a str,
    pub(crate) response: &'a str,
    pub(crate) prompt_tokens: u32,
    pub(crate) output_tokens: u32,
    pub(crate) finish_reason: &'a str,
    pub(crate) temperature: f64,
    pub(crate) top_p: Option<f64>,
    pub(crate) max_tokens: u32,
    pub(crate) seed: Option<u64>,
}

/// One request that came to nothing.
#[derive(Debug, Serialize)]
pub(crate) struct Failure<'a> {
    pub(crate) schema: &'static str,
    pub(crate) id: &'a str,
    pub(crate) source: &'a str,
    pub(crate) sample: u32,
    pub(crate) model: &'a str,
    pub(crate) status: Option<u16>,
    pub(crate) error: &'a str,
}

/// Which response a row is: of which source, of which prompt, the how manieth.
pub(crate) type Key = (String, String, u32);

/// Why the file of responses cannot be continued.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// It cannot be read or written.
    #[error("cannot write {path}: {why}")]
    Io { path: PathBuf, why: io::Error },
    /// Another collection is at it.
    #[error("{path} is being written by another collection; wait for it or give another --out")]
    Busy { path: PathBuf },
    /// What stands there is not ours.
    #[error("{path}:{line}:{column}: {problem}; repair or remove the line, or give another --out")]
    Line {
        path: PathBuf,
        line: usize,
        column: usize,
        problem: String,
    },
    /// It holds responses of another model, whose lengths are no use together.
    #[error("{path} holds responses of '{theirs}', not of '{ours}'; give another --out")]
    Model {
        path: PathBuf,
        theirs: String,
        ours: String,
    },
}

/// What is needed of a row to know that it is there.
#[derive(Debug, Deserialize)]
struct Known {
    schema: String,
    id: String,
    source: String,
    sample: u32,
    model: String,
}

/// The open files.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    file: File,
    failures: Option<File>,
    known: HashSet<Key>,
    /// Bytes of a torn last line that were cut off.
    pub(crate) torn_bytes: u64,
}

impl Store {
    /// Opens the file, or begins it; reads which responses are there and cuts off a torn last line.
    pub(crate) fn open(path: &Path, model: &str) -> Result<Self, StoreError> {
        let io = |why| StoreError::Io {
            path: path.to_owned(),
            why,
        };
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
        folder.map_or(Ok(()), fs::create_dir_all).map_err(io)?;
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Busy {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(why)) => return Err(io(why)),
        }
        let (known, whole_bytes) = read_known(path, &file, model)?;
        let torn_bytes = file.metadata().map_err(io)?.len() - whole_bytes;
        if torn_bytes > 0 {
            file.set_len(whole_bytes).map_err(io)?;
        }
        file.seek(SeekFrom::End(0)).map_err(io)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            failures: None,
            known,
            torn_bytes,
        })
    }

    /// Whether a response is there already.
    pub(crate) fn holds(&self, key: &Key) -> bool {
        self.known.contains(key)
    }

    /// Appends a response, in one write, so that only a kill in its middle can tear it.
    pub(crate) fn append(&mut self, row: &Response<'_>) -> Result<(), StoreError> {
        write_line(&mut self.file, row).map_err(|why| StoreError::Io {
            path: self.path.clone(),
            why,
        })
    }

    /// Appends a failure to the file beside, which is made with the first.
    pub(crate) fn append_failure(&mut self, row: &Failure<'_>) -> Result<(), StoreError> {
        let path = self.failures_path();
        let io = |why| StoreError::Io {
            path: path.clone(),
            why,
        };
        let file = match self.failures.take() {
            Some(file) => file,
            None => {
                let mut options = OpenOptions::new();
                options.append(true).create(true).open(&path).map_err(io)?
            }
        };
        write_line(self.failures.insert(file), row).map_err(io)
    }

    /// Where failures go: `OUT.failures.jsonl`.
    pub(crate) fn failures_path(&self) -> PathBuf {
        let mut name = OsString::from(self.path.file_stem().unwrap_or_default());
        name.push(".failures.jsonl");
        self.path.with_file_name(name)
    }
}

fn write_line(file: &mut File, row: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(row)?;
    line.push(b'\n');
    file.write_all(&line)?;
    file.flush()
}

/// The responses that are there, and the bytes of all whole lines.
fn read_known(path: &Path, file: &File, model: &str) -> Result<(HashSet<Key>, u64), StoreError> {
    let mut known = HashSet::new();
    let mut whole_bytes = 0;
    let mut reader = BufReader::new(file);
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let read = reader.by_ref().read_until(b'\n', &mut bytes);
        let read = read.map_err(|why| StoreError::Io {
            path: path.to_owned(),
            why,
        })?;
        if bytes.last() != Some(&b'\n') {
            break;
        }
        whole_bytes += read as u64;
        let bad = |column, problem| StoreError::Line {
            path: path.to_owned(),
            line,
            column,
            problem,
        };
        let row: Known = serde_json::from_slice(&bytes)
            .map_err(|error| bad(error.column(), without_position(&error)))?;
        if row.schema != RESPONSES {
            let problem = format!("the schema is '{}', not '{RESPONSES}'", row.schema);
            return Err(bad(1, problem));
        }
        if row.model != model {
            return Err(StoreError::Model {
                path: path.to_owned(),
                theirs: row.model,
                ours: model.to_owned(),
            });
        }
        known.insert((row.source, row.id, row.sample));
    }
    Ok((known, whole_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str) -> Response<'_> {
        Response {
            schema: RESPONSES,
            id,
            source: "s",
            licence: None,
            sample: 0,
            model: "m",
            prompt: "p",
            response: "r",
            prompt_tokens: 1,
            output_tokens: 2,
            finish_reason: "stop",
            temperature: 1.0,
            top_p: None,
            max_tokens: 3,
            seed: None,
        }
    }

    fn key(id: &str) -> Key {
        ("s".to_owned(), id.to_owned(), 0)
    }

    #[test]
    fn a_torn_line_is_cut_wherever_the_kill_fell() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/r.jsonl");
        let mut store = Store::open(&path, "m").unwrap();
        store.append(&row("1")).unwrap();
        store.append(&row("2")).unwrap();
        drop(store);
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let mut store = Store::open(&path, "m").unwrap();
            let kept = usize::from(cut > whole.len() / 2 - 1);
            assert_eq!(store.known.len(), kept, "{cut}");
            for id in ["1", "2"] {
                if !store.holds(&key(id)) {
                    store.append(&row(id)).unwrap();
                }
            }
            drop(store);
            assert_eq!(fs::read(&path).unwrap(), whole, "{cut}");
        }
    }

    #[test]
    fn what_is_not_ours_is_not_continued() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.jsonl");
        let refused = |text: &str| {
            fs::write(&path, text).unwrap();
            let error = Store::open(&path, "m").unwrap_err().to_string();
            assert_eq!(fs::read_to_string(&path).unwrap(), text, "left as it was");
            error
        };
        let bad = "{\"schema\":1,\n{}";
        assert!(refused(bad).contains("r.jsonl:1:11: invalid type"));
        let other = r#"{"schema":"x/1","id":"1","source":"s","sample":0,"model":"m"}"#;
        assert!(refused(&format!("{other}\n")).contains("'x/1'"));
        let model = other.replace("x/1", RESPONSES).replace("\"m\"", "\"n\"");
        assert!(refused(&format!("{model}\n")).contains("responses of 'n', not of 'm'"));
    }

    #[test]
    fn one_collection_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.jsonl");
        let _first = Store::open(&path, "m").unwrap();
        let error = Store::open(&path, "m").unwrap_err();
        assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    }
}
