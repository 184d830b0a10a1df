//! Which prompts are asked: read from JSON lines, filtered, shuffled, cut.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// One prompt, as it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prompt {
    /// Its name within its source.
    pub(crate) id: String,
    /// The data set it comes from; a file that names none stands for it with its own name.
    pub(crate) source: String,
    /// What its use is bound to, where the file says so.
    pub(crate) licence: Option<String>,
    /// The text.
    pub(crate) text: String,
    /// The most tokens its response may have, where the file says so.
    pub(crate) max_tokens: Option<u32>,
}

/// Which prompts of the files are meant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Choice {
    /// Parts of licences, of which a prompt must have one; none lets all through.
    pub(crate) licences: Vec<String>,
    /// Parts of sources, of which a prompt must have one; none lets all through.
    pub(crate) sources: Vec<String>,
    /// Seed of the order; without one it is that of the files.
    pub(crate) shuffle_seed: Option<u64>,
    /// The most prompts of one source, counted after shuffling.
    pub(crate) per_source: Option<usize>,
    /// The most prompts in all, counted last.
    pub(crate) limit: Option<usize>,
}

/// Why prompts could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PromptError {
    /// The file cannot be opened or read.
    #[error("cannot read {path}: {why}; give JSON lines, plain or as .jsonl.gz")]
    Io { path: PathBuf, why: io::Error },
    /// A line is not a prompt.
    #[error(
        "{path}:{line}:{column}: {problem}; a line is a JSON object with 'prompt', and if wanted \
         'id', 'source', 'licence' and 'max_tokens'"
    )]
    Line {
        path: PathBuf,
        line: usize,
        column: usize,
        problem: String,
    },
}

/// A line of a prompt file; what else stands there is of no use here.
#[derive(Debug, Deserialize)]
struct Row {
    prompt: String,
    #[serde(default, alias = "prompt_id")]
    id: Option<Id>,
    #[serde(default, alias = "dataset")]
    source: Option<String>,
    #[serde(default, alias = "license")]
    licence: Option<String>,
    #[serde(default)]
    max_tokens: Option<u32>,
}

/// Some data sets name their rows, others number them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(u64),
}

/// Reads all files, in their order.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Prompt>, PromptError> {
    let mut prompts = Vec::new();
    for path in paths {
        read_one(path, &mut prompts)?;
    }
    Ok(prompts)
}

