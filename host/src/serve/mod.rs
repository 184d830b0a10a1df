//! `elis serve`: a model behind an OpenAI-compatible API, scheduled by a policy.

mod options;
mod parts;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use elis_host::engine::{Engine, Generate as _};
use elis_host::http::{Ending, Server, on_signals};

pub(crate) use options::Serve;

/// Serves until a signal comes.
pub(crate) fn run(options: Serve) -> anyhow::Result<ExitCode> {
    let traces = options.traces.start();
    let traces = traces.context("cannot start the thread that sends traces")?;
    // Kept until the end, which sends the last ones.
    let (layer, _traces) = traces.unzip();
    options.log.install(layer)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("elis-http")
        .worker_threads(2)
        .build()
        .context("cannot start the HTTP threads")?;
    let log = options.record.as_deref().map(crate::record::create);
    let log = log.transpose()?;
    let engine = start(&options)?;
    runtime.block_on(async {
        // Until the engine is drained, or for as long as this process lives.
        let _recording = match log {
            Some(log) => Some(engine.record(Box::new(log)).await?),
            None => None,
        };
        let stops = on_signals()?;
        let server = Server::bind(Arc::new(engine), options.server).await?;
        tracing::info!("listening on http://{}", server.address());
        if let Some(admin) = server.admin_address() {
            tracing::info!("admin API on http://{admin}");
        }
        let ending = server.run(stops).await?;
        Ok(match ending {
            Ending::Drained => ExitCode::SUCCESS,
            Ending::CutOff => ExitCode::FAILURE,
        })
    })
}

fn start(options: &Serve) -> anyhow::Result<Engine> {
    let scheduling = options.engine();
    let (model, workers) = match &options.worker {
        Some(worker) => parts::paced(options, worker)?,
        None => parts::model(options)?,
    };
    let engine = Engine::start(parts::parts(options, model, workers)?, &scheduling)?;
    tracing::info!(
        policy = options.policy,
        predictor = options.predictor,
        window_tokens = options.window_tokens,
        "the engine runs"
    );
    Ok(engine)
}
