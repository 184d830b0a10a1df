//! Golden transcripts: what the core says, line by line, in situations worth knowing by heart.
//!
//! A file of `tests/scenarios` holds commands (`> arrive 1 prompt=12 output=30 at=0`), each
//! followed by what came of it. Only rewrite one (`UPDATE_EXPECT=1`) if you understand what caused
//! the change.

mod script;
mod stage;
mod transcript;

use std::path::Path;

use stage::Stage;

/// Plays a file; gives it as it should be.
fn replay(text: &str) -> String {
    let mut stage = Stage::default();
    let mut out = String::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            out += &format!("> {command}\n");
            for said in stage.perform(&script::parse(command)) {
                out += &format!("  {said}\n");
            }
        } else if line.is_empty() || line.starts_with('#') {
            out += &format!("{line}\n");
        } else {
            assert!(line.starts_with("  "), "what is this? {line:?}");
        }
    }
    stage.close();
    out
}

fn check(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(
        text.starts_with("# "),
        "{path:?} does not say what it shows"
    );
    expect_test::expect_file![path].assert_eq(&replay(&text));
}

/// One test for each file, so that a failure has its name; a file without a test is an error.
macro_rules! scenarios {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        $(
            #[test]
            fn $name() {
                check(&folder().join(concat!(stringify!($name), ".txt")));
            }
        )*
    };
}

scenarios! {
    a_batch_returns_when_one_finishes
    a_cancelled_job_frees_its_memory
    a_hostile_plan_runs_as_far_as_it_is_valid
    a_late_plan_is_dropped
    a_lost_worker_loses_no_job
    a_trap_means_arrival_order
    first_come_first_served
    isrtf_preempts_at_the_end_of_a_window
    memory_pressure_recomputes
    memory_pressure_swaps
    nobody_starves
    predictions_are_waited_for
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

#[test]
fn every_file_is_played() {
    let files = std::fs::read_dir(folder()).unwrap();
    let stem = |path: std::path::PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut found: Vec<String> = files.map(|file| stem(file.unwrap().path())).collect();
    found.sort();
    assert_eq!(found, NAMES);
}
