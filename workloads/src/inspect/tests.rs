//! Inspections against what the research measured independently.

use std::collections::BTreeMap;

use super::*;
use crate::overrides::Overrides;
use crate::reference::WorkloadRef;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/traces/");

fn look(reference: &str, options: &Overrides) -> Inspection {
    inspect(
        &WorkloadRef::parse(reference)
            .unwrap()
            .load(options)
            .unwrap(),
    )
}

/// The rows of `trace_fits.csv`, by trace and column.
fn research() -> BTreeMap<String, BTreeMap<String, f64>> {
    let mut reader = csv::Reader::from_path(format!("{DATA}trace_fits.csv")).unwrap();
    let headers = reader.headers().unwrap().clone();
    let row = |record: csv::StringRecord| {
        let fields = headers.iter().zip(record.iter()).skip(1);
        let values = fields
            .map(|(h, v)| (h.to_owned(), v.parse().unwrap()))
            .collect();
        (record[0].to_owned(), values)
    };
    reader.records().map(|r| row(r.unwrap())).collect()
}

#[test]
fn real_traces_look_as_the_research_found() {
    let research = research();
    let traces = [
        (
            "azure2023_conv",
            "azure:",
            "AzureLLMInferenceTrace_conv.csv",
        ),
        (
            "azure2023_code",
            "azure:",
            "AzureLLMInferenceTrace_code.csv",
        ),
        (
            "mooncake_synthetic",
            "mooncake:",
            "mooncake_synthetic_trace.jsonl",
        ),
        (
            "servegen_m-large_1h_2rps",
            "servegen:",
            "servegen_m-large_1h_2rps.csv",
        ),
        (
            "servegen_m-small_1h_3rps",
            "servegen:",
            "servegen_m-small_1h_3rps.csv",
        ),
    ];
    for (name, format, file) in traces {
        let seen = look(&format!("{format}{DATA}{file}"), &Overrides::default());
        let gaps = seen.gaps.unwrap();
        let fits = gaps.fits.unwrap();
        let pairs = [
            ("rows", seen.rows as f64, 0.0),
            ("cv", gaps.cv, 1e-3),
            ("zero_iat", gaps.zero_share, 1e-2),
            ("gam_shape", fits.gamma.shape, 2e-3),
            ("gam_scale", fits.gamma.scale, 2e-3),
            ("weib_shape", fits.weibull.shape, 2e-3),
            ("ll_gam_per", fits.gamma.log_likelihood, 2e-3),
            ("ll_exp_per", fits.exponential.log_likelihood, 2e-3),
            ("dLL_weib", fits.weibull.gain, 1e-2),
            ("dLL_lognorm", fits.lognormal.gain, 1e-2),
            ("KS_gam", fits.gamma.ks, 1e-2),
            ("KS_exp", fits.exponential.ks, 1e-2),
            ("iod_1s", gaps.dispersion_1s.unwrap(), 1e-2),
            ("in_mean", seen.prompt.mean_tokens, 1e-3),
            ("in_p95", seen.prompt.p95_tokens, 1e-3),
            ("out_p99", seen.output.p99_tokens, 1e-3),
            ("out_max", seen.output.max_tokens, 0.0),
        ];
        for (column, got, tolerance) in pairs {
            let want = research[name][column];
            let error = (got - want).abs() / want.abs().max(0.01);
            assert!(error <= tolerance, "{name} {column}: {got} against {want}");
        }
    }
}

#[test]
fn azure_conversation_has_the_published_shape() {
    let azure = format!("azure:{DATA}AzureLLMInferenceTrace_conv.csv");
    let seen = look(&azure, &Overrides::default());
    let shape = seen.gaps.unwrap().fits.unwrap().gamma.shape;
    assert!((shape - 0.871).abs() < 0.005, "{shape}");
    assert!(seen.warnings.is_empty(), "{:?}", seen.warnings);
}

#[test]
fn bursts_and_silences_are_warned_of() {
    let azure = format!("azure:{DATA}AzureLLMInferenceTrace_code.csv");
    let seen = look(&azure, &Overrides::default());
    assert!(
        seen.warnings
            .iter()
            .any(|w| w.contains("bursts and silences")),
        "{seen:?}"
    );
    assert!(
        seen.warnings.iter().any(|w| w.contains("not the best fit")),
        "{seen:?}"
    );
}

#[test]
fn coarse_ticks_are_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.jsonl");
    let lines: String = (0..2000)
        .map(|i| {
            let tick_ms = i / 10 * 3000;
            format!("{{\"timestamp\":{tick_ms},\"input_length\":9,\"output_length\":9}}\n")
        })
        .collect();
    std::fs::write(&path, lines).unwrap();
    let seen = look(
        &format!("mooncake:{}", path.display()),
        &Overrides::default(),
    );
    assert!(
        seen.warnings[0].starts_with("90 % of the gaps are zero"),
        "{:?}",
        seen.warnings
    );
    assert_eq!(seen.gaps.unwrap().clock_step_s, 3.0);
}

#[test]
fn a_burst_has_no_gaps() {
    let seen = look("burst", &Overrides::default());
    assert_eq!((seen.gaps, seen.mean_rps), (None, None));
    assert!(seen.warnings[0].contains("at once"));
}

#[test]
fn generated_streams_fit_as_they_were_asked_for() {
    let options = Overrides {
        take: Some(50_000),
        ..Overrides::default()
    };
    let seen = look("industrial", &options);
    let shape = seen.gaps.unwrap().fits.unwrap().gamma.shape;
    assert!((shape - 0.73).abs() < 0.01, "{shape}");
}
