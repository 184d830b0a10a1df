//! Forges policies: core modules in text, with the description of the contract embedded.

use elis_policy_runtime::{Metering, Options, Runtime};
use elis_scheduler::columns::{JobRow, JobTable, TenantTable};
use elis_scheduler::snapshot::{Header, Snapshot};
use wit_component::StringEncoding;

/// The parts of a forged policy; the rest is the same for all.
pub(crate) struct Forged {
    pub(crate) name: &'static str,
    pub(crate) column: &'static str,
    /// Body of `describe`, run before it answers.
    pub(crate) describe: &'static str,
    /// Body of `configure`, run before it accepts.
    pub(crate) configure: &'static str,
    /// Body of `decide`, run before it answers with the plan at address 512. `$args` points to the
    /// header: `now-us`, `seed` and `revision` are its first three words.
    pub(crate) decide: &'static str,
    /// Body of `export-state`, run before it answers with the list at address 1024.
    pub(crate) export_state: &'static str,
    /// Body of `import-state`, whose state lies at `$state`, run before it accepts.
    pub(crate) import_state: &'static str,
    /// Further parts of the module.
    pub(crate) extra: &'static str,
    pub(crate) pages: u32,
}

impl Default for Forged {
    fn default() -> Self {
        Self {
            name: "forged",
            column: "job-id",
            describe: "",
            configure: "",
            decide: "",
            export_state: "",
            import_state: "",
            extra: "",
            pages: 4,
        }
    }
}

impl Forged {
    /// The core module, as cargo would have built it.
    pub(crate) fn build(&self) -> Vec<u8> {
        embed(&self.wat(), "policy")
    }

    /// Its text.
    pub(crate) fn wat(&self) -> String {
        // Strings lie from 256; the plan at 512 names job 7, which lies at 768.
        let Self {
            name,
            column,
            describe,
            configure,
            decide,
            export_state,
            import_state,
            extra,
            pages,
        } = self;
        let (name_len, column_len) = (name.len(), column.len());
        format!(
            r#"(module
  (memory (export "memory") {pages})
  (global $next (mut i32) (i32.const 4096))
  (data (i32.const 256) "{name}")
  (data (i32.const 320) "{column}")
  (data (i32.const 512) "\00\03\00\00\01\00\00\00")
  (data (i32.const 768) "\07\00\00\00\00\00\00\00")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func (export "elis:policy/scheduling@0.1.0#describe") (result i32)
    {describe}
    (i32.store (i32.const 0) (i32.const 256)) (i32.store (i32.const 4) (i32.const {name_len}))
    (i32.store (i32.const 24) (i32.const 64)) (i32.store (i32.const 28) (i32.const 1))
    (i32.store (i32.const 64) (i32.const 320)) (i32.store (i32.const 68) (i32.const {column_len}))
    (i32.const 0))
  (func (export "elis:policy/scheduling@0.1.0#configure") (param i32 i32) (result i32)
    {configure}
    (i32.store8 (i32.const 128) (i32.const 0))
    (i32.const 128))
  (func (export "elis:policy/scheduling@0.1.0#decide") (param $args i32) (result i32)
    {decide}
    (global.set $next (i32.const 4096))
    (i32.const 512))
  (func (export "elis:policy/scheduling@0.1.0#export-state") (result i32)
    {export_state}
    (i32.const 1024))
  (func (export "elis:policy/scheduling@0.1.0#import-state") (param $state i32) (param i32)
    (result i32)
    {import_state}
    (i32.const 1040))
  {extra})"#
        )
    }
}

/// Puts the description of one of our worlds into a core module.
pub(crate) fn embed(wat: &str, world: &str) -> Vec<u8> {
    describe(wat::parse_str(wat).unwrap(), world)
}

/// The same of a module in binary.
pub(crate) fn describe(mut module: Vec<u8>, world: &str) -> Vec<u8> {
    let mut resolve = wit_parser::Resolve::default();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit");
    let (package, _) = resolve.push_dir(folder).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let utf8 = StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, utf8).unwrap();
    module
}

/// A runtime with limits that a test reaches quickly.
pub(crate) fn runtime(metering: Metering) -> Runtime {
    Runtime::new(Options {
        metering,
        memory_bytes: 1 << 20,
        answer_entries: 1_000,
        ..Options::default()
    })
    .unwrap()
}

/// Metering by fuel with a budget that a test uses up at once.
pub(crate) const FUEL: Metering = Metering::Fuel {
    per_decision: 100_000,
};

/// Calls `with` with a snapshot of three jobs.
pub(crate) fn with_snapshot<T>(revision: u64, with: impl FnOnce(&Snapshot<'_>) -> T) -> T {
    let mut jobs = JobTable::default();
    for id in 1..=3 {
        jobs.push(JobRow {
            id,
            ..JobRow::default()
        });
    }
    with(&Snapshot {
        header: Header {
            revision,
            ..Header::default()
        },
        jobs: &jobs,
        tenants: &TenantTable::default(),
        length_histogram: &[],
    })
}
