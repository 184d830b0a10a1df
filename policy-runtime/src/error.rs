//! What can go wrong before a policy decides anything, in words that say what to do next.

use elis_scheduler::plan::PolicyExit;

/// The sandbox itself could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine refused its settings.
    #[error("cannot set up the WebAssembly engine: {0}")]
    Engine(String),
    /// The cache of compiled policies cannot be used.
    #[error("cannot use {path} as the cache of compiled policies: {cause}; choose another folder")]
    Cache {
        /// The folder.
        path: String,
        /// What the system says.
        cause: String,
    },
    /// No thread for the clock of live budgets.
    #[error("cannot start the thread that watches over time budgets: {0}")]
    Ticker(String),
}

/// Why bytes were refused as a policy.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// More bytes than a policy may have.
    #[error("the policy has {size} bytes and may have {limit}; build it optimised and stripped")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Not WebAssembly.
    #[error(
        "this is not a WebAssembly binary (it begins with {start:?}); give a .wasm file, \
         as `cargo xtask policies` writes them to target/policies"
    )]
    NotWasm {
        /// Its first bytes.
        start: String,
    },
    /// WebAssembly that cannot be read.
    #[error("the WebAssembly is broken: {0}; build it again")]
    Malformed(String),
    /// A module without the description of a component.
    #[error(
        "this is a core module that does not say which contract it follows; write it with \
         elis-policy-sdk and `export_policy!`, or make it a component with \
         `wasm-tools component new`"
    )]
    NotAPolicy,
    /// It wants something from the host.
    #[error(
        "the policy imports {}, and a policy may import nothing; build it for \
         wasm32-unknown-unknown instead of wasm32-wasip1 or -wasip2, or stub WASI out",
        .0.join(", ")
    )]
    Imports(
        /// The names of the imports.
        Vec<String>,
    ),
    /// It exports another contract, or another version of this one.
    #[error(
        "this host speaks {expected}, the component exports {}; \
         build it with this host's policy.wit",
        if .found.is_empty() { "nothing".to_owned() } else { .found.join(", ") }
    )]
    Contract {
        /// What the host looks for.
        expected: String,
        /// What the component has.
        found: Vec<String>,
    },
    /// It exports an interface of the right name and the wrong types.
    #[error("the exports do not have the types of the contract: {0}; use this host's policy.wit")]
    Types(String),
    /// Cranelift refused it.
    #[error("the policy does not compile: {0}")]
    Compile(String),
    /// `describe` did not answer.
    #[error("the policy does not start: {} ({detail})", .exit.name())]
    Start {
        /// How it ended.
        exit: PolicyExit,
        /// What the sandbox says.
        detail: String,
    },
    /// `describe` answered nonsense.
    #[error("`describe` gives {0}; see the record `info` in policy.wit")]
    Info(String),
    /// It asks for a column that this host does not have.
    #[error(
        "the policy asks for the column {name:?}, which this host does not have; it has {known}"
    )]
    UnknownColumn {
        /// The column.
        name: String,
        /// All columns, for the message.
        known: String,
    },
}

/// Why a loaded policy could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It refused its configuration.
    #[error("the policy refuses its configuration: {0}")]
    Config(String),
    /// It refused the state of its predecessor.
    #[error("the policy refuses the state handed to it: {0}; start it without one")]
    State(String),
    /// It ended instead of answering.
    #[error("the policy does not start: {} ({detail})", .exit.name())]
    Exit {
        /// How it ended.
        exit: PolicyExit,
        /// What the sandbox says.
        detail: String,
    },
}
