//! What stands between a policy and the world: nothing is imported, and what would be is refused in
//! words that help.

use std::fs;

use elis_policy_runtime::{LoadError, Options, Runtime};
use wasmparser::{Encoding, Parser, Payload};

use crate::support::{command, policy_path, target};

/// What the outermost layer of a binary is and asks for.
#[derive(Debug, Default)]
struct Outside {
    component: bool,
    imports: Vec<String>,
}

fn outside(bytes: &[u8]) -> Outside {
    let mut found = Outside::default();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.unwrap() {
            Payload::Version { encoding, .. } if depth == 0 => {
                found.component = encoding == Encoding::Component;
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    found.imports.push(import.unwrap().name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    found
}

#[test]
fn every_policy_is_a_component_that_imports_nothing() {
    let built = policy_path("fcfs");
    let folder = built.parent().unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)
        .unwrap()
        .chain(fs::read_dir(folder.join("rogue")).unwrap())
    {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "wasm")
        {
            let found = outside(&fs::read(&path).unwrap());
            assert!(found.component, "{} is no component", path.display());
            assert!(
                found.imports.is_empty(),
                "{}: {:?}",
                path.display(),
                found.imports
            );
            names.push(path.file_stem().unwrap().to_string_lossy().into_owned());
        }
    }
    for wanted in ["fcfs", "sjf", "isrtf", "rogue"] {
        assert!(
            names.iter().any(|name| name == wanted),
            "{wanted} was not built: {names:?}"
        );
    }
}

#[test]
fn the_same_look_finds_imports_where_there_are_some() {
    let found = outside(&wat::parse_str(WASI).unwrap());
    assert_eq!(found.imports, ["wasi:clocks/wall-clock@0.2.0"]);
}

const WASI: &str = r#"(component
    (import "wasi:clocks/wall-clock@0.2.0" (instance))
    (instance $i)
    (export "elis:policy/scheduling@0.1.0" (instance $i)))"#;
const OTHER_VERSION: &str = r#"(component
    (instance $i)
    (export "elis:policy/scheduling@9.0.0" (instance $i)))"#;
const WRONG_TYPES: &str = r#"(component
    (instance $i)
    (export "elis:policy/scheduling@0.1.0" (instance $i)))"#;

#[test]
fn a_clock_is_refused_before_anything_runs() {
    let runtime = Runtime::new(Options::default()).unwrap();
    let refused = runtime.load(&wat::parse_str(WASI).unwrap());
    assert!(matches!(refused, Err(LoadError::Imports(names)) if names.len() == 1));
}

#[test]
fn both_commands_say_why_they_refuse_a_policy() {
    let folder = tempfile::tempdir_in(target()).unwrap();
    let cases: [(&str, Vec<u8>, &[&str]); 5] = [
        (
            "wasi",
            wat::parse_str(WASI).unwrap(),
            &["wasi:clocks/wall-clock@0.2.0", "wasm32-unknown-unknown"],
        ),
        (
            "version",
            wat::parse_str(OTHER_VERSION).unwrap(),
            &["elis:policy@0.1.0", "elis:policy@9.0.0"],
        ),
        (
            "types",
            wat::parse_str(WRONG_TYPES).unwrap(),
            &["types of the contract"],
        ),
        (
            "native",
            b"\x7fELF and so on".to_vec(),
            &["not a WebAssembly binary", ".wasm"],
        ),
        (
            "module",
            wat::parse_str("(module)").unwrap(),
            &["core module", "elis-policy-sdk"],
        ),
    ];
    for (name, bytes, says) in cases {
        let path = folder.path().join(format!("{name}.wasm"));
        fs::write(&path, bytes).unwrap();
        let path = path.to_str().unwrap();
        let check = ["policy", "check", path];
        let compare = ["compare", "--take", "5", "--seeds", "1", "--policy", path];
        for (binary, arguments) in [("elis", &check[..]), ("elis-bench", &compare[..])] {
            let output = command(binary).args(arguments).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{binary} took {name}");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            for part in says {
                assert!(
                    said.contains(part),
                    "{binary}, {name}: {part:?} is not in {said}"
                );
            }
        }
    }
}

/// A rogue through the real binary: the run succeeds, since no request was lost, and the document
/// says what happened.
#[test]
fn a_rogue_in_a_comparison_is_named_with_its_causes() {
    let folder = tempfile::tempdir_in(target()).unwrap();
    let rogue = policy_path("rogue/rogue");
    let with = |kind: &str| {
        let config = folder.path().join(format!("{kind}.toml"));
        fs::write(&config, format!("kind = \"{kind}\"\n")).unwrap();
        format!("{}@{}", rogue.display(), config.display())
    };
    let (trap, liar) = (with("trap"), with("liar"));
    let fixed = "compare --take 60 --seeds 2 --no-bound --deterministic --json -";
    let policies = ["--policy", "fcfs", "--policy", &trap, "--policy", &liar];
    let output = command("elis-bench")
        .args(fixed.split(' '))
        .args(policies)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let results = document["results"].as_array().unwrap();
    assert_eq!(results.len(), 3);
    for result in results {
        assert_eq!(
            result["completed"], result["requests"],
            "{}",
            result["policy"]
        );
        assert_eq!(result["lost"], 0, "{}", result["policy"]);
    }
    let causes = [
        (1, "fallbacks", "trap"),
        (1, "fallbacks", "quarantined"),
        (2, "plan_faults", "unknown-job"),
        (2, "plan_faults", "duplicate-job"),
    ];
    for (policy, map, cause) in causes {
        let count = results[policy][map][cause].as_u64();
        assert!(
            count > Some(0),
            "{cause} is not in {}",
            results[policy][map]
        );
        let notes = document["notes"].to_string();
        assert!(notes.contains(cause), "{cause} is not in {notes}");
    }
    assert_eq!(
        results[0]["fallbacks"].as_object().unwrap().len(),
        0,
        "fcfs is innocent"
    );
}
