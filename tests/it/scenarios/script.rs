//! One line of a script: a verb, words, and `key=value` pairs.

use std::collections::BTreeMap;

/// A command.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) verb: String,
    words: Vec<String>,
    pairs: BTreeMap<String, String>,
}

pub(crate) fn parse(line: &str) -> Command {
    let mut parts = line.split_whitespace();
    let mut command = Command {
        verb: parts.next().expect("a command has a verb").to_owned(),
        words: Vec::new(),
        pairs: BTreeMap::new(),
    };
    for part in parts {
        if let Some((key, value)) = part.split_once('=') {
            command.pairs.insert(key.to_owned(), value.to_owned());
        } else {
            command.words.push(part.to_owned());
        }
    }
    command
}

impl Command {
    pub(crate) fn word(&self, at: usize) -> &str {
        let word = self.words.get(at);
        word.unwrap_or_else(|| panic!("{self:?} lacks word {at}"))
    }

    pub(crate) fn number(&self, at: usize) -> u64 {
        number(self.word(at))
    }

    pub(crate) fn text<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        self.pairs.get(key).map_or(default, String::as_str)
    }

    /// The number of a key, if it is given.
    pub(crate) fn given(&self, key: &str) -> Option<u64> {
        self.pairs.get(key).map(|value| number(value))
    }

    pub(crate) fn count(&self, key: &str, default: u32) -> u32 {
        self.given(key).map_or(default, |value| value as u32)
    }

    /// Numbers with commas between them.
    pub(crate) fn list(&self, key: &str) -> Vec<u64> {
        let text = self.text(key, "");
        let parts = text.split(',').filter(|part| !part.is_empty());
        parts.map(number).collect()
    }

    /// Fails for a key that the verb does not know, which would be a typing error.
    pub(crate) fn only(&self, keys: &[&str]) {
        let wrong = self.pairs.keys().find(|key| !keys.contains(&key.as_str()));
        assert!(wrong.is_none(), "{self:?}: what is {wrong:?}?");
    }
}

fn number(text: &str) -> u64 {
    let parsed = text.parse();
    parsed.unwrap_or_else(|_| panic!("{text:?} is not a number"))
}
