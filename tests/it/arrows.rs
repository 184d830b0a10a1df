//! The arrows between crates, as the architecture draws them: who may know whom.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

use crate::support::root;

/// Each package and what it may depend on of ours. A policy may know the SDK only.
const ALLOWED: &[(&str, &[&str])] = &[
    ("elis-scheduler", &[]),
    ("elis-policy-sdk", &[]),
    ("elis-ragged", &[]),
    ("elis-llm", &["elis-ragged"]),
    ("elis-predictor", &["elis-ragged", "elis-workloads"]),
    ("elis-workloads", &[]),
    ("elis-cost", &["elis-scheduler"]),
    ("elis-record", &["elis-scheduler"]),
    ("elis-policy-runtime", &["elis-scheduler"]),
    (
        "elis-sim",
        &[
            "elis-scheduler",
            "elis-policy-runtime",
            "elis-predictor",
            "elis-workloads",
            "elis-cost",
            "elis-record",
        ],
    ),
    (
        "elis-host",
        &[
            "elis-scheduler",
            "elis-policy-runtime",
            "elis-predictor",
            "elis-llm",
            "elis-cost",
            "elis-record",
            "elis-sim",
        ],
    ),
    (
        "elis-bench-harness",
        &[
            "elis-scheduler",
            "elis-policy-runtime",
            "elis-predictor",
            "elis-workloads",
            "elis-sim",
            "elis-record",
        ],
    ),
    ("xtask", &[]),
    // Its dependencies are all for tests, which may know everybody.
    ("elis-tests", &[]),
    // A guest, like the policies, but one that no user ever sees.
    ("elis-rogue", &["elis-policy-sdk"]),
];

/// Crates of others that one of ours keeps to itself, by the beginning of their names.
const CONFINED: &[(&str, &[&str])] = &[
    ("wasmtime", &["elis-policy-runtime"]),
    (
        "tokio",
        &["elis-host", "elis-predictor", "elis-bench-harness"],
    ),
    ("axum", &["elis-host"]),
    ("hyper", &["elis-host"]),
    (
        "reqwest",
        &["elis-host", "elis-predictor", "elis-bench-harness"],
    ),
    ("candle", &["elis-predictor", "elis-llm"]),
    ("cudarc", &["elis-llm"]),
    ("rayon", &["elis-bench-harness"]),
    ("gemm", &["elis-ragged"]),
];

fn packages() -> Vec<Package> {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .unwrap()
        .packages
}

/// What a package needs to be built, dependencies of its tests not counted.
fn needs(package: &Package) -> BTreeSet<String> {
    // All of this package is tests; why it has others than those of development says its manifest.
    let tests = *package.name == "elis-tests";
    let built = package
        .dependencies
        .iter()
        .filter(|d| d.kind != DependencyKind::Development && !tests);
    built.map(|d| d.name.clone()).collect()
}

fn allowed(name: &str) -> Option<BTreeSet<String>> {
    if name.starts_with("elis-policy-") && !ALLOWED.iter().any(|(known, _)| *known == name) {
        return Some(BTreeSet::from(["elis-policy-sdk".to_owned()]));
    }
    let (_, list) = ALLOWED.iter().find(|(known, _)| *known == name)?;
    Some(list.iter().map(|&name| name.to_owned()).collect())
}

#[test]
fn crates_know_only_whom_the_architecture_lets_them_know() {
    let packages = packages();
    let ours: BTreeSet<String> = packages.iter().map(|p| p.name.to_string()).collect();
    let mut wrong = Vec::new();
    for package in &packages {
        let Some(allowed) = allowed(&package.name) else {
            wrong.push(format!("{} is in no row of the table", package.name));
            continue;
        };
        for other in needs(package).intersection(&ours) {
            if !allowed.contains(other) {
                wrong.push(format!("{} must not know {other}", package.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for (name, _) in ALLOWED {
        assert!(
            ours.contains(*name),
            "the table names {name}: there is none"
        );
    }
}

#[test]
fn the_simulator_does_not_know_the_host_even_in_tests() {
    let all: BTreeMap<String, Vec<String>> = packages()
        .into_iter()
        .map(|p| {
            let names = p.dependencies.into_iter().map(|d| d.name).collect();
            (p.name.to_string(), names)
        })
        .collect();
    assert!(!all["elis-sim"].iter().any(|name| name == "elis-host"));
}

#[test]
fn heavy_crates_are_confined() {
    let mut wrong = Vec::new();
    for package in packages() {
        for dependency in needs(&package) {
            for (prefix, owners) in CONFINED {
                if dependency.starts_with(prefix) && !owners.contains(&package.name.as_str()) {
                    wrong.push(format!("{} must not know {dependency}", package.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_core_has_one_dependency_and_one_that_is_optional() {
    let packages = packages();
    let core = packages
        .iter()
        .find(|p| *p.name == "elis-scheduler")
        .unwrap();
    let of = |optional: bool| -> Vec<&str> {
        let all = core.dependencies.iter();
        let some = all.filter(|d| d.optional == optional);
        some.map(|d| d.name.as_str()).collect()
    };
    assert_eq!((of(false), of(true)), (vec!["thiserror"], vec!["serde"]));
}
