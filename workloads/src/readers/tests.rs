//! Every format against real files and against broken ones.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use super::*;

fn data(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")).join(name)
}

fn read_text(format: Format, name: &str, text: &str) -> Result<Trace, WorkloadError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    read_trace(format, &path)
}

/// The part of the error after the file's name.
fn refusal(format: Format, text: &str) -> String {
    let shown = read_text(format, "t.csv", text).unwrap_err().to_string();
    shown.split_once("t.csv:").unwrap().1.to_owned()
}

#[test]
fn real_traces_have_their_rows_and_first_requests() {
    // (format, file, rows, second arrival in ns, first lengths), from the files' heads.
    let cases = [
        (
            Format::Azure,
            "traces/AzureLLMInferenceTrace_conv.csv",
            19_366,
            Some(4_314_579_000),
            (374, 44),
        ),
        (
            Format::Azure,
            "traces/AzureLLMInferenceTrace_code.csv",
            8819,
            Some(52_000_000),
            (4808, 10),
        ),
        (
            Format::Mooncake,
            "traces/mooncake_synthetic_trace.jsonl",
            3993,
            None,
            (40_160, 6),
        ),
        (
            Format::ServeGen,
            "traces/servegen_m-large_1h_2rps.csv",
            7077,
            Some(115_000),
            (620, 3),
        ),
        (
            Format::Lengths,
            "traces/sharegpt_like_10000.csv",
            10_000,
            Some(3_391_362_000),
            (850, 1024),
        ),
        (
            Format::Vllm,
            "vllm-measured/workload_sharegpt300_sps10.csv",
            300,
            Some(301_012_143),
            (2358, 531),
        ),
        (
            Format::Vllm,
            "vllm-measured/RTX4090_Llama-3.1-8B_vllm_requests.jsonl",
            300,
            None,
            (2358, 531),
        ),
    ];
    for (format, file, rows, second_ns, first) in cases {
        let trace = read_trace(format, &data(file)).unwrap();
        let times = trace.times_ns.as_ref().unwrap();
        assert_eq!((trace.lengths.len(), times.len()), (rows, rows), "{file}");
        assert_eq!(times[0], 0, "{file}");
        assert!(times.is_sorted(), "{file}");
        if let Some(second_ns) = second_ns {
            assert_eq!(times[1], second_ns, "{file}");
        }
        let got = trace.lengths[0];
        assert_eq!((got.prompt_tokens, got.output_tokens), first, "{file}");
    }
}

#[test]
fn length_files_have_no_times() {
    let trace = read_trace(
        Format::ShareGpt,
        &data("traces/sharegpt_V3_llama_lens_58k.csv"),
    );
    let trace = trace.unwrap();
    assert_eq!((trace.lengths.len(), &trace.times_ns), (58_000, &None));
    assert_eq!(trace.source.sha256.len(), 64);
}

#[test]
fn a_broken_field_is_named_by_line_and_column() {
    let azure = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9,48,abc\n";
    assert_eq!(
        refusal(Format::Azure, azure),
        "2:3: output tokens: 'abc' is not a whole number"
    );
    let negative = "arrived_at,num_prefill_tokens,num_decode_tokens\n0,1,1\n-3,1,1\n";
    assert!(refusal(Format::Vidur, negative).starts_with("3:1: arrival: '-3' is not a time"));
    let short = "prompt_tokens,output_tokens\n1,2\n3\n";
    assert!(refusal(Format::Lengths, short).starts_with("3:1: the line has 1 fields"));
    let header = refusal(Format::BurstGpt, "a,b\n1,2\n");
    assert!(header.starts_with("1:1: the header has no column 'timestamp', it has 'a,b'"));
    let json = "{\"timestamp\":0,\"input_length\":1,\"output_length\":2}\n\n{\"timestamp\":\n";
    assert!(refusal(Format::Mooncake, json).starts_with("3:"));
    let kind = "{\"timestamp\": 0, \"input_length\": -1, \"output_length\": 2}";
    assert_eq!(
        refusal(Format::Mooncake, kind),
        "1:18: prompt tokens: '-1' is not a whole number"
    );
    let gap = "{\"prompt_len\":1,\"output_len\":2,\"arrival_time\":1}\n\
               {\"prompt_len\":1,\"output_len\":2}\n";
    assert!(refusal(Format::Vllm, gap).starts_with("2:1: the object has no field 'arrival_time'"));
}

