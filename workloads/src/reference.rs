//! What a user writes to name a workload, and the one door to load it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::WorkloadError;
use crate::overrides::Overrides;
use crate::readers::{Format, read_trace_with};
use crate::shipped;
use crate::spec::Spec;
use crate::workload::Workload;

/// The forms [`WorkloadRef::parse`] takes, for help texts and errors.
pub const FORMS: &str = "FORMAT:PATH with FORMAT one of azure, burstgpt, mooncake, servegen, \
                         vidur, sharegpt, lengths, vllm, responses; or PATH.toml for a spec; or a \
                         shipped spec: industrial, steady, burst, tenants, paper, heavy-tail, \
                         flood, memory, deadlines, summaries";

/// A named workload, not loaded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkloadRef {
    /// A recorded trace or length file.
    Trace {
        /// How to read it.
        format: Format,
        /// Where it is.
        path: PathBuf,
    },
    /// A TOML spec.
    Spec {
        /// Where it is.
        path: PathBuf,
    },
    /// A spec that ships with Elis.
    Shipped {
        /// Its name, which [`shipped::ALL`] holds.
        name: &'static str,
    },
}

impl WorkloadRef {
    /// Reads a reference such as `azure:conv.csv`, `mine.toml` or `industrial`.
    ///
    /// # Errors
    ///
    /// [`WorkloadError::UnknownWorkload`], which lists the forms.
    pub fn parse(text: &str) -> Result<Self, WorkloadError> {
        if let Some((format, path)) = text.split_once(':')
            && let Ok(format) = Format::from_str(format)
            && !path.is_empty()
        {
            return Ok(Self::Trace {
                format,
                path: PathBuf::from(path),
            });
        }
        if Path::new(text).extension().is_some_and(|e| e == "toml") {
            return Ok(Self::Spec {
                path: PathBuf::from(text),
            });
        }
        shipped::find(text)
            .map(|s| Self::Shipped { name: s.name })
            .ok_or_else(|| WorkloadError::UnknownWorkload {
                given: text.to_owned(),
            })
    }

    /// Loads the workload with the user's changes.
    ///
    /// # Errors
    ///
    /// Any [`WorkloadError`]: a bad option, an unreadable or malformed file, a missing rate.
    pub fn load(&self, options: &Overrides) -> Result<Workload, WorkloadError> {
        options.check()?;
        self.check_texts(options)?;
        match self {
            Self::Trace { format, path } => {
                let trace = read_trace_with(*format, path, options)?;
                crate::replay::replay(&trace, &self.to_string(), options)
            }
            Self::Spec { path } => Spec::open(path)?.generate(options),
            Self::Shipped { name } => Spec::shipped(name)?.generate(options),
        }
    }
}

impl WorkloadRef {
    /// Refuses options of texts where there are none; a spec may point at a file that has them.
    fn check_texts(&self, options: &Overrides) -> Result<(), WorkloadError> {
        let reads = match self {
            Self::Trace { format, .. } => *format == Format::Responses,
            Self::Spec { .. } => true,
            Self::Shipped { .. } => false,
        };
        let prompts = options.prompts.first();
        let prompts = prompts.map(|given| ("file of prompts", given.display().to_string()));
        let unseen = options.unseen.then(|| ("unseen", "set".to_owned()));
        match prompts.or(unseen) {
            Some((what, given)) if !reads => Err(WorkloadError::OutOfRange {
                what: what.to_owned(),
                given,
                expected: format!("left out: only responses: files read it, not {self}"),
            }),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for WorkloadRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trace { format, path } => write!(f, "{}:{}", format.name(), path.display()),
            Self::Spec { path } => write!(f, "{}", path.display()),
            Self::Shipped { name } => f.write_str(name),
        }
    }
}

impl FromStr for WorkloadRef {
    type Err = WorkloadError;

    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_survive_printing() {
        for text in [
            "azure:a/b:c.csv",
            "vllm:x.jsonl.gz",
            "responses:x.jsonl",
            "dir/mine.toml",
            "industrial",
        ] {
            assert_eq!(WorkloadRef::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn refusals_list_everything_that_exists() {
        for text in ["", "azure", "azure:", "azzure:x.csv", "x.csv", "spec.json"] {
            let err = WorkloadRef::parse(text).unwrap_err().to_string();
            for format in Format::ALL {
                assert!(err.contains(format.name()), "{text}: {err}");
            }
            for spec in shipped::ALL {
                assert!(err.contains(spec.name), "{text}: {err}");
            }
        }
    }
}
