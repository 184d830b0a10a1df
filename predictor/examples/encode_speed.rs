//! Encodes tokens on request, so that another program can time it in turns with something else.
//!
//! `encode_speed FOLDER (f32|q8|candle)`, then on standard input one JSON object a line, each
//! answered by one: `{"ids": [[101, 102]], "seconds": 0.5, "show": true}` encodes that batch until
//! so much CPU time of the process is spent, once at least, and answers how often, the CPU and wall
//! seconds, and the embeddings if they are to be shown.

use std::io::{BufRead as _, Write as _, stdin, stdout};
use std::path::Path;
use std::time::{Duration, Instant};

use cpu_time::ProcessTime;
use elis_predictor::encoder::{Backend, Encoder, Options, Precision};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct Question {
    ids: Vec<Vec<u32>>,
    #[serde(default)]
    seconds: f64,
    #[serde(default)]
    show: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, way] = args.as_slice() else {
        return Err("usage: encode_speed FOLDER (f32|q8|candle)".into());
    };
    let (backend, precision) = match way.as_str() {
        "f32" => (Backend::Ragged, Precision::F32),
        "q8" => (Backend::Ragged, Precision::Q8),
        "candle" => (Backend::Candle, Precision::F32),
        _ => return Err(format!("no way {way:?}; take f32, q8 or candle").into()),
    };
    let options = Options {
        backend,
        precision,
        ..Options::default()
    };
    let mut encoder = Encoder::load(Path::new(folder), &options)?;
    for line in stdin().lock().lines() {
        let question: Question = serde_json::from_str(&line?)?;
        let ids: Vec<&[u32]> = question.ids.iter().map(Vec::as_slice).collect();
        let budget = Duration::from_secs_f64(question.seconds.clamp(0.0, 60.0));
        let (cpu, wall) = (ProcessTime::now(), Instant::now());
        let mut times = 0u32;
        let embeddings = loop {
            let embeddings = encoder.encode_tokens(&ids)?;
            times += 1;
            if cpu.elapsed() >= budget {
                break embeddings;
            }
        };
        let (cpu_s, wall_s) = (cpu.elapsed().as_secs_f64(), wall.elapsed().as_secs_f64());
        let rows: Vec<&[f32]> = embeddings.iter().filter(|_| question.show).collect();
        let answer = json!({"times": times, "cpu_s": cpu_s, "wall_s": wall_s, "rows": rows});
        writeln!(stdout(), "{answer}")?;
    }
    Ok(())
}
