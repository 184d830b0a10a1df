//! `cargo xtask demo --live`: the small real model behind a server, policies taking turns on it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use anyhow::Context as _;

use crate::{models, policies, workspace};

/// A server that goes when the demo does.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // One that has gone already is what we want.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Brings the model, builds, serves, loads, and leaves a page in `results/live`.
pub(crate) fn run(seeds: u64) -> anyhow::Result<()> {
    policies::run()?;
    models::run()?;
    let root = workspace::root();
    let mut build = workspace::cargo(&root);
    // Without what tests add to the features of libraries.
    build.args(["build", "--release", "--workspace", "--bins"]);
    build.args(["--exclude", "elis-tests"]);
    workspace::run(&mut build)?;
    let elis = workspace::target_dir(&root).join("release/elis");
    let mut serve = std::process::Command::new(elis);
    serve.args([
        "serve",
        "--model",
        "models/smollm2-135m-instruct",
        "--policy",
        "fcfs",
    ]);
    // Lengths with errors of the size that the paper reports: the stream has no text to read.
    serve.args(["--predictor", "elis-paper", "--max-num-seqs", "4"]);
    serve.args(["--port", "0", "--admin-port", "0"]);
    let child = serve.current_dir(&root).stderr(Stdio::piped()).spawn();
    let mut server = Server(child.context("cannot start the server")?);
    let pipe = server.0.stderr.take().context("the server has no log")?;
    let mut lines = BufReader::new(pipe).lines();
    let mut address = |before: &str| -> anyhow::Result<String> {
        loop {
            let line = lines
                .next()
                .context("the server ended before it listened")??;
            if let Some((_, address)) = line.split_once(before) {
                return Ok(address.trim().to_owned());
            }
            eprintln!("{line}");
        }
    };
    let url = address("listening on ")?;
    let admin_url = address("admin API on ")?;
    println!("serving on {url}");
    // Somebody must read on, or the server would wait to write.
    std::thread::spawn(move || lines.for_each(drop));
    // Twice what a core can do, for a minute or so: where nobody waits, no order is better.
    let load = [
        "load",
        "--url",
        &url,
        "--admin-url",
        &admin_url,
        "--compare",
        "fcfs,sjf,isrtf",
        "--workload",
        "industrial",
        "--requests",
        "60",
        "--rate",
        "6",
        "--max-prompt-tokens",
        "128",
        "--max-output-tokens",
        "256",
        "--out",
        "results/live",
        "--seeds",
    ];
    workspace::run(workspace::bench(&root).args(load).arg(seeds.to_string()))
}
