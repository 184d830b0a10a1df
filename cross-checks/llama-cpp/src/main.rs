//! The same model file, the same tokens and one thread each through llama.cpp and through Elis.

mod llama;
mod ours;
mod quality;
mod speed;
mod tokens;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use elis_llm::{Precision, Source};

use crate::llama::Llama;
use crate::ours::Ours;
use crate::quality::{Opinion, Way};
use crate::speed::Cell;

/// Compares Elis with llama.cpp on the same GGUF file.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The folder with libllama, libggml and the kernels.
    #[arg(long, default_value = "package/bins/linux-x64")]
    libraries: PathBuf,
    /// The model.
    #[arg(long, default_value = MODEL)]
    model: PathBuf,
    /// What both read.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/text.txt"))]
    text: PathBuf,
    #[command(subcommand)]
    what: What,
}

const MODEL: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"
);

#[derive(Debug, Subcommand)]
enum What {
    /// Tokens per CPU second, in turns.
    Speed {
        /// How often each has its turn.
        #[arg(long, default_value_t = 9)]
        rounds: usize,
        /// CPU time of a turn.
        #[arg(long, default_value_t = 0.5)]
        seconds: f64,
        /// Batches of decode steps.
        #[arg(long, value_delimiter = ',', default_value = "1,8")]
        batches: Vec<usize>,
    },
    /// What each thinks of the text, with weights as they are and as floats.
    Quality {
        /// Where llama.cpp may write the model as floats, half a GiB.
        #[arg(long, default_value_os_t = std::env::temp_dir())]
        scratch: PathBuf,
    },
    /// How each cuts awkward texts into tokens.
    Tokens {
        /// Texts, with what llama.cpp made of them.
        #[arg(long, default_value = tokens::GOLDEN)]
        golden: PathBuf,
        /// Write down what llama.cpp makes of them now.
        #[arg(long)]
        write: bool,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let llama = Llama::open(&arguments.libraries)?;
    println!("llama.cpp {}", llama.description()?);
    let model = arguments.model.as_path();
    let text = std::fs::read_to_string(&arguments.text);
    let text = text.with_context(|| format!("cannot read {}", arguments.text.display()))?;
    let text = Source::open(model)?.vocabulary.encode(&text, false)?;
    match arguments.what {
        What::Speed {
            rounds,
            seconds,
            batches,
        } => {
            let mut cells = vec![Cell::Prefill];
            cells.extend(batches.into_iter().map(Cell::Decode));
            compare_speed(&llama, model, &text, &cells, (rounds, seconds))
        }
        What::Quality { scratch } => compare_quality(&llama, model, &text, &scratch),
        What::Tokens { golden, write } => tokens::compare(&llama, model, &golden, write),
    }
}

fn compare_speed(
    llama: &Llama,
    model: &Path,
    text: &[u32],
    cells: &[Cell],
    how: (usize, f64),
) -> Result<()> {
    let most = cells.iter().map(|cell| match cell {
        Cell::Prefill => 1,
        Cell::Decode(batch) => *batch,
    });
    let most = most.max().unwrap_or(1);
    let mut ours = Ours::load(model, most, None)?;
    let theirs = llama.load(model, most as u32, false)?;
    println!(
        "elis {}; tokens per CPU second, one thread each\n",
        ours.kernels()
    );
    println!("| | elis | llama.cpp | ratio | least | most |\n|--|--|--|--|--|--|");
    for &cell in cells {
        let rates = speed::rates(&mut ours, &theirs, cell, text, how)?;
        let [mine, other] = [0, 1].map(|i| median(rates.iter().map(|pair| pair[i])));
        let ratios = || rates.iter().map(|[mine, other]| mine / other);
        let (least, most) = (
            ratios().fold(f64::MAX, f64::min),
            ratios().fold(0.0, f64::max),
        );
        println!(
            "| {} | {mine:.0} | {other:.0} | {:.2} | {least:.2} | {most:.2} |",
            cell.name(),
            median(ratios())
        );
    }
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn compare_quality(llama: &Llama, model: &Path, text: &[u32], scratch: &Path) -> Result<()> {
    let floats = scratch.join(format!("elis-cross-check-{}.gguf", std::process::id()));
    llama.write_floats(model, &floats)?;
    let opinions = opinions(llama, model, &floats, text);
    std::fs::remove_file(&floats)?;
    let opinions = opinions?;
    let windows = text.len().div_ceil(quality::WINDOW);
    println!("{} tokens in {windows} windows\n", text.len());
    println!("| | NLL | same choice as: |{}", " |".repeat(opinions.len()));
    println!("|--|--|--|{}", "--|".repeat(opinions.len()));
    let short = opinions
        .iter()
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(" | ");
    println!("| | | {short} | mean distance of logarithms to llama.cpp f32 |");
    let truth = &opinions[3].1;
    for (name, opinion) in &opinions {
        let same = opinions
            .iter()
            .map(|(_, other)| opinion.agreement(other) * 100.0);
        let same = same
            .map(|share| format!("{share:.2} %"))
            .collect::<Vec<_>>()
            .join(" | ");
        let (nll, apart) = (opinion.nll(), opinion.apart(truth));
        println!("| {name} | {nll:.5} | {same} | {apart:.6} |");
    }
    Ok(())
}

fn opinions(
    llama: &Llama,
    model: &Path,
    floats: &Path,
    text: &[u32],
) -> Result<Vec<(&'static str, Opinion)>> {
    let mut ours = Ours::load(model, 1, None)?;
    let mut all = vec![("elis", quality::read(&mut Way::Ours(&mut ours), text)?)];
    let theirs = llama.load(model, 1, false)?;
    all.push(("llama.cpp", quality::read(&mut Way::Theirs(&theirs), text)?));
    let mut ours = Ours::load(model, 1, Some(Precision::F32))?;
    all.push(("elis f32", quality::read(&mut Way::Ours(&mut ours), text)?));
    let theirs = llama.load(floats, 1, true)?;
    all.push((
        "llama.cpp f32",
        quality::read(&mut Way::Theirs(&theirs), text)?,
    ));
    Ok(all)
}
