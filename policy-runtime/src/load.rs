//! From untrusted bytes to a policy that can be started any number of times.

use std::sync::Arc;
use std::time::{Duration, Instant};

use elis_scheduler::columns::Column;
use elis_scheduler::plan::Interest;
use elis_scheduler::snapshot::Triggers;
use sha2::{Digest, Sha256};
use wasmtime::component::{Component, Linker};

use crate::contract::{self, PolicyPre, TypedInfo};
use crate::engine::{Shared, text};
use crate::inspect::{self, Kind};
use crate::instance;
use crate::limits::Limits;
use crate::packed::{PackedInfo, PackedPolicyPre};
use crate::{Ladder, LoadError, PolicyInstance, PolicySlot, Runtime, StartError};

/// Longest name and version that a policy may give, in bytes: both become labels of metrics.
const LABEL_BYTES: usize = 64;

/// Who a policy says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Short, lower case, as in a report.
    pub name: String,
    /// The policy's own version.
    pub version: String,
    /// One sentence: the rule.
    pub summary: String,
}

/// The answer of `describe`, not yet checked.
#[derive(Debug)]
pub(crate) struct Described {
    info: Info,
    columns: Vec<String>,
    triggers: Triggers,
    preemptive: bool,
}

/// A component, linked and ready to be instantiated.
pub(crate) enum Blueprint {
    Typed(PolicyPre<Limits>),
    Packed(PackedPolicyPre<Limits>),
}

/// What all clones of a loaded policy share.
pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) blueprint: Blueprint,
    pub(crate) columns: Vec<Column>,
    info: Info,
    interest: Interest,
    digest: String,
    size: usize,
    kind: Kind,
    compile_time: Duration,
    from_cache: bool,
}

/// A policy that has been checked and compiled. Cheap to clone, and shared between threads.
#[derive(Clone)]
pub struct LoadedPolicy(Arc<Inner>);

impl std::fmt::Debug for LoadedPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadedPolicy")
            .field("info", &self.0.info)
            .field("digest", &self.0.digest)
            .field("kind", &self.0.kind)
            .finish_non_exhaustive()
    }
}

impl Runtime {
    /// Checks and compiles a policy: a component, or the core module that cargo builds of one.
    ///
    /// # Errors
    ///
    /// Whatever makes these bytes no policy for this host; the message says what to do about it.
    pub fn load(&self, bytes: &[u8]) -> Result<LoadedPolicy, LoadError> {
        let shared = &self.shared;
        let kind = inspect::inspect(bytes, shared.options.policy_bytes)?;
        let digest = hex(&Sha256::digest(bytes));
        let begin = Instant::now();
        let (component, from_cache) = compile(shared, kind, bytes, &digest)?;
        let compile_time = begin.elapsed();
        let blueprint = link(shared, &component)?;
        let described = instance::describe(shared, &blueprint)?;
        let columns = columns(&described.columns)?;
        check_labels(&described.info)?;
        Ok(LoadedPolicy(Arc::new(Inner {
            shared: Arc::clone(shared),
            blueprint,
            interest: Interest {
                triggers: described.triggers,
                preemptive: described.preemptive,
                predictions: columns.iter().copied().any(is_predicted),
                identity: identity(&described.info.name),
            },
            columns,
            info: described.info,
            digest,
            size: bytes.len(),
            kind,
            compile_time,
            from_cache,
        })))
    }
}

/// Policies of one name read each other's words beside jobs, as they do their exported state.
fn identity(name: &str) -> u64 {
    let digest = Sha256::digest(name);
    let first = digest.first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(first)
}

fn compile(
    shared: &Shared,
    kind: Kind,
    bytes: &[u8],
    digest: &str,
) -> Result<(Component, bool), LoadError> {
    let cached = |cache: &crate::cache::Cache| cache.get(&shared.engine, digest);
    if let Some(component) = shared.cache.as_ref().and_then(cached) {
        return Ok((component, true));
    }
    let compiled = match kind {
        Kind::CoreModule => Component::new(&shared.engine, inspect::componentise(bytes)?),
        Kind::Component | Kind::Packed => Component::new(&shared.engine, bytes),
    };
    let component = compiled.map_err(|e| LoadError::Compile(text(&e)))?;
    if let Some(cache) = &shared.cache {
        cache.put(digest, &component);
    }
    Ok((component, false))
}

