//! What a modelled worker is: its cost model, its memory, its batching; built in or from TOML.

use std::path::Path;

use elis_scheduler::config::{Batching, CostHint, WorkerConfig};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::CostModel;

/// How prompts and decodes share iterations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BatchingKind {
    /// Decodes first, then chunks of prompts (vLLM V1, Sarathi).
    #[default]
    Mixed,
    /// Whole prompts first, in iterations of their own (vLLM before V1).
    PrefillFirst,
}

/// A modelled worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name, as in `sim:NAME`.
    #[serde(default)]
    pub name: String,
    /// The model that it serves, and on what.
    pub model: String,
    /// The device.
    pub gpu: String,
    /// Where the coefficients come from, and how well they fit.
    pub source: String,
    /// Tokens of one KV block.
    pub block_size_tokens: u32,
    /// KV blocks of the device.
    pub gpu_blocks: u32,
    /// KV blocks of host memory for swapping, 0 none.
    #[serde(default)]
    pub cpu_blocks: u32,
    /// Time to move one block between the two.
    #[serde(default)]
    pub swap_per_block_us: f64,
    /// Blocks that admission leaves free.
    #[serde(default)]
    pub watermark_blocks: u32,
    /// Sequences in one iteration.
    pub max_num_seqs: u32,
    /// Tokens in one iteration.
    pub max_batched_tokens: u32,
    /// How prompts and decodes share iterations.
    #[serde(default)]
    pub batching: BatchingKind,
    /// How long an iteration takes.
    pub cost: CostModel,
}

/// Why there is no profile.
#[derive(Debug, Error)]
pub enum ProfileError {
    /// Neither built in nor a file.
    #[error(
        "no worker profile '{name}': built in are {known}; or give the path of a .toml file \
         (elis-bench worker show NAME prints one to start from)"
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The file cannot be read.
    #[error("cannot read worker profile {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a profile.
    #[error("worker profile {path}: {source}")]
    Parse {
        /// The file.
        path: String,
        /// Line, column and reason.
        source: Box<toml::de::Error>,
    },
    /// A number that makes no sense.
    #[error("worker profile {path}: {field} must be {wanted}, not {value}")]
    Value {
        /// The file.
        path: String,
        /// The field.
        field: &'static str,
        /// What it should be.
        wanted: &'static str,
        /// What it is.
        value: f64,
    },
}

/// The built-in profiles, `sim:NAME`.
const BUILT_IN: &str = include_str!("../profiles/built-in.toml");

#[derive(Deserialize)]
struct Book {
    profile: Vec<Profile>,
}

/// All built-in profiles, in the order of the file.
///
/// # Panics
/// Never: a test reads the file that is compiled in.
pub fn built_in() -> Vec<Profile> {
    let book: Book = toml::from_str(BUILT_IN).expect("a test reads the built-in profiles");
    book.profile
}

impl Profile {
    /// The profile of that name: `sim:NAME`, `NAME`, or the path of a TOML file.
    ///
    /// # Errors
    /// Says which names there are, or what is wrong with the file.
    pub fn resolve(name: &str) -> Result<Self, ProfileError> {
        let short = name.strip_prefix("sim:").unwrap_or(name);
        let mut profiles = built_in();
        if let Some(at) = profiles.iter().position(|profile| profile.name == short) {
            return Ok(profiles.swap_remove(at));
        }
        if Path::new(short)
            .extension()
            .is_some_and(|ending| ending == "toml")
        {
            return Self::read(Path::new(short));
        }
        let known: Vec<_> = profiles.into_iter().map(|profile| profile.name).collect();
        Err(ProfileError::Unknown {
            name: short.into(),
            known: known.join(", "),
        })
    }

    fn read(path: &Path) -> Result<Self, ProfileError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| ProfileError::Read {
            path: shown.clone(),
            source,
        })?;
        let mut profile: Self = toml::from_str(&text).map_err(|source| ProfileError::Parse {
            path: shown.clone(),
            source: source.into(),
        })?;
        if profile.name.is_empty() {
            let stem = path.file_stem().unwrap_or_default();
            profile.name = stem.to_string_lossy().into_owned();
        }
        profile.check(&shown)?;
        Ok(profile)
    }

    /// Checks what TOML cannot: iterations take time, memory holds something.
    fn check(&self, path: &str) -> Result<(), ProfileError> {
        let positive = [
            ("block_size_tokens", f64::from(self.block_size_tokens)),
            ("gpu_blocks", f64::from(self.gpu_blocks)),
            ("max_num_seqs", f64::from(self.max_num_seqs)),
            ("max_batched_tokens", f64::from(self.max_batched_tokens)),
            ("the time of one decode", f64::from(self.cost.hint_us()[0])),
        ];
        for (field, value) in positive {
            if !(value > 0.0 && value.is_finite()) {
                let (path, wanted) = (path.into(), "larger than 0");
                return Err(ProfileError::Value {
                    path,
                    field,
                    wanted,
                    value,
                });
            }
        }
        if self.swap_per_block_us.is_nan() || self.swap_per_block_us < 0.0 {
            let (field, wanted, value) = ("swap_per_block_us", "0 or more", self.swap_per_block_us);
            return Err(ProfileError::Value {
                path: path.into(),
                field,
                wanted,
                value,
            });
        }
        Ok(())
    }

    /// The same as the core wants it.
    pub fn worker_config(&self) -> WorkerConfig {
        let [base, per_seq, per_kv_token, per_prefill_token] = self.cost.hint_us();
        WorkerConfig {
            max_num_seqs: self.max_num_seqs,
            max_batched_tokens: self.max_batched_tokens,
            block_size_tokens: self.block_size_tokens,
            gpu_blocks: self.gpu_blocks,
            cpu_blocks: self.cpu_blocks,
            watermark_blocks: self.watermark_blocks,
            batching: match self.batching {
                BatchingKind::Mixed => Batching::Mixed,
                BatchingKind::PrefillFirst => Batching::PrefillFirst,
            },
            cost: CostHint {
                iteration_base_us: base,
                per_seq_us: per_seq,
                per_kv_token_us: per_kv_token,
                per_prefill_token_us: per_prefill_token,
                swap_per_block_us: self.swap_per_block_us as f32,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_profile_is_sound_and_has_its_own_name() {
        let profiles = built_in();
        for (i, profile) in profiles.iter().enumerate() {
            profile.check(&profile.name).unwrap();
            assert!(profiles[..i].iter().all(|other| other.name != profile.name));
            assert_eq!(
                Profile::resolve(&format!("sim:{}", profile.name)).unwrap(),
                *profile
            );
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = Profile::resolve("sim:gpt-9-z900").unwrap_err().to_string();
        assert!(error.contains("llama2-13b-a100"), "{error}");
    }

    #[test]
    fn a_file_with_a_mistake_names_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mine.toml");
        std::fs::write(&path, "model = 'x'\nspeed = 3\n").unwrap();
        let error = Profile::resolve(path.to_str().unwrap())
            .unwrap_err()
            .to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
