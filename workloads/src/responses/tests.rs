//! Tests of the readers of responses.

use std::fs;

use super::*;
use crate::overrides::Overrides;
use crate::reference::WorkloadRef;
use crate::workload::Workload;

fn data(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")).join(name)
}

fn read_text(text: &str, prompts: Option<&str>) -> Result<ResponseFile, WorkloadError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("castillo_responses_org--name.jsonl");
    fs::write(&path, text).unwrap();
    let files: Vec<PathBuf> = prompts
        .into_iter()
        .map(|text| {
            let path = dir.path().join("p.jsonl");
            fs::write(&path, text).unwrap();
            path
        })
        .collect();
    open(&path, &files)
}

/// The part of the error after the file's name.
#[track_caller]
fn refusal(text: &str, prompts: Option<&str>) -> String {
    let shown = read_text(text, prompts).unwrap_err().to_string();
    shown.split_once("jsonl:").unwrap().1.to_owned()
}

fn response(text: &str, output_tokens: u32) -> Response {
    Response {
        id: "1".to_owned(),
        source: "s".to_owned(),
        licence: String::new(),
        model: "m".to_owned(),
        prompt: "p".into(),
        text: text.into(),
        prompt_tokens: 1,
        output_tokens,
        samples_tokens: vec![output_tokens],
    }
}

fn row(sample: u32, output_tokens: u32) -> String {
    format!(
        "{{\"schema\":\"elis-responses/1\",\"id\":\"7\",\"source\":\"s\",\"licence\":null,\
         \"sample\":{sample},\"model\":\"m\",\"prompt\":\"why?\",\"response\":\"so {sample}\",\
         \"prompt_tokens\":4,\"output_tokens\":{output_tokens},\"finish_reason\":\"stop\"}}\n"
    )
}

const CASTILLO: &str = "{\"prompt_id\":\"a\",\"dataset\":\"Mbpp\",\"split\":\"test\",\
                        \"input_size\":3,\"output_sizes\":[5,9,0,7],\"longest\":\"nine long\",\
                        \"shortest\":\"\"}\n";
const PROMPTS: &str = "{\"source\":\"castillo/Mbpp\",\"id\":\"a\",\"prompt\":\"do\",\
                       \"licence\":\"CC-BY-4.0\"}\n";

#[test]
fn samples_of_a_prompt_know_each_other() {
    let file = read_text(&(row(0, 5) + "\n" + &row(1, 0) + &row(2, 8)), None).unwrap();
    assert_eq!((file.responses.len(), file.skipped), (2, 1));
    assert_eq!(file.notes, ["1 responses of 0 tokens were left out"]);
    let [one, two] = &file.responses[..] else {
        panic!("{file:?}")
    };
    assert_eq!((one.output_tokens, two.output_tokens), (5, 8));
    assert_eq!((&*one.text, &*two.text), ("so 0", "so 2"));
    assert!(Arc::ptr_eq(&one.prompt, &two.prompt));
    assert_eq!((one.prompt_tokens, one.licence.as_str()), (4, ""));
    assert!(file.responses.iter().all(|r| r.samples_tokens == [5, 8]));
}

#[test]
fn castillo_gives_the_longest_and_the_shortest() {
    let file = read_text(CASTILLO, Some(PROMPTS)).unwrap();
    // The shortest has no token here.
    assert_eq!((file.responses.len(), file.skipped), (1, 1));
    let one = &file.responses[0];
    assert_eq!((one.model.as_str(), one.output_tokens), ("org/name", 9));
    assert_eq!((&*one.prompt, &*one.text), ("do", "nine long"));
    assert_eq!(one.samples_tokens, [5, 9, 7]);
    assert_eq!(
        (one.licence.as_str(), one.source.as_str()),
        ("CC-BY-4.0", "castillo/Mbpp")
    );
    assert_eq!(file.inputs.len(), 1);
}

#[test]
fn real_files_have_their_rows_and_prompts() {
    let path = data("responses/castillo_responses_meta-llama--Llama-3.1-8B-Instruct.jsonl.gz");
    let beside = open(&path, &[]).unwrap();
    assert_eq!((beside.responses.len(), beside.skipped), (2 * 4707, 0));
    let first = &beside.responses[0];
    assert_eq!(
        (first.model.as_str(), first.source.as_str(), &*first.prompt),
        (
            "meta-llama/Llama-3.1-8B-Instruct",
            "castillo/Alpaca",
            "Describe the history of Python programming language."
        )
    );
    let lengths = (first.prompt_tokens, first.output_tokens);
    assert_eq!(lengths, (43, 928));
    assert_eq!(beside.responses[1].output_tokens, 706);
    assert_eq!(first.samples_tokens.len(), 10);
    assert!(first.licence.is_empty());
    let given = read(&path, &[data("prompts/prompts_all.jsonl.gz")]).unwrap();
    assert_eq!(given[0].prompt, first.prompt);
    assert!(given.iter().all(|response| !response.licence.is_empty()));
}

