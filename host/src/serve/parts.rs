//! The parts of an engine, from what the command line says.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use elis_cost::Profile;
use elis_host::engine::{IterationLog, Parts, PolicyOptions, Predictor, ServedModel};
use elis_host::shelf::{Shelf, Signers};
use elis_host::worker::{ModelOptions, ModelWorker, PacedWorker, Worker, calibrate};
use elis_llm::device::{Device, DeviceBackend, DeviceModel, Floats, Place};
use elis_llm::{Backend, Cache, Cpu, CpuBackend, Model, Precision, Source, Vocabulary};
use elis_policy_runtime::{Metering, Options, Runtime, cache_folder};
use elis_predictor::trained::Trained;
use elis_scheduler::config::CostHint;

use super::Serve;
use super::options::{DEFAULT_KV_MIB, Limits, PrecisionKind, blocks};

/// A worker of whatever kind.
pub(super) type AnyWorker = Box<dyn Worker>;

/// A model from its files, and the workers that compute it.
pub(super) fn model(options: &Serve) -> anyhow::Result<(ServedModel, Vec<AnyWorker>)> {
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
    let workers = match options.limits.device {
        Place::Cpu => on_cpu(&options.limits, options.workers, &mut source)?,
        Place::Cuda(_) if options.workers > 1 => bail!(
            "--workers {}: a GPU has one worker; start a server for each device",
            options.workers
        ),
        place @ Place::Cuda(_) => vec![on_gpu(&options.limits, place, &mut source)?],
    };
    let config = workers.first().context("there is no worker")?.config();
    tracing::info!(
        model = source.name,
        weights = source.weights,
        parameters = source.config.parameters(),
        device = %options.limits.device,
        workers = workers.len(),
        kv_tokens = u64::from(config.gpu_blocks) * u64::from(config.block_size_tokens),
        "the model is loaded"
    );
    let served = ServedModel {
        id: named(options, &source.name),
        created_s: now_s(),
        context_tokens: source.config.context_tokens as u32,
        vocabulary: source.vocabulary,
        reads_prompts: true,
        chat_template: source.chat_template,
        bos_token: source.bos_token,
        eos_token: source.eos_token,
    };
    Ok((served, workers))
}

/// Workers on the processor: one copy of the weights, and memory for keys and values of each.
fn on_cpu(limits: &Limits, workers: u16, source: &mut Source) -> anyhow::Result<Vec<AnyWorker>> {
    let precision = match limits.precision {
        PrecisionKind::Auto => None,
        PrecisionKind::F32 => Some(Precision::F32),
        PrecisionKind::Q8 => Some(Precision::Q8),
        PrecisionKind::Bf16 => bail!("--precision bf16 is for GPUs; the CPU has f32 and q8"),
    };
    let cpu = Cpu::detect();
    let model = Model::load(source, cpu, precision, |_| ())?;
    let block_bytes = Cache::block_bytes(source.config.kv_layout());
    let kv_blocks = limits.kv_blocks(DEFAULT_KV_MIB, block_bytes)?;
    let swap_blocks = blocks(limits.swap_memory_mib, block_bytes);
    tracing::info!(kernels = cpu.name(), "computing on the processor");
    let model = Arc::new(model);
    let mut backend = CpuBackend::new(Arc::clone(&model), kv_blocks, swap_blocks);
    // They are alike, so that one is timed for all.
    let cost = calibrate(&mut backend)?;
    let mut all: Vec<AnyWorker> = vec![worker(limits, backend, cost)];
    for _ in 1..workers {
        let backend = CpuBackend::new(Arc::clone(&model), kv_blocks, swap_blocks);
        all.push(worker(limits, backend, cost));
    }
    Ok(all)
}

fn on_gpu(limits: &Limits, place: Place, source: &mut Source) -> anyhow::Result<AnyWorker> {
    let floats = match limits.precision {
        PrecisionKind::Auto | PrecisionKind::Bf16 => Floats::Bf16,
        PrecisionKind::F32 => Floats::F32,
        PrecisionKind::Q8 => bail!("--precision q8 is for the CPU; GPUs have bf16 and f32"),
    };
    let device = Device::open(place)?;
    let model = DeviceModel::load(source, &device, floats, |_| ())?;
    let block_bytes = model.block_bytes();
    let kv_blocks = match (limits.kv_memory_mib, device.memory()?) {
        (None, Some(memory)) => memory.kv_blocks(limits.gpu_memory_utilization, block_bytes)?,
        (_, _) => limits.kv_blocks(DEFAULT_KV_MIB, block_bytes)?,
    };
    let swap_blocks = blocks(limits.swap_memory_mib, block_bytes);
    let mut backend = DeviceBackend::new(Arc::new(model), kv_blocks, swap_blocks)?;
    let cost = calibrate(&mut backend)?;
    Ok(worker(limits, backend, cost))
}

fn worker(limits: &Limits, backend: impl Backend + 'static, cost: CostHint) -> AnyWorker {
    let options = ModelOptions {
        max_num_seqs: limits.max_num_seqs,
        max_batched_tokens: limits.max_batched_tokens,
        cost,
    };
    Box::new(ModelWorker::new(backend, options))
}

/// Modelled workers.
pub(super) fn paced(
    options: &Serve,
    worker: &str,
) -> anyhow::Result<(ServedModel, Vec<AnyWorker>)> {
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
        reads_prompts: false,
        chat_template: None,
        bos_token: String::new(),
        eos_token: String::new(),
        context_tokens: u32::try_from(room).unwrap_or(u32::MAX),
    };
    let mut workers: Vec<AnyWorker> = Vec::new();
    for _ in 0..options.workers {
        let worker = PacedWorker::new(profile.clone(), options.speed)?;
        workers.push(Box::new(worker));
    }
    Ok((served, workers))
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
pub(super) fn parts(
    options: &Serve,
    model: ServedModel,
    workers: Vec<AnyWorker>,
) -> anyhow::Result<Parts<AnyWorker>> {
    let kept = options.state_dir.as_ref().map(|dir| dir.join("compiled"));
    let runtime = Runtime::new(Options {
        metering: Metering::Epoch {
            budget_ms: options.decision_budget_ms,
        },
        cache_dir: kept.or_else(cache_folder),
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
    let known = trained.serve(options.predictor_model.as_deref().unwrap_or(model));
    let trained_on = trained.card().models.join(", ");
    ensure!(
        known || options.predictor_model.is_none(),
        "--predictor-model: {} was trained on responses of {trained_on}",
        folder.display()
    );
    if !known {
        tracing::warn!(
            model,
            trained_on,
            "the predictor does not know how long this model's responses are: name the model that \
             it is with --predictor-model, or train one on its own with elis-predictor"
        );
    }
    Ok(Predictor::Trained(Box::new(trained)))
}