fn link(shared: &Shared, component: &Component) -> Result<Blueprint, LoadError> {
    // The linker is empty: there is nothing for a policy to call.
    let linker = Linker::<Limits>::new(&shared.engine);
    let pre = linker
        .instantiate_pre(component)
        .map_err(|e| LoadError::Types(text(&e)))?;
    let packed = component
        .get_export_index(None, inspect::export_name("packed"))
        .is_some();
    let blueprint = if packed {
        PackedPolicyPre::new(pre).map(Blueprint::Packed)
    } else {
        PolicyPre::new(pre).map(Blueprint::Typed)
    };
    blueprint.map_err(|e| LoadError::Types(text(&e)))
}

fn columns(names: &[String]) -> Result<Vec<Column>, LoadError> {
    let parse = |name: &String| {
        Column::parse(name).ok_or_else(|| LoadError::UnknownColumn {
            name: name.clone(),
            known: Column::all()
                .map(Column::name)
                .collect::<Vec<_>>()
                .join(", "),
        })
    };
    let columns: Vec<Column> = names.iter().map(parse).collect::<Result<_, _>>()?;
    for (i, column) in columns.iter().enumerate() {
        if columns[..i].contains(column) {
            let name = column.name();
            return Err(LoadError::Info(format!("the column {name} twice")));
        }
    }
    Ok(columns)
}

/// Whether somebody has to predict for this column to say anything.
fn is_predicted(column: Column) -> bool {
    let name = column.name();
    name.starts_with("job-predict") || name == "job-rank-score"
}

fn check_labels(info: &Info) -> Result<(), LoadError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let name = &info.name;
    if name.is_empty() || name.len() > LABEL_BYTES || !name.chars().all(plain) {
        return Err(LoadError::Info(format!(
            "the name {:?}, which is not 1 to {LABEL_BYTES} of a-z, 0-9 and -",
            name.chars().take(LABEL_BYTES).collect::<String>()
        )));
    }
    if info.version.len() > LABEL_BYTES {
        return Err(LoadError::Info(format!(
            "a version of more than {LABEL_BYTES} bytes"
        )));
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl From<TypedInfo> for Described {
    fn from(info: TypedInfo) -> Self {
        Self {
            triggers: contract::triggers(info.triggers),
            preemptive: info.preemptive,
            columns: info.columns,
            info: Info {
                name: info.name,
                version: info.version,
                summary: info.summary,
            },
        }
    }
}

impl TryFrom<PackedInfo> for Described {
    type Error = LoadError;

    fn try_from(info: PackedInfo) -> Result<Self, LoadError> {
        Ok(Self {
            triggers: info.triggers()?,
            preemptive: info.preemptive,
            columns: info.columns,
            info: Info {
                name: info.name,
                version: info.version,
                summary: info.summary,
            },
        })
    }
}

impl LoadedPolicy {
    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    /// Who the policy says it is.
    pub fn info(&self) -> &Info {
        &self.0.info
    }

    /// SHA-256 of the bytes that were loaded, in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.0.digest
    }

    /// Size of the bytes that were loaded.
    pub fn size_bytes(&self) -> usize {
        self.0.size
    }

    /// How it came.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Time it took to get machine code, by compiling it or from the cache.
    pub fn compile_time(&self) -> Duration {
        self.0.compile_time
    }

    /// Whether the machine code came from the cache.
    pub fn from_cache(&self) -> bool {
        self.0.from_cache
    }

    /// When it wants to be asked, and whether it preempts.
    pub fn interest(&self) -> Interest {
        self.0.interest
    }

    /// Names of the triggers that it declared.
    pub fn trigger_names(&self) -> Vec<&'static str> {
        let named = [
            (Triggers::ARRIVAL, "arrival"),
            (Triggers::FINISH, "finish"),
            (Triggers::WINDOW_END, "window-end"),
            (Triggers::PREDICTION, "prediction"),
            (Triggers::MEMORY_PRESSURE, "memory-pressure"),
            (Triggers::TIMER, "timer"),
        ];
        let declared = self.0.interest.triggers;
        named
            .into_iter()
            .filter_map(|(trigger, name)| declared.intersects(trigger).then_some(name))
            .collect()
    }

    /// The columns that it wants, in its order.
    pub fn columns(&self) -> &[Column] {
        &self.0.columns
    }

    /// Starts the policy with its configuration, behind the default fault ladder.
    ///
    /// # Errors
    ///
    /// The policy refuses the configuration, or ends instead of answering.
    pub fn start(&self, config: &str) -> Result<PolicySlot, StartError> {
        self.start_with(config, Ladder::default())
    }

    /// Starts the policy behind a fault ladder of one's own.
    ///
    /// # Errors
    ///
    /// The policy refuses the configuration, or ends instead of answering.
    pub fn start_with(&self, config: &str, ladder: Ladder) -> Result<PolicySlot, StartError> {
        let instance = PolicyInstance::start(self, config)?;
        Ok(PolicySlot::new(self.clone(), config, instance, ladder))
    }
}
