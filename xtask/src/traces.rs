//! `cargo xtask traces`: the comparison on each real trace at full length, kept as dated results.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::{demo, policies, workspace};

/// Where the traces lie.
#[derive(Debug, Args)]
pub(crate) struct Traces {
    /// The folder of the real traces
    #[arg(long, default_value = "../shared/data/traces")]
    from: PathBuf,
    /// Starting points in each trace
    #[arg(long, default_value_t = 5)]
    seeds: u64,
}

/// A trace, the worker that suits it, and how it is replayed. The rates are set so that a queue
/// forms and drains: at a light load all policies are the same, and far above capacity the queue
/// only grows.
struct Replay {
    name: &'static str,
    workload: &'static str,
    options: &'static [&'static str],
}

const REPLAYS: [Replay; 6] = [
    Replay {
        name: "azure-conv",
        workload: "azure:AzureLLMInferenceTrace_conv.csv",
        options: &[
            "--worker",
            "sim:llama3.1-8b-a100",
            "--max-num-seqs",
            "64",
            "--speedup",
            "1.25",
        ],
    },
    Replay {
        name: "azure-code",
        workload: "azure:AzureLLMInferenceTrace_code.csv",
        options: &["--worker", "sim:llama3.1-8b-a100", "--max-num-seqs", "64"],
    },
    Replay {
        name: "mooncake-synthetic",
        workload: "mooncake:mooncake_synthetic_trace.jsonl",
        options: &[
            "--worker",
            "sim:llama3.1-8b-h100",
            "--workers",
            "4",
            "--max-num-seqs",
            "64",
        ],
    },
    Replay {
        name: "servegen-m-large",
        workload: "servegen:servegen_m-large_1h_2rps.csv",
        options: &["--worker", "sim:llama2-13b-a100", "--speedup", "2"],
    },
    Replay {
        name: "servegen-m-small",
        workload: "servegen:servegen_m-small_1h_3rps.csv",
        options: &[
            "--worker",
            "sim:llama2-13b-a100",
            "--max-num-seqs",
            "4",
            "--speedup",
            "3",
        ],
    },
    Replay {
        name: "sharegpt-v3-lengths",
        workload: "sharegpt:sharegpt_V3_llama_lens_58k.csv",
        options: &[
            "--worker",
            "sim:llama2-13b-a100",
            "--max-num-seqs",
            "64",
            "--rate",
            "5",
        ],
    },
];

/// Runs every comparison and writes `bench-harness/results/DATE-traces/`.
pub(crate) fn run(traces: &Traces) -> anyhow::Result<()> {
    policies::run()?;
    demo::build_bench()?;
    let root = workspace::root();
    ensure!(
        root.join(&traces.from).is_dir(),
        "no traces in {}",
        traces.from.display()
    );
    let folder = root.join(format!(
        "bench-harness/results/{}-traces",
        workspace::today()?
    ));
    fs::create_dir_all(&folder)?;
    let scratch = "results/traces".to_owned();
    let stamp = workspace::stamp(&root);
    let mut text = format!("# The built-in policies on real traces\n\n{stamp}\n\n");
    text += "`cargo xtask traces`: each trace at full length, predictor `elis-paper`,\n\
             against FCFS on the same starting points. All figures are simulated.\n";
    for replay in &REPLAYS {
        let (kind, file) = replay
            .workload
            .split_once(':')
            .context("a kind and a file")?;
        let workload = format!("{kind}:{}", traces.from.join(file).display());
        let mut command = workspace::bench(&root);
        command.args([
            "compare",
            "--workload",
            &workload,
            "--predictor",
            "elis-paper",
        ]);
        let seeds = traces.seeds.to_string();
        command
            .args(["--seeds", &seeds, "--out", &scratch])
            .args(replay.options);
        println!("== {}", replay.name);
        let output = command
            .env("COLUMNS", "120")
            .output()
            .context("elis-bench did not start")?;
        let table = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        println!("{table}");
        // The records of single requests stay behind: they are large, and can be made again.
        for (from, ending) in [("report.json", "json"), ("report.html", "html")] {
            let kept = folder.join(replay.name).with_extension(ending);
            fs::copy(root.join(&scratch).join(from), &kept)
                .with_context(|| format!("cannot write {}", kept.display()))?;
        }
        // The last line names the scratch file.
        let tables = table
            .rsplit_once("report: ")
            .map_or(&*table, |(tables, _)| tables);
        let options = replay.options.join(" ");
        text += &format!(
            "\n## {}\n\n`{}` {options}\n\n",
            replay.name, replay.workload
        );
        text += &format!("```text\n{}\n```\n", tables.trim_end());
    }
    fs::write(folder.join("README.md"), text)?;
    println!("{}", folder.display());
    Ok(())
}
