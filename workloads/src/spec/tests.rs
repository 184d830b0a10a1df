//! Specs that are right and specs that are wrong.

use super::*;

const GOOD: &str = "name = \"t\"\ndescription = \"d\"\nrequests = 5\n\
                    [arrivals]\nprocess = \"poisson\"\nrate_rps = 2.0\n\
                    [lengths]\nprompt = { constant = 10 }\noutput = { constant = 20 }\n";

fn parse(text: &str) -> Result<Spec, WorkloadError> {
    Spec::parse(text, Path::new("dir/t.toml"))
}

/// What parsing says after `old` in the good spec became `new`.
fn refusal(old: &str, new: &str) -> String {
    assert!(GOOD.contains(old), "{old}");
    parse(&GOOD.replace(old, new)).unwrap_err().to_string()
}

#[test]
fn shipped_specs_parse_and_are_named_as_their_files() {
    for shipped in shipped::ALL {
        let spec = Spec::shipped(shipped.name).unwrap();
        assert_eq!(spec.name, shipped.name);
        let shares: f64 = spec.tenants.iter().map(|t| t.share).sum();
        assert!((shares - 1.0).abs() < 1e-12);
    }
}

#[test]
fn a_tenant_weighs_one_unless_told_otherwise() {
    let tenants = "[[tenants]]\nname = \"a\"\nshare = 1.0\nweight = 3.0\n\
                   [[tenants]]\nname = \"b\"\nshare = 1.0\n[lengths]";
    let spec = parse(&GOOD.replace("[lengths]", tenants)).unwrap();
    let weights: Vec<f64> = spec.tenants.iter().map(|t| t.weight).collect();
    assert_eq!(weights, [3.0, 1.0]);
    assert_eq!(parse(GOOD).unwrap().tenants[0].weight, 1.0);
}

#[test]
fn traces_are_found_beside_the_spec() {
    let text = GOOD.replace("process = \"poisson\"", "trace = \"azure:a.csv\"");
    let ArrivalPlan::Trace { input, .. } = parse(&text).unwrap().arrivals else {
        panic!("not a trace");
    };
    assert_eq!(input.path, Path::new("dir/a.csv"));
}

#[test]
fn refusals_name_line_and_column() {
    let unknown = refusal("rate_rps", "rate_rsp");
    assert!(
        unknown.starts_with("dir/t.toml:6:1: unknown field `rate_rsp`"),
        "{unknown}"
    );
    let kind = refusal("requests = 5", "requests = \"5\"");
    assert!(kind.starts_with("dir/t.toml:3:12: "), "{kind}");
    let zero = refusal("requests = 5", "requests = 0");
    assert!(
        zero.starts_with("dir/t.toml:3:12: 'requests' must be 1"),
        "{zero}"
    );
    let process = refusal("\"poisson\"", "\"possion\"");
    assert!(process.starts_with("dir/t.toml:4:"), "{process}");
    assert!(process.contains("'possion' names no arrival process; write 'gamma:SHAPE'"));
    let syntax = refusal("rate_rps = 2.0", "rate_rps = ");
    assert!(syntax.starts_with("dir/t.toml:6:"), "{syntax}");
}

#[test]
fn nonsense_is_refused() {
    let cases = [
        ("requests = 5", "", "give either 'requests' or 'duration_s'"),
        ("requests = 5", "duration_s = -1.0", "'duration_s' is -1"),
        ("rate_rps = 2.0", "rate_rps = nan", "'rate_rps' is NaN"),
        (
            "rate_rps = 2.0",
            "paper = { model = \"x\", batch = 1, multiple = 1.0 }",
            "no latency for 'x'; one of opt-6.7b",
        ),
        (
            "rate_rps = 2.0",
            "shape = 2.0",
            "'poisson:2' names no arrival process",
        ),
        (
            "requests = 5\n[arrivals]\nprocess = \"poisson\"",
            "duration_s = 5.0\n[arrivals]\nprocess = \"burst\"",
            "a burst has no duration",
        ),
        (
            "prompt = { constant = 10 }",
            "",
            "give 'prompt' and 'output'",
        ),
        (
            "prompt = { constant = 10 }",
            "prompt = { constant = 0 }",
            "prompt: a constant length",
        ),
        (
            "prompt = { constant = 10 }",
            "prompt = { lognormal = { sigma = 1.0 } }",
            "finite 'mu'",
        ),
        (
            "prompt = { constant = 10 }",
            "prompt = { quantiles = [[0.0, 5.0]] }",
            "'quantiles' are",
        ),
        (
            "prompt = { constant = 10 }",
            "correlation = 2.0\nprompt = { constant = 10 }",
            "'correlation' is 2",
        ),
        (
            "[lengths]",
            "[[tenants]]\nname = \"a\"\nshare = 0.0\n[lengths]",
            "'share' is 0",
        ),
        (
            "[lengths]",
            "[[tenants]]\nname = \"a\"\nshare = 1.0\nweight = -1.0\n[lengths]",
            "'weight' is -1",
        ),
        (
            "[lengths]",
            "[limits]\nmax_model_tokens = 1\n[lengths]",
            "max_model_tokens is 1",
        ),
    ];
    for (old, new, expected) in cases {
        let err = refusal(old, new);
        assert!(err.contains(expected), "{new}: {err}");
    }
}
