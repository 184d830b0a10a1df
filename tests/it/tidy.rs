//! House rules that no lint checks, over every source file of the repository.

use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::MetadataCommand;

use crate::support::root;

const FILE_LINES_MAX: usize = 600;
const LINE_CHARS_MAX: usize = 100;

/// A source file and its path from the root.
struct Source {
    path: String,
    text: String,
}

/// Files below the root with one of these extensions, what is built or fetched left out.
fn sources(extensions: &[&str]) -> Vec<Source> {
    let mut folders = vec![root()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let skipped = ["target", "node_modules", "models", "results", "__pycache__"];
            if skipped.contains(&name.as_str()) || name == ".git" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if has_extension(&path, extensions) {
                found.push(Source {
                    text: fs::read_to_string(&path).unwrap(),
                    path: shown(&path),
                });
            }
        }
    }
    assert!(found.len() > 10, "the walk found next to nothing");
    found
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().unwrap_or_default();
    extensions.iter().any(|&wanted| extension == wanted)
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// Lines that a rule does not like, as `path:line: text`.
fn lines(sources: &[Source], bad: impl Fn(&str) -> bool) -> Vec<String> {
    let all = sources.iter().flat_map(|source| {
        let numbered = (1..).zip(source.text.lines());
        numbered.map(move |(number, line)| (source, number, line))
    });
    all.filter(|(_, _, line)| bad(line))
        .map(|(source, number, line)| format!("{}:{number}: {}", source.path, line.trim()))
        .collect()
}

#[track_caller]
fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_file_begins_with_what_it_is() {
    let bare = sources(&["rs"])
        .into_iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.path);
    assert_none(&bare.collect::<Vec<_>>());
}

#[test]
fn files_and_lines_have_an_end() {
    let rust = sources(&["rs"]);
    let long = rust
        .iter()
        .filter(|source| source.text.lines().count() > FILE_LINES_MAX)
        .map(|source| source.path.clone());
    assert_none(&long.collect::<Vec<_>>());
    assert_none(&lines(&rust, |line| line.chars().count() > LINE_CHARS_MAX));
}

#[test]
fn long_functions_are_left_to_clippy_and_clippy_looks() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("\ntoo_many_lines = "));
    let clippy = fs::read_to_string(root().join("clippy.toml")).unwrap();
    assert!(clippy.contains("too-many-lines-threshold = 70"));
    for package in packages() {
        let text = fs::read_to_string(&package.manifest_path).unwrap();
        let heeds = text.contains("[lints]\nworkspace = true");
        assert!(
            heeds,
            "{} does not take the lints of the workspace",
            package.name
        );
    }
}

#[test]
fn nothing_is_left_for_later() {
    // In two parts, or this file would be its own finding.
    let marks = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("FIX", "ME"),
        concat!("X", "XX"),
        concat!("TO", "DO"),
        concat!("#[ig", "nore"),
    ];
    let found = lines(&sources(&["rs", "py", "js", "toml", "sh", "wit"]), |line| {
        marks.iter().any(|mark| line.contains(mark))
    });
    assert_none(&found);
}

#[test]
fn no_file_knows_this_machine() {
    let marks = [
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/wo", "rk/"),
        concat!("/Us", "ers/"),
    ];
    let kinds = [
        "rs", "py", "js", "toml", "sh", "wit", "md", "yml", "yaml", "json", "lock",
    ];
    let all = sources(&kinds);
    assert_none(&lines(&all, |line| {
        marks.iter().any(|mark| line.contains(mark))
    }));
    // Crates come from crates.io under its own name, never from a mirror of somebody's network.
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let foreign = lock
        .lines()
        .filter(|line| line.starts_with("source = "))
        .filter(|line| !line.contains("registry+https://github.com/rust-lang/crates.io-index"));
    assert_none(&foreign.map(str::to_owned).collect::<Vec<_>>());
    let settings = root().join(".cargo/config.toml");
    let settings = fs::read_to_string(settings).unwrap_or_default();
    assert!(!settings.contains("registry") && !settings.contains("[source"));
}

#[test]
fn mechanism_knows_no_policy_by_name() {
    let mechanism = ["scheduler/src", "sim/src", "policy-runtime/src", "host/src"];
    let mechanism = mechanism.iter().chain(&["bench-harness/src"]);
    let all: Vec<Source> = sources(&["rs"])
        .into_iter()
        .filter(|source| {
            mechanism
                .clone()
                .any(|folder| source.path.starts_with(folder))
        })
        .collect();
    let policies: Vec<String> = fs::read_dir(root().join("policies"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(policies.len() >= 3);
    let compares = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        policies.iter().any(|policy| {
            [
                format!("== \"{policy}\""),
                format!("!= \"{policy}\""),
                format!("\"{policy}\" =>"),
                format!("\"{policy}\" |"),
            ]
            .iter()
            .any(|comparison| code.contains(comparison))
        })
    };
    assert!(
        compares("if name == \"fcfs\" {"),
        "the rule finds what it looks for"
    );
    assert_none(&lines(&all, compares));
}

fn packages() -> Vec<cargo_metadata::Package> {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .unwrap()
        .packages
}

/// The folders in the first cells of the table of ARCHITECTURE.md, as in "| `scheduler/` | ...".
fn table(text: &str) -> Vec<String> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split_once(" | "));
    let names = cells.flat_map(|(cell, _)| cell.split(", "));
    names
        .filter_map(|name| name.trim_matches('`').strip_suffix('/'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_table_of_policies_names_each() {
    let text = fs::read_to_string(root().join("policies/README.md")).unwrap();
    let unnamed = packages().into_iter().filter_map(|package| {
        let policy = package.name.strip_prefix("elis-policy-")?.to_owned();
        let folder = root().join("policies").join(&policy);
        let row = format!("| [{policy}]({policy}/README.md) |");
        (folder.is_dir() && !text.contains(&row)).then_some(policy)
    });
    assert_none(&unnamed.collect::<Vec<_>>());
}

#[test]
fn the_architecture_names_every_crate_and_no_other() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let named = table(&text);
    for folder in &named {
        assert!(
            root().join(folder).is_dir(),
            "{folder}/ is named and not there"
        );
    }
    for package in packages() {
        let folder = PathBuf::from(package.manifest_path.parent().unwrap());
        let folder = shown(&folder);
        // Policies have a table of their own, and the guest under `tests/` has no row.
        let covers = |row: &String| {
            folder == *row || folder.starts_with("policies/") || folder == "tests/rogue"
        };
        let covered = named.iter().any(covers);
        assert!(
            covered,
            "{folder} is a crate that ARCHITECTURE.md does not name"
        );
    }
}
