//! Which policy is live: one small file that is replaced whole.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::files;

/// The form of the record that this host writes.
const FORM: u32 = 1;

/// A policy and its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The policy.
    pub digest: Digest,
    /// Its configuration, TOML.
    pub config: String,
}

/// Which policy is live, and which ones were before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveRecord {
    /// Grows with every change of the live policy, over restarts too.
    pub epoch: u64,
    /// The live one.
    pub live: Choice,
    /// Those before it that are still warm, the last one last.
    pub before: Vec<Choice>,
}

#[derive(Serialize, Deserialize)]
struct File {
    form: u32,
    #[serde(flatten)]
    record: LiveRecord,
}

/// Keeps the record.
#[derive(Debug)]
pub(super) struct Keeper {
    path: Option<PathBuf>,
    /// The last epoch that was noted: what is late must not undo what is newer.
    epoch: u64,
}

impl Keeper {
    pub(super) fn in_memory() -> Self {
        Self {
            path: None,
            epoch: 0,
        }
    }

    pub(super) fn open(dir: &Path) -> Self {
        Self {
            path: Some(dir.join("live.json")),
            epoch: 0,
        }
    }

    /// The record of last time; `Err` says what is wrong with it.
    pub(super) fn load(&self) -> Result<Option<LiveRecord>, String> {
        let Some(path) = &self.path else {
            return Ok(None);
        };
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|e| format!("{}: {e}", path.display()))?,
        };
        let file: File =
            serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        if file.form != FORM {
            let form = file.form;
            return Err(format!(
                "{} has the form {form}, and this host reads {FORM}",
                path.display()
            ));
        }
        Ok(Some(file.record))
    }

    /// Replaces the record unless a newer one is there.
    pub(super) fn save(&mut self, record: &LiveRecord) -> io::Result<()> {
        if record.epoch < self.epoch {
            return Ok(());
        }
        if let Some(path) = &self.path {
            let file = File {
                form: FORM,
                record: record.clone(),
            };
            files::replace(path, &serde_json::to_vec_pretty(&file)?)?;
        }
        self.epoch = record.epoch;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(epoch: u64) -> LiveRecord {
        let choice = |text: &str| Choice {
            digest: Digest::of(text.as_bytes()),
            config: format!("kind = \"{text}\""),
        };
        LiveRecord {
            epoch,
            live: choice("b"),
            before: vec![choice("a")],
        }
    }

    #[test]
    fn the_last_record_is_read_back_and_a_late_one_does_not_undo_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::open(dir.path());
        assert_eq!(keeper.load(), Ok(None));
        keeper.save(&record(3)).unwrap();
        keeper.save(&record(2)).unwrap();
        assert_eq!(Keeper::open(dir.path()).load(), Ok(Some(record(3))));
    }

    #[test]
    fn a_record_that_cannot_be_read_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = Keeper::open(dir.path());
        for (text, says) in [("{", "EOF"), ("{\"form\": 1}", "missing field")] {
            fs::write(dir.path().join("live.json"), text).unwrap();
            let error = keeper.load().unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        let newer = serde_json::to_string(&File {
            form: 2,
            record: record(1),
        });
        fs::write(dir.path().join("live.json"), newer.unwrap()).unwrap();
        assert!(keeper.load().unwrap_err().contains("reads 1"));
    }
}