#[test]
fn burstgpt_reads_both_headers_and_drops_failures() {
    let old = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
               5,ChatGPT,472,18,490,Conversation log\n\
               45,ChatGPT,1087,0,1087,Conversation log\n";
    let new = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,\
               Total tokens,Log Type\n\
               5.0,1,2.5,GPT-4,472,18,490,API log\n45.0,1,2.5,GPT-4,1,0,1,API log\n";
    for text in [old, new] {
        let trace = read_text(Format::BurstGpt, "b.csv", text).unwrap();
        assert_eq!(
            trace.lengths,
            [RequestLengths {
                prompt_tokens: 472,
                output_tokens: 18
            }]
        );
        assert_eq!(
            trace.notes,
            ["1 failed requests (0 response tokens) were left out"]
        );
    }
}

#[test]
fn odd_rows_are_mended_and_noted() {
    let text = "arrived_at,num_prefill_tokens,num_decode_tokens\n9,1,0\n4,2,2.0\n4,3,3\n";
    let trace = read_text(Format::Vidur, "v.csv", text).unwrap();
    let prompts: Vec<u32> = trace.lengths.iter().map(|l| l.prompt_tokens).collect();
    // Ties keep the file's order.
    assert_eq!(prompts, [2, 3, 1]);
    assert_eq!(trace.times_ns, Some(vec![0, 0, 5_000_000_000]));
    assert_eq!(trace.lengths[2].output_tokens, 1);
    assert_eq!(trace.notes.len(), 2, "{:?}", trace.notes);
}

#[test]
fn packed_files_read_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.csv.gz");
    let mut packer =
        flate2::write::GzEncoder::new(fs::File::create(&path).unwrap(), Default::default());
    packer
        .write_all(b"prompt_tokens,output_tokens\n7,8\n")
        .unwrap();
    packer.finish().unwrap();
    let trace = read_trace(Format::Lengths, &path).unwrap();
    assert_eq!(
        trace.lengths,
        [RequestLengths {
            prompt_tokens: 7,
            output_tokens: 8
        }]
    );
    fs::write(&path, b"not gzip").unwrap();
    assert!(
        read_trace(Format::Lengths, &path)
            .unwrap_err()
            .to_string()
            .contains(".gz")
    );
}

#[test]
fn files_without_requests_are_refused() {
    let err = read_text(Format::Lengths, "e.csv", "prompt_tokens,output_tokens\n").unwrap_err();
    assert!(
        err.to_string()
            .ends_with("holds no request; a workload needs at least one")
    );
    let err = read_trace(Format::Azure, &data("traces/absent.csv")).unwrap_err();
    assert!(matches!(err, WorkloadError::Read { .. }));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn no_file_breaks_a_reader(
        rows in proptest::collection::vec("[0-9a-z.,{}\": -]{0,20}", 0..6),
        header in 0_usize..4,
    ) {
        let header = [
            "TIMESTAMP,ContextTokens,GeneratedTokens",
            "arrived_at,num_prefill_tokens,num_decode_tokens",
            "arrival_s,prompt_tokens,output_tokens",
            "{\"timestamp\":1,\"input_length\":1,\"output_length\":1}",
        ][header];
        let text = format!("{header}\n{}", rows.join("\n"));
        for format in Format::ALL {
            if let Ok(trace) = read_text(format, "t.csv", &text) {
                proptest::prop_assert!(!trace.lengths.is_empty());
            }
        }
    }
}
