//! The responses that `train` and `eval` read, and their embeddings, with progress.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use elis_predictor::encoder::{self, Backend, Encoder, EncoderError, Precision};
use elis_predictor::learn::{Corpus, Vectors, embed};
use elis_workloads::responses::{self, Response};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest as _, Sha256};

/// Which responses.
#[derive(Debug, Args)]
pub(crate) struct Data {
    /// Files of responses: what `collect` wrote, or CASTILLO's.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    pub(crate) data: Vec<PathBuf>,
    /// Files of prompts, for responses that name their prompt only by its id.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub(crate) prompts: Vec<PathBuf>,
    /// Only prompts of these sources.
    #[arg(long, num_args = 1.., value_name = "NAME")]
    pub(crate) source: Vec<String>,
    /// Only responses of models whose name contains one of these.
    #[arg(long, num_args = 1.., value_name = "NAME")]
    pub(crate) served: Vec<String>,
    /// Only so many prompts of each file, the first.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

impl Data {
    /// Reads the files.
    pub(crate) fn read(&self) -> anyhow::Result<Corpus> {
        let mut all: Vec<Response> = Vec::new();
        for path in &self.data {
            let mut read = responses::read(path, &self.prompts)?;
            read.retain(|response| self.wants(response));
            if let Some(limit) = self.limit {
                read.truncate(limit);
            }
            all.extend(read);
        }
        ensure!(
            !all.is_empty(),
            "no response is left after --source and --served; drop them to see what there is"
        );
        Ok(Corpus::new(all))
    }

    fn wants(&self, response: &Response) -> bool {
        let source = self.source.is_empty() || self.source.contains(&response.source);
        let mut names = self.served.iter();
        source && (self.served.is_empty() || names.any(|name| response.model.contains(name)))
    }

    /// Each file's name and SHA-256.
    pub(crate) fn digests(&self) -> anyhow::Result<Vec<(String, String)>> {
        digests(&self.data)
    }
}

/// Each file's name and SHA-256.
pub(crate) fn digests(paths: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
    let digest = |path: &PathBuf| {
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        let hex = Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let name = path.file_name().unwrap_or(path.as_os_str());
        Ok((name.to_string_lossy().into_owned(), hex))
    };
    paths.iter().map(digest).collect()
}

/// Each licence once, sorted; those that are not known are none.
pub(crate) fn licences(all: impl Iterator<Item = String>) -> Vec<String> {
    let known: BTreeSet<String> = all.filter(|licence| !licence.is_empty()).collect();
    known.into_iter().collect()
}

/// A bar of progress on standard error.
pub(crate) fn bar(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_message(what);
    let style = ProgressStyle::with_template("{msg:12} {bar:32} {pos}/{len} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// What computes.
#[derive(Debug, Args)]
pub(crate) struct Computing {
    /// What encodes, and trains: cpu (our kernels), candle, or cuda:N in a build with CUDA.
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    pub(crate) device: Backend,
    /// Threads of the encoder on the CPU.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// Opens the encoder in a folder; for our kernels quantised, which is what they are fastest with.
fn open_encoder(folder: &Path, computing: &Computing) -> Result<Encoder, EncoderError> {
    let options = encoder::Options {
        precision: match computing.device {
            Backend::Ragged => Precision::Q8,
            Backend::Candle | Backend::Cuda(_) => Precision::F32,
        },
        backend: computing.device,
        threads: computing.threads,
        ..encoder::Options::default()
    };
    Encoder::load(folder, &options)
}

/// Encodes a corpus, or reads what was encoded before.
pub(crate) fn vectors(
    corpus: &Corpus,
    name: &str,
    computing: &Computing,
    steps_max: u32,
    cache: &Path,
) -> anyhow::Result<Vectors> {
    let named = || format!("the encoder {name}");
    let folder = encoder::resolve(name).with_context(named)?;
    let mut encoder = open_encoder(&folder, computing).with_context(named)?;
    let sha256 = encoder::weights_sha256(&folder).with_context(named)?;
    let bar = bar("encoding");
    let vectors = embed(
        corpus,
        &mut encoder,
        &sha256,
        steps_max,
        Some(cache),
        |done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        },
    )?;
    bar.finish_and_clear();
    Ok(vectors)
}