#[test]
fn a_cut_grows_with_its_tokens_and_keeps_characters_whole() {
    let ascii = response("0123456789", 5);
    assert_eq!((ascii.after(0), ascii.after(1)), ("", "01"));
    assert_eq!((ascii.after(4), ascii.after(5)), ("01234567", "0123456789"));
    assert_eq!(ascii.after(u32::MAX), "0123456789");
    // Ten characters of two and one bytes: the cut counts characters.
    let mixed = response("ééééé12345", 10);
    assert_eq!((mixed.after(3), mixed.after(6)), ("ééé", "ééééé1"));
    assert_eq!(mixed.after(9), "ééééé1234");
}

#[test]
fn refusals_name_the_place_and_the_remedy() {
    let wrong = row(0, 5).replace("\"output_tokens\":5", "\"output_tokens\":\"x\"");
    let said = refusal(&(row(0, 5) + &wrong), None);
    assert!(said.starts_with("2:142: output tokens: '\"x\"'"), "{said}");
    let said = refusal(&row(0, 5).replace("responses/1", "responses/2"), None);
    assert!(said.starts_with("1:2: schema 'elis-responses/2'"), "{said}");
    assert!(said.contains("reads 'elis-responses/1'"), "{said}");
    let said = refusal("{\"a\":1}", None);
    assert!(said.contains("is this a file of responses?"), "{said}");
    assert!(refusal("[1]", None).starts_with("1:"));
    let said = refusal(CASTILLO, None);
    assert!(said.starts_with("1:2: the text of prompt 'a'"), "{said}");
    assert!(said.contains("no file of prompts") && said.contains("--prompts"));
    let said = refusal(CASTILLO, Some(&PROMPTS.replace("Mbpp", "Apps")));
    assert!(said.contains("p.jsonl; give --prompts"), "{said}");
    let said = refusal(&CASTILLO.replace("[5,9,0,7]", "[5,null]"), Some(PROMPTS));
    assert!(said.contains("is not a list of whole numbers"), "{said}");
    let err = read_text("\n", None).unwrap_err();
    assert!(matches!(err, WorkloadError::Empty { .. }));
    let err = read_text(&row(0, 0), None).unwrap_err();
    assert!(matches!(err, WorkloadError::Empty { .. }));
}

/// A folder with a file of 40 responses, 20 prompts with two samples each.
fn collected() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.jsonl");
    let row = |n: u32| row(n % 2, n + 1).replace("\"7\"", &format!("\"{}\"", n / 2));
    fs::write(&path, (0..40).map(row).collect::<String>()).unwrap();
    let reference = format!("responses:{}", path.display());
    (dir, reference)
}

#[test]
fn each_request_of_a_stream_carries_its_own_text() {
    let (_dir, reference) = collected();
    let load = |seed| {
        let options = Overrides {
            seed,
            rate_rps: Some(2.0),
            ..Overrides::default()
        };
        WorkloadRef::parse(&reference)?.load(&options)
    };
    let stream = load(0).unwrap();
    assert_eq!(stream, load(0).unwrap());
    assert_eq!(stream.provenance.arrivals.kind, "gamma");
    assert_eq!(stream.provenance.source.format, "responses");
    let lengths = |stream: &Workload| -> Vec<u32> {
        let lengths = stream.arrivals.iter().map(|arrival| {
            let text = arrival.text.as_ref().unwrap();
            assert_eq!(text.output_tokens, arrival.output_tokens);
            arrival.output_tokens
        });
        lengths.collect()
    };
    let mut first = lengths(&stream);
    // Every row once, shuffled even for seed 0, and differently for another.
    assert!(!first.is_sorted());
    assert_ne!(first, lengths(&load(1).unwrap()));
    first.sort_unstable();
    assert!(first.into_iter().eq(1..=40));
    let err = WorkloadRef::parse(&reference)
        .unwrap()
        .load(&Overrides::default())
        .unwrap_err();
    assert!(matches!(err, WorkloadError::NeedsRate { .. }));
}

