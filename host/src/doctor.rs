//! `elis doctor`: what this machine has for serving, and what to do about what it lacks.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use clap::Args;
use elis_llm::device::{self, Found, HAS_CUDA};
use elis_llm::{Cpu, Source};
use elis_policy_runtime::resolve;
use elis_predictor::trained::Trained;
use sysinfo::System;

/// Look at this machine: processor, memory, CUDA, model, predictor, policies, ports
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// The model that is to be served
    #[arg(
        long,
        value_name = "PATH",
        default_value = "models/smollm2-135m-instruct"
    )]
    model: PathBuf,
    /// The trained predictor that is to be used
    #[arg(long, value_name = "FOLDER", default_value = "predictor/shipped")]
    predictor: PathBuf,
    /// The ports that are to be listened on
    #[arg(long, value_name = "PORT", default_values_t = [8080, 8081])]
    port: Vec<u16>,
    /// Write the findings as JSON
    #[arg(long)]
    json: bool,
}

/// One line of the report.
#[derive(Debug, serde::Serialize)]
struct Finding {
    about: &'static str,
    /// Whether serving works with this as it is.
    fine: bool,
    says: String,
}

impl Finding {
    fn of(about: &'static str, looked: Result<String, String>) -> Self {
        let (fine, says) = match looked {
            Ok(says) => (true, says),
            Err(says) => (false, says),
        };
        Self { about, fine, says }
    }
}

/// Prints what it finds; fails if something that serving needs is not there.
#[expect(clippy::print_stdout, reason = "the report is what the command is for")]
pub(crate) fn run(options: &Doctor) -> anyhow::Result<ExitCode> {
    let mut findings = vec![
        Finding::of("processor", Ok(processor())),
        Finding::of("memory", memory()),
        Finding::of("CUDA", Ok(cuda())),
        Finding::of("model", model(options)),
        Finding::of("predictor", predictor(options)),
        Finding::of("policies", policies()),
    ];
    let ports = options
        .port
        .iter()
        .map(|&port| Finding::of("port", free(port)));
    findings.extend(ports);
    if options.json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
    } else {
        for Finding { about, fine, says } in &findings {
            let mark = if *fine { "ok  " } else { "fix " };
            println!("{mark}  {about:<10} {says}");
        }
    }
    Ok(if findings.iter().all(|finding| finding.fine) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn processor() -> String {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    format!("{} kernels, {threads} threads", Cpu::detect().name())
}

fn memory() -> Result<String, String> {
    let system = System::new_all();
    let (free, total) = (system.available_memory() >> 20, system.total_memory() >> 20);
    let says = format!("{free} MiB of {total} MiB free");
    // The small model, its KV memory and the server take about this much.
    if free < 2048 {
        return Err(format!("{says}: lower --kv-memory-mib, or free some"));
    }
    Ok(says)
}

/// No device is no fault: the processor serves.
fn cuda() -> String {
    match device::devices() {
        Err(why) => why.to_string(),
        Ok(devices) => {
            let one = |found: &Found| {
                let (major, minor) = found.compute;
                let (number, name) = (found.ordinal, &found.name);
                let free = found.memory.free_bytes >> 20;
                format!("cuda:{number}: {name} (sm_{major}{minor}), {free} MiB free")
            };
            let listed = devices.iter().map(one).collect::<Vec<_>>().join("; ");
            let hint = if HAS_CUDA {
                "serve on one with --device"
            } else {
                "this elis was built without CUDA; `cargo xtask cuda` builds one with it"
            };
            format!("{listed}; {hint}")
        }
    }
}

fn model(options: &Doctor) -> Result<String, String> {
    let source = Source::open(&options.model);
    let source = source.map_err(|e| format!("{e}; `cargo xtask models` brings a small one"))?;
    let millions = source.config.parameters() / 1_000_000;
    Ok(format!(
        "{}: {millions} M parameters, {}",
        source.name, source.weights
    ))
}

fn predictor(options: &Doctor) -> Result<String, String> {
    let trained = Trained::load(&options.predictor, None);
    let trained = trained.map_err(|e| format!("{e}; --predictor none serves without one"))?;
    let digest = trained.digest();
    Ok(format!(
        "{}: {}",
        options.predictor.display(),
        &digest[..digest.len().min(12)]
    ))
}

fn policies() -> Result<String, String> {
    let names: Vec<String> = resolve::list()
        .into_iter()
        .map(|named| named.name)
        .collect();
    if names.is_empty() {
        return Err("none is built; `cargo xtask policies` builds them".to_owned());
    }
    Ok(names.join(", "))
}

fn free(port: u16) -> Result<String, String> {
    match TcpListener::bind(("127.0.0.1", port)) {
        Ok(_) => Ok(format!("{port} is free")),
        Err(error) => Err(format!(
            "{port}: {error}; take another with --port or --admin-port"
        )),
    }
}
