//! Where policies are made ready: loaded, checked, started and tried, on any thread but the
//! scheduler's.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use elis_policy_runtime::{CONTRACT_VERSION, LoadedPolicy, PolicyInstance, Runtime};
use lru::LruCache;

use super::error::PolicyError;
use super::report::{Check, Pushed};
use crate::engine::deck::{Board, Seat};
use crate::shelf::{Choice, Digest, Shelf, Signers};
use crate::still::Still;
use crate::synthetic;

/// Policies that stay compiled: an instance of one costs microseconds, compiling it a thousand
/// times as much.
const COMPILED_MAX: NonZeroUsize = NonZeroUsize::new(32).unwrap();
/// Queues to try a policy on before anything was decided here, in jobs.
const SYNTHETIC_JOBS: [usize; 3] = [8, 64, 1_000];

/// The tools and the shelf.
pub(super) struct Workshop {
    pub(super) shelf: Shelf,
    pub(super) runtime: Runtime,
    pub(super) signers: Signers,
    pub(super) board: Arc<Board>,
    compiled: Mutex<LruCache<Digest, LoadedPolicy>>,
}

impl Workshop {
    pub(super) fn new(shelf: Shelf, runtime: Runtime, signers: Signers, board: Arc<Board>) -> Self {
        Self {
            shelf,
            runtime,
            signers,
            board,
            compiled: Mutex::new(LruCache::new(COMPILED_MAX)),
        }
    }

    /// Checks bytes and keeps them.
    pub(super) fn push(
        &self,
        bytes: &[u8],
        signature: Option<&str>,
        recent: &[Arc<Still>],
    ) -> Result<Pushed, PolicyError> {
        let digest = Digest::of(bytes);
        let signed = self.signers.check(bytes, signature)?;
        let policy = self.compile(digest, bytes)?;
        let mut checks = vec![
            check(
                "contract",
                &format!(
                    "elis:policy@{CONTRACT_VERSION}, as a {}",
                    policy.kind().name()
                ),
            ),
            check("imports", "none"),
            check("columns", &columns(&policy)),
        ];
        if signed {
            checks.push(check("signature", "by a key of this server"));
        }
        checks.extend(start_and_try(&policy, recent));
        let new = self.shelf.put(digest, bytes, signature)?;
        let info = policy.info();
        Ok(Pushed {
            digest,
            name: info.name.clone(),
            version: info.version.clone(),
            summary: info.summary.clone(),
            size_bytes: bytes.len(),
            new,
            compile_ms: ms(policy.compile_time()),
            checks,
        })
    }

    /// A stored policy, compiled.
    pub(super) fn load(&self, digest: Digest) -> Result<LoadedPolicy, PolicyError> {
        if let Some(policy) = self.known(digest) {
            return Ok(policy);
        }
        let (bytes, signature) = self.shelf.get(digest)?;
        self.signers.check(&bytes, signature.as_deref())?;
        self.compile(digest, &bytes)
    }

    /// A policy that is compiled already.
    pub(super) fn known(&self, digest: Digest) -> Option<LoadedPolicy> {
        self.lock().get(&digest).cloned()
    }

    pub(super) fn forget(&self, digest: Digest) {
        self.lock().pop(&digest);
    }

    fn compile(&self, digest: Digest, bytes: &[u8]) -> Result<LoadedPolicy, PolicyError> {
        if let Some(policy) = self.known(digest) {
            return Ok(policy);
        }
        let policy = self.runtime.load(bytes)?;
        self.lock().put(digest, policy.clone());
        Ok(policy)
    }

    /// A policy, started and ready to decide.
    pub(super) fn seat(&self, policy: &LoadedPolicy, choice: Choice) -> Result<Seat, PolicyError> {
        Ok(Seat {
            slot: policy.start(&choice.config)?,
            tally: self.board.tallies.of(choice.digest, policy),
            choice,
            number: 0,
            memory: Vec::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<Digest, LoadedPolicy>> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks a throw-away instance for decisions that the scheduler asked for lately, synthetic ones
/// where there are none. Says on how many.
pub(super) fn trial(
    policy: &LoadedPolicy,
    config: &str,
    recent: &[Arc<Still>],
) -> Result<usize, PolicyError> {
    let mut instance = PolicyInstance::start(policy, config)?;
    if !recent.is_empty() {
        for still in recent {
            try_on(&mut instance, still)?;
        }
        return Ok(recent.len());
    }
    for jobs in SYNTHETIC_JOBS {
        try_on(&mut instance, &synthetic::queue(jobs))?;
    }
    Ok(SYNTHETIC_JOBS.len())
}

fn try_on(instance: &mut PolicyInstance, still: &Still) -> Result<(), PolicyError> {
    let jobs = still.jobs.len();
    let decision = instance.decide(&still.snapshot());
    let plan = decision.plan.map_err(|exit| {
        let detail = decision.detail.unwrap_or_default();
        PolicyError::Trial(format!("{} over {jobs} jobs ({detail})", exit.name()))
    })?;
    match still.strangers(&plan) {
        0 => Ok(()),
        strangers => Err(PolicyError::Trial(format!(
            "its plan for {jobs} jobs names {strangers} that do not exist or run twice"
        ))),
    }
}

fn start_and_try(policy: &LoadedPolicy, recent: &[Arc<Still>]) -> [Check; 2] {
    let start = match PolicyInstance::start(policy, "") {
        Ok(_) => check("start", "without a configuration"),
        Err(error) => failed("start", &error.to_string()),
    };
    let trial = match trial(policy, "", recent) {
        Ok(number) if recent.is_empty() => check("trial", &format!("{number} synthetic queues")),
        Ok(number) => check("trial", &format!("{number} recent snapshots")),
        Err(error) => failed("trial", &error.to_string()),
    };
    [start, trial]
}

fn columns(policy: &LoadedPolicy) -> String {
    let names: Vec<_> = policy
        .columns()
        .iter()
        .map(|column| column.name())
        .collect();
    match &names[..] {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}

fn check(check: &'static str, found: &str) -> Check {
    Check {
        check,
        ok: true,
        found: found.to_owned(),
    }
}

fn failed(name: &'static str, found: &str) -> Check {
    Check {
        ok: false,
        ..check(name, found)
    }
}

pub(super) fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}
