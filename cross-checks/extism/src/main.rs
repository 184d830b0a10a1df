//! One decision by a policy of Elis and by the same rule as a plug-in of Extism, side by side.

mod measure;
mod queue;
mod ways;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde::Serialize;

use measure::Measured;
use queue::Queue;
use ways::Way;

/// The ways, in the order of the table; ratios are to the first.
const NAMES: [&str; 3] = [
    "Elis, columns",
    "Extism, JSON of 12 fields",
    "Extism, JSON of the 6 that are read",
];

/// Measures one decision, the best 64 by predicted remaining tokens, in both runtimes.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The policy `isrtf`, made by `cargo xtask policies`.
    #[arg(long, default_value = "../../target/policies/isrtf.wasm")]
    policy: PathBuf,
    /// The plug-in, made by building `guest` for wasm32-unknown-unknown.
    #[arg(long)]
    guest: PathBuf,
    /// Queue lengths.
    #[arg(long, value_delimiter = ',', default_values_t = [64, 256, 1_000, 10_000])]
    jobs: Vec<usize>,
    /// Turns that each way has at each queue length.
    #[arg(long, default_value_t = 60)]
    repetitions: usize,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Everything about one queue length.
#[derive(Debug, Serialize)]
struct Row {
    jobs: usize,
    /// Bytes of JSON for one decision, with 12 fields and with 6.
    json_bytes: [usize; 2],
    /// In the order of the names.
    ways: Vec<Measured>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.repetitions > 0, "--repetitions must be above 0");
    ensure!(
        arguments.jobs.iter().all(|&jobs| jobs > 0),
        "--jobs must be above 0"
    );
    let policy = read(&arguments.policy)?;
    let guest = read(&arguments.guest)?;
    let mut ways = [
        Way::elis(&policy)?,
        Way::extism(&guest)?,
        Way::extism_short(&guest)?,
    ];
    let mut rows = Vec::new();
    for &jobs in &arguments.jobs {
        let queue = Queue::new(jobs);
        agree(&mut ways, &queue)?;
        rows.push(Row {
            jobs,
            json_bytes: [
                ways::question(&queue.jobs)?.len(),
                ways::question(&queue.short_jobs)?.len(),
            ],
            ways: measure::compare(&mut ways, &queue, arguments.repetitions)?,
        });
    }
    if arguments.json {
        let report = serde_json::json!({
            "ways": NAMES,
            "repetitions": arguments.repetitions,
            "rows": rows,
        });
        println!("{report:#}");
    } else {
        print_table(&rows);
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| {
        format!(
            "cannot read {}; the README tells how to make it",
            path.display()
        )
    })
}

/// A comparison of different decisions would mean nothing.
fn agree(ways: &mut [Way], queue: &Queue) -> Result<()> {
    let mut answers = Vec::new();
    for way in ways.iter_mut() {
        answers.push(way.decide(queue)?);
    }
    for (name, answer) in NAMES.iter().zip(&answers) {
        ensure!(
            *answer == answers[0],
            "{name} decides otherwise than {} over {} jobs:\n{answer:?}\n{:?}",
            NAMES[0],
            queue.jobs.len(),
            answers[0]
        );
    }
    Ok(())
}

fn print_table(rows: &[Row]) {
    println!(
        "{:>6}  {:<36}{:>10}{:>10}{:>18}{:>10}{:>10}{:>12}",
        "jobs", "", "us", "ratio", "quartiles", "cold us", "ratio", "JSON bytes"
    );
    for row in rows {
        for (at, (name, way)) in NAMES.iter().zip(&row.ways).enumerate() {
            let bytes = at.checked_sub(1).map_or(0, |at| row.json_bytes[at]);
            let [low, high] = way.ratio_quartiles;
            println!(
                "{:>6}  {name:<36}{:>10.2}{:>10.1}{:>18}{:>10.1}{:>10.1}{bytes:>12}",
                row.jobs,
                way.warm_us,
                way.ratio,
                format!("{low:.1} .. {high:.1}"),
                way.cold_us,
                way.cold_ratio,
            );
        }
    }
}
