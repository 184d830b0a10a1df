//! Reads the trace: a CSV of arrivals at one request per second, and lengths.

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// One request of the trace.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// When it arrives at the asked rate.
    pub arrival_ms: f64,
    /// Tokens of its prompt.
    pub prompt_tokens: u32,
    /// Tokens that it will give.
    pub output_tokens: u32,
}

/// Reads the requests, with their arrivals moved to `rate` requests per second.
pub fn read(path: &Path, rate: f64) -> Result<Vec<Request>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let column = |name: &str| {
        header
            .split(',')
            .position(|field| field == name)
            .with_context(|| format!("{}: no column `{name}` in `{header}`", path.display()))
    };
    let columns = [
        column("arrival_s_at_1rps")?,
        column("prompt_tokens")?,
        column("output_tokens")?,
    ];
    let mut requests: Vec<Request> = Vec::new();
    for (index, line) in lines.enumerate().filter(|(_, line)| !line.is_empty()) {
        let request = parse(line, columns, rate)
            .with_context(|| format!("{}: line {}: `{line}`", path.display(), index + 2))?;
        let last = requests.last().map_or(0.0, |last| last.arrival_ms);
        ensure!(
            request.arrival_ms >= last,
            "{}: line {} is too early",
            path.display(),
            index + 2
        );
        requests.push(request);
    }
    ensure!(!requests.is_empty(), "{}: no requests", path.display());
    Ok(requests)
}

fn parse(line: &str, [arrival, prompt, output]: [usize; 3], rate: f64) -> Result<Request> {
    let fields: Vec<&str> = line.split(',').collect();
    let field = |at: usize| fields.get(at).copied().context("too few fields");
    let request = Request {
        arrival_ms: field(arrival)?.parse::<f64>()? / rate * 1e3,
        prompt_tokens: field(prompt)?.parse()?,
        output_tokens: field(output)?.parse()?,
    };
    ensure!(request.arrival_ms.is_finite(), "the arrival is no number");
    ensure!(
        request.prompt_tokens > 0 && request.output_tokens > 0,
        "a length is 0"
    );
    Ok(request)
}
