//! Suites that are right and suites that are wrong; what of them is planned.

use std::path::Path;

use super::*;

const GOOD: &str = r#"name = "t"
description = "d"
baselines = ["fcfs"]

[[seeds]]
part = "report"
list = [1, 2, 3]

[[seeds]]
part = "tune"
list = [9]

[[cell]]
id = "a"
part = "report"
group = "g"
stream = { workload = "steady", take = 10 }
seeds = 2

[[cell]]
id = "b"
part = "report"
group = "h"
stream = { trace = "azure:absent.csv" }

[[paper]]
part = "tune"
group = "p"
models = ["opt-13b"]
batch = 2
multiples = [1.0, 3.0]
boundary = "batch"

[sweep]
mae_tokens = [0.0, 20.0, 71.0]
cells = ["a"]
seeds = 1

[smoke]
cells = ["a"]
requests = 4
seeds = 1
"#;

fn parse(text: &str) -> Result<Suite, SuiteError> {
    Suite::parse(text, "dir/t.toml")
}

/// What parsing says after `old` in the good suite became `new`.
fn refusal(old: &str, new: &str) -> String {
    assert!(GOOD.contains(old), "{old}");
    parse(&GOOD.replacen(old, new, 1)).unwrap_err().to_string()
}

#[test]
fn shipped_suites_parse_and_keep_their_parts_apart() {
    for (name, _) in SHIPPED {
        let suite = Suite::load(name).unwrap();
        assert_eq!(suite.name, name);
        let of = |part| suite.cells.iter().filter(move |cell| cell.part == part);
        assert!(of(Part::Report).count() > 60 && of(Part::Tune).count() > 20);
        // What is tuned on is no real trace: all of those are reported.
        assert!(of(Part::Tune).all(|cell| !matches!(cell.stream, CellStream::Trace(..))));
        let report = suite.seeds_of(Part::Report);
        assert!(
            suite
                .seeds_of(Part::Tune)
                .iter()
                .all(|seed| !report.contains(seed))
        );
    }
}

#[test]
fn a_paper_table_is_a_cell_for_each_model_and_rate() {
    let suite = parse(GOOD).unwrap();
    let ids: Vec<&str> = suite.cells.iter().map(|cell| cell.id.as_str()).collect();
    assert_eq!(ids, ["opt-13b b2 1x", "opt-13b b2 3x", "a", "b"]);
    assert_eq!(suite.cells[0].predictor, "elis-paper");
}

/// What is changed in a good suite, to what, and what must be said of it.
const REFUSALS: [[&str; 3]; 16] = [
    [
        "baselines = [",
        "baseline = [",
        "dir/t.toml:3:1: unknown field",
    ],
    [
        "[\"fcfs\"]",
        "[]",
        "dir/t.toml:3:13: name at least one baseline",
    ],
    [
        "list = [9]",
        "list = [3]",
        "dir/t.toml:9:1: seed 3 is given twice",
    ],
    ["list = [9]", "list = []", "dir/t.toml:9:1: 'list' is empty"],
    [
        "\"steady\"",
        "\"stedy\"",
        "dir/t.toml:17:10: 'stedy' names no workload",
    ],
    [
        "take = 10",
        "take = 0",
        "dir/t.toml:17:10: number of requests is 0",
    ],
    [
        "workload = \"steady\", ",
        "",
        "dir/t.toml:17:10: give either 'workload'",
    ],
    [
        "seeds = 2",
        "seeds = 4",
        "dir/t.toml:13:1: 'seeds' asks for more than the 3",
    ],
    [
        "seeds = 2",
        "seeds = 2\nworker = { profile = \"sim:x\" }",
        "19:10: no worker profile 'x'",
    ],
    ["seeds = 2", "seeds = 2\npredictor = \"x\"", "19:13: 'x'"],
    [
        "id = \"b\"",
        "id = \"a\"",
        "dir/t.toml:20:1: cell 'a' is there already",
    ],
    [
        "group = \"h\"",
        "group = \"g\"",
        "cells of group 'g' must have one part",
    ],
    ["\"azure:absent.csv\"", "\"steady\"", "'steady' is no trace"],
    [
        "\"opt-13b\"",
        "\"opt-66b\"",
        "dir/t.toml:29:11: the paper has no model 'opt-66b'",
    ],
    [
        "cells = [\"a\"]",
        "cells = [\"c\"]",
        "dir/t.toml:36:10: there is no cell 'c'",
    ],
    [
        "[0.0, 20.0, 71.0]",
        "[0.0]",
        "'mae_tokens' needs two errors",
    ],
];