fn read_one(path: &Path, prompts: &mut Vec<Prompt>) -> Result<(), PromptError> {
    let io = |why| PromptError::Io {
        path: path.to_owned(),
        why,
    };
    let file = File::open(path).map_err(io)?;
    let plain: Box<dyn Read> = if path.extension().is_some_and(|extension| extension == "gz") {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    for (line, text) in (1..).zip(BufReader::new(plain).lines()) {
        let text = text.map_err(io)?;
        if text.trim().is_empty() {
            continue;
        }
        let bad = |column, problem| PromptError::Line {
            path: path.to_owned(),
            line,
            column,
            problem,
        };
        let row: Row = serde_json::from_str(&text)
            .map_err(|error| bad(error.column(), without_position(&error)))?;
        if row.prompt.trim().is_empty() {
            return Err(bad(1, "the prompt is empty".to_owned()));
        }
        prompts.push(row.named(path));
    }
    Ok(())
}

impl Row {
    fn named(self, path: &Path) -> Prompt {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        Prompt {
            id: match self.id {
                Some(Id::Text(id)) => id,
                Some(Id::Number(id)) => id.to_string(),
                None => digest(&self.prompt),
            },
            source: self.source.unwrap_or_else(|| {
                let stem = file.split('.').next();
                stem.unwrap_or_default().to_owned()
            }),
            licence: self.licence,
            text: self.prompt,
            max_tokens: self.max_tokens,
        }
    }
}

/// A name for a prompt that has none: the same for the same text, wherever it stands.
fn digest(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().take(8).map(|b| format!("{b:02x}")).collect()
}

/// The message alone, since serde's position knows the line only.
pub(crate) fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// Applies the choice; prompts that stand there twice are asked once.
pub(crate) fn choose(prompts: Vec<Prompt>, choice: &Choice) -> Vec<Prompt> {
    let mut seen = HashSet::new();
    let mut chosen: Vec<Prompt> = prompts
        .into_iter()
        .filter(|prompt| has_one(&prompt.source, &choice.sources))
        .filter(|prompt| {
            let licence = prompt.licence.as_deref().unwrap_or_default();
            has_one(licence, &choice.licences)
        })
        .filter(|prompt| seen.insert((prompt.source.clone(), prompt.id.clone())))
        .collect();
    let mut rng = choice.shuffle_seed.map(ChaCha8Rng::seed_from_u64);
    if let Some(rng) = &mut rng {
        chosen.shuffle(rng);
    }
    if let Some(most) = choice.per_source {
        let mut counts: HashMap<String, usize> = HashMap::new();
        chosen.retain(|prompt| {
            let count = counts.entry(prompt.source.clone()).or_default();
            *count += 1;
            *count <= most
        });
        // A large source reaches its cap early, so it would crowd the beginning.
        if let Some(rng) = &mut rng {
            chosen.shuffle(rng);
        }
    }
    chosen.truncate(choice.limit.unwrap_or(usize::MAX));
    chosen
}

fn has_one(text: &str, parts: &[String]) -> bool {
    let text = text.to_lowercase();
    parts.is_empty() || parts.iter().any(|part| text.contains(&part.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn prompt(source: &str, id: usize, licence: &str) -> Prompt {
        Prompt {
            id: id.to_string(),
            source: source.to_owned(),
            licence: Some(licence.to_owned()),
            text: format!("{source} {id}"),
            max_tokens: None,
        }
    }

    fn mixed() -> Vec<Prompt> {
        let a = (0..30).map(|id| prompt("gsm8k/train", id, "MIT"));
        let b = (0..10).map(|id| prompt("seed_tasks", id, "Apache-2.0"));
        let c = (0..10).map(|id| prompt("dolly", id, "CC-BY-SA-3.0"));
        a.chain(b).chain(c).collect()
    }

    /// A source that is cut to the size of the other, ten times smaller one, shuffled.
    fn big(cap: usize) -> Vec<Prompt> {
        let large = (0..cap * 10).map(|id| prompt("large", id, "MIT"));
        let small = (0..cap).map(|id| prompt("small", id, "MIT"));
        let choice = Choice {
            shuffle_seed: Some(1),
            per_source: Some(cap),
            ..Choice::default()
        };
        choose(large.chain(small).collect(), &choice)
    }

    #[test]
    fn plain_and_packed_rows_are_read_under_either_name() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("mine.jsonl");
        std::fs::write(
            &plain,
            "{\"prompt\":\"a\",\"prompt_id\":7,\"dataset\":\"d\",\"x\":1}\n\n{\"prompt\":\"b\"}\n",
        )
        .unwrap();
        let packed = folder.path().join("other.jsonl.gz");
        let mut gz = GzEncoder::new(File::create(&packed).unwrap(), Compression::fast());
        gz.write_all(b"{\"prompt\":\"c\",\"id\":\"i\",\"licence\":\"MIT\",\"max_tokens\":5}")
            .unwrap();
        gz.finish().unwrap();
        let all = read(&[plain, packed]).unwrap();
        let names: Vec<_> = all
            .iter()
            .map(|p| (p.source.as_str(), p.id.as_str()))
            .collect();
        assert_eq!(
            names,
            [("d", "7"), ("mine", "3e23e8160039594a"), ("other", "i")]
        );
        assert_eq!((all[2].max_tokens, all[0].max_tokens), (Some(5), None));
    }

    #[test]
    fn a_bad_line_is_named_with_its_column() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.jsonl");
        std::fs::write(&path, "{\"prompt\":\"a\"}\n{\"prompt\":tru}\n").unwrap();
        let text = read(std::slice::from_ref(&path)).unwrap_err().to_string();
        assert!(text.contains("p.jsonl:2:14: expected ident;"), "{text}");
        std::fs::write(&path, "{\"id\":\"a\"}\n").unwrap();
        let text = read(std::slice::from_ref(&path)).unwrap_err().to_string();
        assert!(text.contains("p.jsonl:1:10: missing field"), "{text}");
        std::fs::write(&path, "{\"prompt\":\" \"}\n").unwrap();
        let text = read(&[path]).unwrap_err().to_string();
        assert!(text.contains(":1:1: the prompt is empty"), "{text}");
    }

    #[test]
    fn filters_take_any_part_and_caps_come_after_the_shuffle() {
        let choice = Choice {
            licences: vec!["mit".into(), "Apache".into()],
            shuffle_seed: Some(3),
            per_source: Some(12),
            ..Choice::default()
        };
        let chosen = choose(mixed(), &choice);
        let count = |source: &str| chosen.iter().filter(|p| p.source == source).count();
        assert_eq!(
            (count("gsm8k/train"), count("seed_tasks"), count("dolly")),
            (12, 10, 0)
        );
        // Capped, the large source is still spread over the whole work.
        let capped = big(600);
        let many = capped[..100].iter().filter(|p| p.source == "large").count();
        assert!((35..65).contains(&many), "{many}");
        assert_eq!(chosen, choose(mixed(), &choice), "the seed is the order");
        let one = Choice {
            sources: vec!["GSM".into()],
            limit: Some(4),
            ..Choice::default()
        };
        assert_eq!(choose(mixed(), &one), mixed()[..4]);
    }

    #[test]
    fn a_prompt_that_stands_there_twice_is_asked_once() {
        let twice = [mixed(), mixed()].concat();
        assert_eq!(choose(twice, &Choice::default()).len(), 50);
    }
}
