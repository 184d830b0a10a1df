//! The parts of an engine, from what the command line says.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use elis_cost::Profile;
use elis_host::engine::{IterationLog, Parts, PolicyOptions, Predictor, ServedModel};
use elis_host::shelf::{Shelf, Signers};
use elis_host::worker::{ModelOptions, ModelWorker, PacedWorker, Worker};
use elis_llm::{Cache, Cpu, Model, Source, Vocabulary};
use elis_policy_runtime::{Metering, Options, Runtime};
use elis_predictor::trained::Trained;

use super::Serve;

/// A model from its files, and the worker that computes it.
pub(super) fn model(options: &Serve) -> anyhow::Result<(ServedModel, Vec<ModelWorker>)> {
    let path = options.model.as_deref().context("--model is missing")?;
    let mut source = Source::open(path)?;
    if let Some(tokens) = options.limits.context_tokens {
        let most = source.config.context_tokens;
        ensure!(
            tokens as usize <= most,
            "--context-tokens {tokens}: the model was made for at most {most}"
        );
        source.config.context_tokens = tokens as usize;
    }
    let limits = &options.limits;
    let cpu = Cpu::detect();
    let weights = Model::load(&mut source, cpu, limits.precision.precision(), |_| ())?;
    let config = weights.config();
    let block = Cache::block_bytes(config.kv_layout()) as u64;
    let blocks = |mib: u32| u32::try_from((u64::from(mib) << 20) / block).unwrap_or(u32::MAX);
    let kv_blocks = blocks(limits.kv_memory_mib);
    ensure!(
        kv_blocks > 0,
        "--kv-memory-mib {} is less than one KV block, which takes {} KiB",
        limits.kv_memory_mib,
        block >> 10
    );
    tracing::info!(
        model = source.name,
        weights = source.weights,
        parameters = config.parameters(),
        kernels = cpu.name(),
        kv_tokens = u64::from(kv_blocks) * u64::from(Cache::block_tokens()),
        "the model is loaded"
    );
    let served = ServedModel {
        id: named(options, &source.name),
        created_s: now_s(),
        vocabulary: source.vocabulary.clone(),
        chat_template: source.chat_template.clone(),
        bos_token: source.bos_token.clone(),
        eos_token: source.eos_token.clone(),
        context_tokens: config.context_tokens as u32,
    };
    let weights = Arc::new(weights);
    let cost = ModelWorker::calibrate(&weights);
    let worker = ModelOptions {
        kv_blocks,
        swap_blocks: blocks(limits.swap_memory_mib),
        max_num_seqs: limits.max_num_seqs,
        max_batched_tokens: limits.max_batched_tokens,
        cost,
    };
    Ok((served, vec![ModelWorker::new(weights, worker)]))
}

/// A modelled worker.
pub(super) fn paced(
    options: &Serve,
    worker: &str,
) -> anyhow::Result<(ServedModel, Vec<PacedWorker>)> {
    ensure!(
        options.speed > 0.0 && options.speed.is_finite(),
        "--speed must be above 0"
    );
    let profile = Profile::resolve(worker)?;
    let room = u64::from(profile.gpu_blocks) * u64::from(profile.block_size_tokens);
    let served = ServedModel {
        id: named(options, &profile.name),
        created_s: now_s(),
        vocabulary: Vocabulary::bytes()?,
        chat_template: None,
        bos_token: String::new(),
        eos_token: String::new(),
        context_tokens: u32::try_from(room).unwrap_or(u32::MAX),
    };
    Ok((served, vec![PacedWorker::new(profile, options.speed)?]))
}

fn named(options: &Serve, own: &str) -> String {
    let given = options.served_model_name.as_deref();
    given.unwrap_or(own).to_owned()
}

fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// All parts together.
pub(super) fn parts<W: Worker>(
    options: &Serve,
    model: ServedModel,
    workers: Vec<W>,
) -> anyhow::Result<Parts<W>> {
    let runtime = Runtime::new(Options {
        metering: Metering::Epoch {
            budget_ms: options.decision_budget_ms,
        },
        cache_dir: options.state_dir.as_ref().map(|dir| dir.join("compiled")),
        ..Options::default()
    })?;
    let log = options.iteration_log.as_deref().map(|path| {
        IterationLog::create(path).with_context(|| format!("cannot make {}", path.display()))
    });
    Ok(Parts {
        predictor: predictor(options, &model.id)?,
        model,
        workers,
        runtime,
        policy: policies(options)?,
        log: log.transpose()?,
    })
}

fn policies(options: &Serve) -> anyhow::Result<PolicyOptions> {
    let config = match &options.policy_config {
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?,
        None => String::new(),
    };
    Ok(PolicyOptions {
        policy: options.policy.clone(),
        config,
        shelf: match &options.state_dir {
            Some(dir) => Shelf::open(dir)?,
            None => Shelf::in_memory(),
        },
        signers: Signers::read(&options.require_signature)?,
    })
}

fn predictor(options: &Serve, model: &str) -> anyhow::Result<Predictor> {
    let folder = Path::new(&options.predictor);
    if !folder.is_dir() {
        let predictor = elis_predictor::parse(&options.predictor, options.seed)?;
        return Ok(Predictor::Instant(predictor));
    }
    let mut trained = Trained::load(folder, options.encoder.as_deref())?;
    trained.serve(model);
    Ok(Predictor::Trained(Box::new(trained)))
}