#[test]
fn refusals_name_line_and_column_and_what_to_write() {
    for [old, new, says] in REFUSALS {
        let said = refusal(old, new);
        assert!(said.contains(says), "{new}: {said}");
    }
}

#[test]
fn one_set_up_cannot_be_tuned_on_and_reported() {
    let twin = "\n[[cell]]\nid = \"c\"\npart = \"tune\"\ngroup = \"i\"\n\
                stream = { workload = \"steady\", take = 10 }\n";
    let said = parse(&(GOOD.to_owned() + twin)).unwrap_err().to_string();
    assert!(
        said.contains("cells 'a' and 'c' are the same set-up in two parts"),
        "{said}"
    );
}

#[test]
fn unknown_suites_are_explained() {
    let said = Suite::load("sibling").unwrap_err().to_string();
    assert!(said.contains("shipped is siblings"), "{said}");
    let said = Suite::load("nowhere/mine.toml").unwrap_err().to_string();
    assert!(said.contains("nowhere/mine.toml: cannot be read"), "{said}");
}

#[test]
fn a_cell_without_data_is_left_out_and_named() {
    let suite = parse(GOOD).unwrap();
    let choice = Choice {
        data: "there".into(),
        ..Choice::default()
    };
    let planned = plan(&suite, &choice).unwrap();
    assert_eq!(planned.cells.len(), 1);
    assert_eq!(planned.cells[0].experiment.seeds, [1, 2]);
    assert_eq!(planned.left_out[0].what, "cell b");
    let path = Path::new("there").join("absent.csv");
    let reason = &planned.left_out[0].reason;
    assert!(reason.contains(&path.display().to_string()) && reason.contains("--data"));
    assert_eq!(planned.sweep[0].experiment.seeds, [1]);
    let alone = Choice {
        cells: vec!["b".into()],
        ..choice
    };
    let said = plan(&suite, &alone).unwrap_err().to_string();
    assert!(
        said.contains("no cell is left to run") && said.contains("absent.csv"),
        "{said}"
    );
}

#[test]
fn the_small_form_takes_little_of_few() {
    let suite = parse(GOOD).unwrap();
    let smoke = Choice {
        smoke: true,
        ..Choice::default()
    };
    let planned = plan(&suite, &smoke).unwrap();
    assert!(planned.smoke && planned.left_out.is_empty());
    let experiment = &planned.cells[0].experiment;
    assert_eq!(
        (experiment.overrides.take, &experiment.seeds[..]),
        (Some(4), &[1][..])
    );
    assert_eq!(planned.mae_tokens, [0.0, 20.0]);
    let none = parse(&GOOD[..GOOD.find("[smoke]").unwrap()]).unwrap();
    let said = plan(&none, &smoke).unwrap_err().to_string();
    assert!(said.contains("has no [smoke]"), "{said}");
}

#[test]
fn the_part_and_the_names_pick_the_cells() {
    let suite = parse(GOOD).unwrap();
    let choice = |part, cells: &[&str]| Choice {
        part: Some(part),
        cells: cells.iter().map(|name| (*name).to_owned()).collect(),
        ..Choice::default()
    };
    let ids = |choice: &Choice| -> Vec<String> {
        let planned = plan(&suite, choice).unwrap();
        planned.cells.into_iter().map(|cell| cell.id).collect()
    };
    assert_eq!(
        ids(&choice(Part::Tune, &[])),
        ["opt-13b b2 1x", "opt-13b b2 3x"]
    );
    assert_eq!(ids(&choice(Part::Tune, &["p"])).len(), 2);
    assert_eq!(
        ids(&choice(Part::Tune, &["opt-13b b2 3x"])),
        ["opt-13b b2 3x"]
    );
    let said = plan(&suite, &choice(Part::Tune, &["q"]))
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("no cell or group 'q'") && said.contains("opt-13b b2 1x"),
        "{said}"
    );
}
