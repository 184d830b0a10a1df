//! What the tests share: where the data lies, native policies, ready-made options.

use std::path::PathBuf;
use std::sync::OnceLock;

use elis_policy_runtime::{CACHE_VARIABLE, Metering, Options, Runtime};
use elis_scheduler::plan::{Interest, Plan};
use elis_scheduler::snapshot::Snapshot;
use elis_sim::{Answer, Decider};

/// The real traces and measurements that the project is given, beside the checkout.
pub(crate) fn data(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")).join(path)
}

/// Leaves every decision to the core's own arrival order.
pub(crate) struct ArrivalOrder;

impl Decider for ArrivalOrder {
    fn interest(&self) -> Interest {
        Interest::default()
    }

    fn decide(&mut self, _: &Snapshot<'_>) -> Answer {
        Answer {
            plan: Ok(Plan::default()),
            fuel: 0,
            wall_ns: 0,
        }
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap().to_owned()
}

/// The folder of the binaries that belong to this test, `target/debug` or the like.
pub(crate) fn binaries() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().to_owned()
}

/// The build folder.
pub(crate) fn target() -> PathBuf {
    binaries().parent().unwrap().to_owned()
}

/// A policy that `cargo xtask policies` built, by its name below `target/policies`.
pub(crate) fn policy_path(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    // Nothing rebuilds these when their sources change, and a stale guest would test the past.
    BUILT.get_or_init(|| cargo(&["run", "--quiet", "--package", "xtask", "--", "policies"]));
    target().join("policies").join(format!("{name}.wasm"))
}

/// Where compiled policies are kept, for all tests and from one run of them to the next: to compile
/// one takes longer than most of what is then tested.
fn compiled() -> PathBuf {
    target().join("tmp/compiled-policies")
}

/// A runtime that compiles nothing twice.
pub(crate) fn runtime(metering: Metering) -> Runtime {
    let options = Options {
        metering,
        cache_dir: Some(compiled()),
        ..Options::default()
    };
    Runtime::new(options).unwrap()
}

/// One of our commands, freshly built, that finds the policies of this build.
pub(crate) fn command(name: &str) -> assert_cmd::Command {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let release = binaries().ends_with("release");
        let profile: &[&str] = if release { &["--release"] } else { &[] };
        cargo(
            &[
                &["build", "--quiet", "--workspace", "--bins", "--tests"],
                profile,
            ]
            .concat(),
        );
    });
    let policies = policy_path("fcfs").parent().unwrap().to_owned();
    let mut command = assert_cmd::Command::new(binaries().join(name));
    command
        .env("ELIS_POLICIES", policies)
        .env(CACHE_VARIABLE, compiled());
    command.current_dir(root());
    command
}

fn cargo(arguments: &[&str]) {
    // Whoever has just built everything need not wait for cargo to see that.
    if std::env::var_os("ELIS_TEST_BUILT").is_some() {
        return;
    }
    let mut cargo = std::process::Command::new(env!("CARGO"));
    // What cargo told this test of its own crate is not meant for another cargo.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(name);
        }
    }
    let output = cargo.args(arguments).current_dir(root()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {said}");
}