#[test]
fn a_spec_gives_the_text_of_its_lengths() {
    let (dir, reference) = collected();
    for draw in ["replace", "shuffle"] {
        let spec = format!(
            "name = \"t\"\ndescription = \"d\"\nrequests = 100\n[arrivals]\n\
             process = \"poisson\"\nrate_rps = 1.0\n[lengths]\ntrace = \"{reference}\"\n\
             draw = \"{draw}\"\n"
        );
        let path = dir.path().join("t.toml");
        fs::write(&path, spec).unwrap();
        let stream = WorkloadRef::parse(&path.display().to_string()).unwrap();
        let stream = stream.load(&Overrides::default()).unwrap();
        assert_eq!(stream.arrivals.len(), 100);
        for arrival in &stream.arrivals {
            let text = arrival.text.as_ref().unwrap();
            assert_eq!(text.output_tokens, arrival.output_tokens);
        }
    }
}

#[test]
fn prompts_that_nobody_reads_are_refused() {
    let options = Overrides {
        prompts: vec!["p.jsonl".into()],
        ..Overrides::default()
    };
    let stream = WorkloadRef::parse("industrial").unwrap();
    let err = stream.load(&options).unwrap_err().to_string();
    assert!(
        err.contains("left out") && err.contains("industrial"),
        "{err}"
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn every_cut_is_the_beginning_of_the_next(text in "\\PC{0,40}", output_tokens in 1_u32..60) {
        let response = response(&text, output_tokens);
        let cuts: Vec<&str> = (0..=output_tokens).map(|n| response.after(n)).collect();
        proptest::prop_assert!(cuts.windows(2).all(|pair| pair[1].starts_with(pair[0])));
        proptest::prop_assert_eq!((cuts[0], cuts[cuts.len() - 1]), ("", text.as_str()));
    }
}

#[test]
fn unseen_keeps_prompts_of_the_test_part_and_says_how_many() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.jsonl");
    let rows = (0..50).map(|i| row(i, 7).replace("why?", &format!("why {i}?")));
    fs::write(&path, rows.collect::<String>()).unwrap();
    let load = |unseen| {
        let options = Overrides {
            rate_rps: Some(1.0),
            unseen,
            ..Overrides::default()
        };
        let stream = format!("responses:{}", path.display());
        WorkloadRef::parse(&stream).unwrap().load(&options).unwrap()
    };
    let (all, unseen) = (load(false), load(true));
    let prompts = |workload: &Workload| -> Vec<String> {
        let texts = workload.arrivals.iter().filter_map(|a| a.text.as_ref());
        let mut prompts: Vec<_> = texts.map(|text| text.prompt.to_string()).collect();
        // A seed draws the order, and of fewer responses another one.
        prompts.sort_unstable();
        prompts
    };
    let mut kept = prompts(&all);
    kept.retain(|prompt| Part::of_prompt(prompt) == Part::Test);
    assert!(!kept.is_empty() && kept.len() < 25, "{}", kept.len());
    assert_eq!(prompts(&unseen), kept);
    let options = Overrides {
        unseen: true,
        ..Overrides::default()
    };
    let refused = WorkloadRef::parse("industrial").unwrap().load(&options);
    assert!(refused.unwrap_err().to_string().contains("only responses:"));
}

#[test]
fn lengths_are_read_from_a_table_and_from_responses() {
    let dir = tempfile::tempdir().unwrap();
    let prompts = dir.path().join("p.jsonl");
    let prompt = "{\"prompt_id\":\"a\",\"dataset\":\"Mbpp\",\"prompt\":\"sort it\"}\n";
    fs::write(&prompts, prompt).unwrap();
    let read = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        answered(&path, std::slice::from_ref(&prompts))
    };
    let head = "prompt_id,dataset,split,model,input_size,o0,o1,o2\n";
    let table = format!("{head}a,Mbpp,test,org--name,3,5,0,7\na,Mbpp,test,org--other,3,0,0,0\n");
    let known = read("lengths.csv", &table).unwrap();
    assert_eq!(known.len(), 1, "nobody learns from what has no token");
    assert_eq!(
        (&*known[0].model, &*known[0].prompt),
        ("org/name", "sort it")
    );
    assert_eq!(known[0].samples_tokens, [5, 7]);
    let known = read("castillo_responses_org--name.jsonl", CASTILLO).unwrap();
    assert_eq!(known[0].samples_tokens, [5, 9, 7]);

    let refused = |text: String| read("lengths.csv", &text).unwrap_err().to_string();
    let unknown = refused(format!("{head}b,Mbpp,test,m,3,5,6,7\n"));
    assert!(
        unknown.contains("csv:2:1") && unknown.contains("'b'"),
        "{unknown}"
    );
    let word = refused(format!("{head}a,Mbpp,test,m,3,5,six,7\n"));
    assert!(word.contains("csv:2:7") && word.contains("'six'"), "{word}");
    let header = refused("prompt_id,dataset,model\n".to_owned());
    assert!(header.contains("'o0'"), "{header}");
    let empty = refused(head.to_owned());
    assert!(empty.contains("lengths.csv"), "{empty}");
}
