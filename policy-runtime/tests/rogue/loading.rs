//! Policies that are refused before they decide anything.

use elis_policy_runtime::{Kind, LoadError, LoadedPolicy, Options, Runtime, StartError};
use elis_scheduler::plan::PolicyExit;

use crate::forge::{FUEL, Forged, embed, runtime};

fn load(forged: &Forged) -> Result<LoadedPolicy, LoadError> {
    runtime(FUEL).load(&forged.build())
}

#[test]
fn an_honest_one_says_who_it_is() {
    let policy = load(&Forged::default()).unwrap();
    assert_eq!(
        (policy.info().name.as_str(), policy.kind()),
        ("forged", Kind::CoreModule)
    );
    assert_eq!(policy.columns()[0].name(), "job-id");
    assert_eq!(policy.digest().len(), 64);
    assert!(!policy.interest().predictions);
}

#[test]
fn predictions_are_of_interest_to_those_who_read_them() {
    let column = "job-predicted-remaining-tokens";
    let forged = Forged {
        column,
        ..Forged::default()
    };
    assert!(load(&forged).unwrap().interest().predictions);
}

#[test]
fn an_unknown_column_is_named_with_the_known_ones() {
    let forged = Forged {
        column: "job-colour",
        ..Forged::default()
    };
    let text = load(&forged).unwrap_err().to_string();
    assert!(
        text.contains("job-colour") && text.contains("job-arrival-us"),
        "{text}"
    );
}

#[test]
fn a_name_that_is_no_label_is_refused() {
    let forged = Forged {
        name: "My Policy",
        ..Forged::default()
    };
    assert!(matches!(load(&forged), Err(LoadError::Info(_))));
}

#[test]
fn describe_has_a_budget() {
    let forged = Forged {
        describe: "(loop $l (br $l))",
        ..Forged::default()
    };
    let exit = |error| match error {
        LoadError::Start { exit, .. } => exit,
        other => panic!("{other}"),
    };
    assert_eq!(exit(load(&forged).unwrap_err()), PolicyExit::OutOfFuel);
    let forged = Forged {
        extra: "(func $f (loop $l (br $l))) (start $f)",
        ..Forged::default()
    };
    assert_eq!(exit(load(&forged).unwrap_err()), PolicyExit::OutOfFuel);
    let forged = Forged {
        pages: 17,
        ..Forged::default()
    };
    assert_eq!(exit(load(&forged).unwrap_err()), PolicyExit::OutOfMemory);
}

#[test]
fn an_import_is_refused_by_name() {
    let wat = r#"(module (import "env" "clock" (func (result i64))))"#;
    let Err(LoadError::Imports(names)) = runtime(FUEL).load(&embed(wat, "policy")) else {
        panic!("an import got through");
    };
    assert_eq!(names, ["env.clock"]);
}

#[test]
fn a_component_of_the_right_name_and_the_wrong_types_is_refused() {
    let wat = r#"(component (instance $i)
        (export "elis:policy/scheduling@0.1.0" (instance $i)))"#;
    let error = runtime(FUEL)
        .load(&wat::parse_str(wat).unwrap())
        .unwrap_err();
    assert!(matches!(error, LoadError::Types(_)), "{error}");
}

#[test]
fn text_is_not_a_policy() {
    let error = runtime(FUEL).load(b"(module)").unwrap_err();
    assert!(matches!(error, LoadError::NotWasm { .. }));
}

#[test]
fn a_refused_configuration_reaches_the_caller() {
    let forged = Forged {
        configure: r#"(i32.store8 (i32.const 128) (i32.const 1))
            (i32.store (i32.const 132) (i32.const 256)) (i32.store (i32.const 136) (i32.const 6))
            (return (i32.const 128))"#,
        ..Forged::default()
    };
    let error = load(&forged).unwrap().start("colour = 1").unwrap_err();
    assert!(matches!(error, StartError::Config(text) if text == "forged"));
}

#[test]
fn the_second_load_takes_compiled_code_from_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        cache_dir: Some(dir.path().join("code")),
        ..Options::default()
    };
    let bytes = Forged::default().build();
    let load = || Runtime::new(options.clone()).unwrap().load(&bytes).unwrap();
    let first = load();
    let second = load();
    assert_eq!((first.from_cache(), second.from_cache()), (false, true));
    assert_eq!(first.digest(), second.digest());
}

#[test]
fn a_loaded_policy_can_be_shared_between_threads() {
    fn shareable<T: Send + Sync + Clone>(_: &T) {}
    let policy = load(&Forged::default()).unwrap();
    shareable(&policy);
    fn movable<T: Send>(_: &T) {}
    movable(&policy.start("").unwrap());
}
