//! Who did what, a line of JSON each, flushed before the answer goes out.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::digest::Digest;

/// Actions that are kept in memory.
const RECENT: usize = 100;

/// One action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// The name of the token and the address, or `ladder` where the host acted by itself.
    pub who: String,
    /// `push`, `promote`, `rollback`, `shadow`, `remove`, `canary` or `start`.
    pub action: String,
    /// The policy that it was about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// `done`, or why not.
    pub outcome: String,
}

impl Action {
    /// Something that happened now.
    pub fn now(who: &str, action: &str, digest: Option<Digest>, outcome: &str) -> Self {
        Self {
            at: jiff::Timestamp::now().to_string(),
            who: who.to_owned(),
            action: action.to_owned(),
            digest,
            outcome: outcome.to_owned(),
        }
    }
}

/// The log.
#[derive(Debug, Default)]
pub(super) struct Audit {
    file: Option<File>,
    recent: VecDeque<Action>,
}

impl Audit {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        // A line that a loss of power cut short must not swallow the next one.
        if std::fs::read(path)?
            .last()
            .is_some_and(|&last| last != b'\n')
        {
            file.write_all(b"\n")?;
        }
        Ok(Self {
            file: Some(file),
            recent: VecDeque::new(),
        })
    }

    pub(super) fn write(&mut self, action: &Action) -> io::Result<()> {
        self.recent.push_back(action.clone());
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let mut line = serde_json::to_vec(action)?;
        line.push(b'\n');
        // In one piece, so that a line is whole or missing.
        file.write_all(&line)?;
        file.sync_data()
    }

    pub(super) fn recent(&self) -> Vec<Action> {
        self.recent.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_action_is_a_line_and_the_log_goes_on_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let digest = Digest::of(b"x");
        let actions = [
            Action::now("ci 127.0.0.1", "push", Some(digest), "done"),
            Action::now("ladder", "rollback", None, "trap\nand more"),
        ];
        let read = || -> Vec<Action> {
            let text = std::fs::read_to_string(&path).unwrap();
            let lines = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            lines.collect()
        };
        for action in &actions {
            Audit::open(&path).unwrap().write(action).unwrap();
        }
        assert_eq!(read(), actions);
        let mut torn = std::fs::read(&path).unwrap();
        torn.extend(b"{\"at\": ");
        std::fs::write(&path, torn).unwrap();
        Audit::open(&path).unwrap().write(&actions[0]).unwrap();
        assert_eq!(read().len(), 3, "the cut is one line lost");
    }
}
