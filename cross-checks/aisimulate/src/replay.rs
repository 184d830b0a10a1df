//! The replay by AISimulate itself, through its public interface.

use std::sync::Arc;

use aisimulate_core::replay::{
    ReplayCaptureOptions, ReplayDeterminism, ReplayEngineFactory, ReplaySpec,
};
use aisimulate_core::{ReplayReport, Replayer};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::timing::Counting;
use crate::trace::Request;
use crate::{BLOCK_TOKENS, Engine, Figures, timed};

/// Replays the requests on one vLLM worker without prefix cache.
pub fn run(requests: &[Request], engine: Engine) -> Result<Figures> {
    let timing = Arc::new(Counting::default());
    let spec: ReplaySpec =
        serde_json::from_value(spec(requests, engine)).context("AISimulate refuses the replay")?;
    let factory = ReplayEngineFactory::with_timing_model(timing.clone());
    let capture = ReplayCaptureOptions {
        determinism: ReplayDeterminism::CanonicalV1,
        ..ReplayCaptureOptions::default()
    };
    let replayer = Replayer::new(spec, factory)
        .context("AISimulate refuses the replay")?
        .with_capture_options(capture);
    let (report, cpu_s) = timed(|| replayer.run());
    let report = report.context("AISimulate's replay failed")?;
    let finished = report.request_counts.completed_requests;
    ensure!(
        finished == requests.len(),
        "{finished} of {} requests finished",
        requests.len()
    );
    Ok(figures(&report, timing.decodes(), cpu_s))
}

fn figures(report: &ReplayReport, iterations: u64, cpu_s: Option<f64>) -> Figures {
    Figures {
        simulator: "AISimulate 0.13.0".to_owned(),
        ttft_ms: report.latency.ttft.mean_ms,
        tpot_ms: report.latency.tpot.mean_ms,
        e2e_ms: report.latency.e2e.mean_ms,
        p99_e2e_ms: report.latency.e2e.p99_ms,
        requests_per_s: report.throughput.request_throughput_rps,
        iterations,
        cpu_s,
    }
}

fn spec(requests: &[Request], engine: Engine) -> Value {
    let requests: Vec<Value> = requests
        .iter()
        .enumerate()
        .map(|(index, request)| {
            json!({
                "id": index.to_string(),
                "arrival_time_ms": request.arrival_ms,
                "input_tokens": request.prompt_tokens,
                "output_tokens": request.output_tokens,
            })
        })
        .collect();
    json!({
        "topology": { "kind": "aggregated", "workers": { "initial_workers": 1 } },
        "engine": { "rank": {
            "backend": "vllm",
            "num_gpu_blocks": engine.blocks,
            "block_size": BLOCK_TOKENS,
            "max_num_seqs": engine.seqs,
            "max_num_batched_tokens": engine.tokens,
            "enable_prefix_caching": false,
            "enable_chunked_prefill": true,
        } },
        "adapters": {},
        "requests": requests,
    })
}
