//! `elis-bench worker`: profiles of modelled workers.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use elis_sim::Profile;
use elis_sim::fit::{self, Measurement};
use elis_sim::profile::built_in;

use super::output;

/// Look at modelled workers, or fit one.
#[derive(Debug, Subcommand)]
pub(crate) enum Worker {
    /// The built-in profiles
    List,
    /// One profile as TOML, to start your own from
    Show {
        /// A built-in name or a path
        name: String,
    },
    /// Fit a cost model to measured iterations
    Fit(Fit),
}

/// Fit a cost model.
#[derive(Debug, Args)]
#[command(after_help = "\
The CSV has one measured iteration a row and these columns, in any order, others are ignored:
  decode_seqs, decode_kv_tokens, prefill_tokens, latency_ms
Example:
  elis-bench worker fit --data measured.csv --base sim:llama2-13b-a100 --out mine.toml
  elis-bench compare --worker mine.toml")]
pub(crate) struct Fit {
    /// Measured iterations
    #[arg(long, value_name = "CSV")]
    data: PathBuf,
    /// The profile whose memory and limits the new one takes over
    #[arg(long, default_value = "sim:llama2-13b-a100")]
    base: String,
    /// Where to write the profile; standard output for -
    #[arg(long, default_value = "-", value_name = "TOML")]
    out: PathBuf,
}

impl Worker {
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self {
            Self::List => list()?,
            Self::Show { name } => {
                output::print(toml::to_string_pretty(&Profile::resolve(&name)?)?.trim_end())?;
            }
            Self::Fit(command) => command.run()?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn list() -> Result<()> {
    let header = [
        "profile",
        "KV tokens",
        "one decode",
        "model",
        "device",
        "source",
    ];
    let mut table = output::table(&header);
    for profile in built_in() {
        let kv_tokens = u64::from(profile.gpu_blocks) * u64::from(profile.block_size_tokens);
        let decode_ms = f64::from(profile.cost.hint_us()[0]) / 1e3;
        table.add_row([
            format!("sim:{}", profile.name),
            kv_tokens.to_string(),
            format!("{decode_ms:.2} ms"),
            profile.model,
            profile.gpu,
            profile.source,
        ]);
    }
    output::print(&table.to_string())
}

impl Fit {
    fn run(&self) -> Result<()> {
        let shown = self.data.display();
        let mut reader =
            csv::Reader::from_path(&self.data).with_context(|| format!("cannot read {shown}"))?;
        let rows: Vec<Measurement> = reader
            .deserialize()
            .collect::<Result<_, _>>()
            .with_context(|| format!("{shown}"))?;
        let fitted = fit::linear(&rows).with_context(|| format!("{shown}"))?;
        let mut profile = Profile::resolve(&self.base)?;
        profile.name = self
            .data
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        profile.source = format!(
            "fit to {} measured iterations, MAPE {:.1} %, largest error {:.1} %",
            rows.len(),
            fitted.mape * 100.0,
            fitted.largest * 100.0
        );
        profile.cost = fitted.cost;
        eprintln!("{}", profile.source);
        output::write_or_print(&self.out, &toml::to_string_pretty(&profile)?)
    }
}
