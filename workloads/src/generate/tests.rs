//! Streams from specs and traces, through the one door.

use std::path::Path;

use crate::arrivals::ArrivalProcess;
use crate::limits::Limits;
use crate::overrides::Overrides;
use crate::reference::WorkloadRef;
use crate::spec::Spec;
use crate::workload::Workload;

fn load(reference: &str, options: &Overrides) -> Workload {
    WorkloadRef::parse(reference)
        .unwrap()
        .load(options)
        .unwrap()
}

fn data(format: &str, name: &str) -> String {
    format!(
        "{format}:{}/../../shared/data/traces/{name}",
        env!("CARGO_MANIFEST_DIR")
    )
}

fn seeded(seed: u64) -> Overrides {
    Overrides {
        seed,
        ..Overrides::default()
    }
}

fn mean(w: &Workload, f: impl Fn(&crate::Arrival) -> u32) -> f64 {
    w.arrivals.iter().map(|a| f64::from(f(a))).sum::<f64>() / w.arrivals.len() as f64
}

#[test]
fn industrial_is_what_its_comments_say() {
    let options = Overrides {
        take: Some(20_000),
        ..Overrides::default()
    };
    let w = load("industrial", &options);
    let p = &w.provenance;
    let rate = p.arrivals.measured_rate_rps.unwrap();
    assert!((rate / 4.2 - 1.0).abs() < 0.03, "{rate}");
    let cv = p.arrivals.measured_cv.unwrap();
    assert!((cv - 1.17).abs() < 0.04, "{cv}");
    let (prompt, output) = (mean(&w, |a| a.prompt_tokens), mean(&w, |a| a.output_tokens));
    assert!((prompt - 715.0).abs() < 15.0, "{prompt}");
    assert!((output - 105.0).abs() < 4.0, "{output}");
    let first = w.arrivals.iter().filter(|a| a.tenant == 0).count();
    assert!(first.abs_diff(10_000) < 300, "{first}");
    assert_eq!(
        (p.arrivals.kind.as_str(), p.arrivals.parameters["shape"]),
        ("gamma", 0.73)
    );
    assert!(w.arrivals.is_sorted_by_key(|a| a.arrival_ns));
    assert!(w.arrivals.iter().zip(0..).all(|(a, id)| a.id == id));
}

#[test]
fn a_seed_is_a_stream() {
    for spec in crate::shipped::ALL {
        let one = load(spec.name, &seeded(1));
        assert_eq!(one, load(spec.name, &seeded(1)), "{}", spec.name);
        assert_ne!(
            one.arrivals,
            load(spec.name, &seeded(2)).arrivals,
            "{}",
            spec.name
        );
    }
}

#[test]
fn the_stream_is_pinned() {
    // Published results name a seed, so a seed must never come to mean another stream.
    let w = load("industrial", &seeded(1));
    let sum = w.arrivals.iter().fold(0_u64, |sum, a| {
        let mixed = a.arrival_ns ^ u64::from(a.prompt_tokens) << 40;
        (sum ^ mixed ^ u64::from(a.output_tokens) << 20 ^ u64::from(a.tenant))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    assert_eq!(sum, 13_841_908_598_277_883_617);
}

#[test]
fn overrides_change_only_what_they_name() {
    let plain = load("industrial", &seeded(3));
    let faster = load(
        "industrial",
        &Overrides {
            rate_rps: Some(8.4),
            ..seeded(3)
        },
    );
    let sped = load(
        "industrial",
        &Overrides {
            speedup: Some(2.0),
            ..seeded(3)
        },
    );
    let burst = ArrivalProcess::Burst;
    let at_once = load(
        "industrial",
        &Overrides {
            arrivals: Some(burst),
            ..seeded(3)
        },
    );
    for other in [&faster, &sped, &at_once] {
        let lengths = plain.arrivals.iter().zip(&other.arrivals);
        assert!(lengths.clone().all(|(a, b)| {
            (a.prompt_tokens, a.output_tokens, a.tenant)
                == (b.prompt_tokens, b.output_tokens, b.tenant)
        }));
    }
    for (a, (b, c)) in plain
        .arrivals
        .iter()
        .zip(faster.arrivals.iter().zip(&sped.arrivals))
    {
        assert!((a.arrival_ns / 2).abs_diff(b.arrival_ns) <= 1);
        assert!((a.arrival_ns / 2).abs_diff(c.arrival_ns) <= 1);
    }
    assert!(at_once.arrivals.iter().all(|a| a.arrival_ns == 0));
    assert_eq!(at_once.provenance.arrivals.measured_rate_rps, None);
    let cut = load(
        "industrial",
        &Overrides {
            for_s: Some(30.0),
            ..seeded(3)
        },
    );
    assert!(cut.arrivals.len() > 50 && cut.arrivals.iter().all(|a| a.arrival_ns < 30_000_000_000));
    assert_eq!(cut.arrivals, plain.arrivals[..cut.arrivals.len()]);
}

#[test]
fn seed_zero_is_the_trace_and_others_rotate_it() {
    let azure = data("azure", "AzureLLMInferenceTrace_conv.csv");
    let plain = load(&azure, &seeded(0));
    assert_eq!(plain.arrivals[1].arrival_ns, 4_314_579_000);
    assert_eq!(plain.provenance.arrivals.kind, "trace");
    let turned = load(&azure, &seeded(1));
    let start = turned.provenance.cut.rotated_rows as usize;
    assert!(start > 0);
    let rows = plain.arrivals.len();
    assert_eq!(turned.arrivals.len(), rows);
    for (k, b) in turned.arrivals.iter().enumerate() {
        let a = &plain.arrivals[(start + k) % rows];
        assert_eq!(
            (a.prompt_tokens, a.output_tokens),
            (b.prompt_tokens, b.output_tokens)
        );
    }
    let gap = |w: &Workload, i: usize| w.arrivals[i + 1].arrival_ns - w.arrivals[i].arrival_ns;
    assert_eq!(gap(&plain, start), gap(&turned, 0));
    assert_eq!(gap(&plain, 0), gap(&turned, rows - start));
    let (a, b) = (&plain.provenance.arrivals, &turned.provenance.arrivals);
    assert!((a.measured_rate_rps.unwrap() - b.measured_rate_rps.unwrap()).abs() < 0.02);
    assert!(turned.provenance.notes[0].starts_with(&format!("rotated by {start} rows")));
    assert_ne!(
        load(&azure, &seeded(2)).provenance.cut.rotated_rows,
        start as u64
    );
}

#[test]
fn a_rate_rescales_a_trace() {
    let azure = data("azure", "AzureLLMInferenceTrace_conv.csv");
    let w = load(
        &azure,
        &Overrides {
            rate_rps: Some(2.0),
            ..seeded(0)
        },
    );
    let rate = w.provenance.arrivals.measured_rate_rps.unwrap();
    assert!((rate - 2.0).abs() < 1e-6, "{rate}");
    let own = data("lengths", "sharegpt_like_10000.csv");
    let w = load(
        &own,
        &Overrides {
            rate_rps: Some(2.0),
            take: Some(3),
            ..seeded(0)
        },
    );
    let times: Vec<u64> = w.arrivals.iter().map(|a| a.arrival_ns).collect();
    assert_eq!(times, [0, 1_695_681_000, 1_735_481_000]);
}

#[test]
fn lengths_alone_get_arrivals_and_need_a_rate() {
    let lengths = data("sharegpt", "sharegpt_V3_llama_lens_58k.csv");
    let reference = WorkloadRef::parse(&lengths).unwrap();
    let err = reference.load(&seeded(0)).unwrap_err().to_string();
    assert!(err.ends_with("give a rate in requests per second"), "{err}");
    let w = load(
        &lengths,
        &Overrides {
            rate_rps: Some(3.0),
            ..seeded(0)
        },
    );
    let p = &w.provenance.arrivals;
    assert_eq!((p.kind.as_str(), p.parameters["shape"]), ("gamma", 0.73));
    assert!((p.measured_rate_rps.unwrap() / 3.0 - 1.0).abs() < 0.02);
    let poisson = Overrides {
        rate_rps: Some(3.0),
        arrivals: Some(ArrivalProcess::Poisson),
        ..seeded(0)
    };
    let cv = load(&lengths, &poisson)
        .provenance
        .arrivals
        .measured_cv
        .unwrap();
    assert!((cv - 1.0).abs() < 0.02, "{cv}");
}

#[test]
fn limits_clip_and_are_noted() {
    let mooncake = data("mooncake", "mooncake_synthetic_trace.jsonl");
    let limits = Limits {
        max_model_tokens: Some(4096),
        ..Limits::default()
    };
    let w = load(
        &mooncake,
        &Overrides {
            limits,
            ..seeded(0)
        },
    );
    assert!(
        w.arrivals
            .iter()
            .all(|a| a.prompt_tokens + a.output_tokens <= 4096)
    );
    assert!(
        w.provenance
            .notes
            .iter()
            .any(|n| n.contains("clipped to the limits"))
    );
}

#[test]
fn specs_take_arrivals_and_lengths_from_traces() {
    let folder = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/data/traces/t.toml"
    ));
    let text = "name = \"t\"\ndescription = \"d\"\nrequests = 30000\n\
                [arrivals]\ntrace = \"azure:AzureLLMInferenceTrace_conv.csv\"\nrate_rps = 3.0\n\
                [lengths]\ntrace = \"servegen:servegen_m-large_1h_2rps.csv\"\n\
                [deadlines]\nttft_ms = 500.0\n\
                [[priorities]]\nclass = 50\nshare = 1\n[[priorities]]\nclass = 100\nshare = 3\n";
    let w = Spec::parse(text, folder)
        .unwrap()
        .generate(&seeded(0))
        .unwrap();
    let p = &w.provenance;
    // More than the trace holds, so it is gone through again.
    assert_eq!(w.arrivals.len(), 30_000);
    assert!(
        p.notes.iter().any(|n| n.contains("more than once")),
        "{:?}",
        p.notes
    );
    assert!((p.arrivals.measured_rate_rps.unwrap() - 3.0).abs() < 0.1);
    assert_eq!(p.inputs.len(), 2);
    let urgent = w.arrivals.iter().filter(|a| a.priority == 50).count();
    assert!(urgent.abs_diff(7500) < 250, "{urgent}");
    assert!(
        w.arrivals
            .iter()
            .all(|a| a.ttft_deadline_ns == 500_000_000 && a.deadline_ns == 0)
    );
    assert!((mean(&w, |a| a.output_tokens) - 104.0).abs() < 4.0);
    assert!(
        serde_json::to_string(p)
            .unwrap()
            .contains("\"measured_cv\"")
    );
}

#[test]
fn endless_streams_are_refused() {
    let text = "name = \"t\"\ndescription = \"d\"\nduration_s = 1e9\n\
                [arrivals]\nprocess = \"constant\"\nrate_rps = 1e6\n\
                [lengths]\nprompt = { constant = 1 }\noutput = { constant = 1 }\n";
    let spec = Spec::parse(text, Path::new("t.toml")).unwrap();
    assert!(
        spec.generate(&seeded(0))
            .unwrap_err()
            .to_string()
            .contains("at most 10000000")
    );
    let short = Overrides {
        for_s: Some(0.001),
        ..seeded(0)
    };
    assert_eq!(spec.generate(&short).unwrap().arrivals.len(), 1000);
}

#[test]
fn the_special_streams_are_what_their_descriptions_say() {
    let many = |seed| Overrides {
        take: Some(20_000),
        ..seeded(seed)
    };
    let outputs = |name: &str| -> Vec<u32> {
        let stream = load(name, &many(1));
        let mut outputs: Vec<u32> = stream.arrivals.iter().map(|a| a.output_tokens).collect();
        outputs.sort_unstable();
        outputs
    };
    let tail = outputs("heavy-tail");
    let at = |q: f64| f64::from(tail[(q * tail.len() as f64) as usize]);
    assert!((at(0.5) - 43.0).abs() < 3.0, "{}", at(0.5));
    assert!((20.0..32.0).contains(&(at(0.99) / at(0.5))), "{}", at(0.99));
    assert!(
        tail.last()
            .is_some_and(|most| (7_000..=8_192).contains(most))
    );
    let memory = outputs("memory");
    let mean = memory.iter().map(|n| f64::from(*n)).sum::<f64>() / memory.len() as f64;
    assert!((500.0..540.0).contains(&mean), "{mean}");
    let summaries = load("summaries", &many(1)).arrivals;
    let (prompts, outputs) = summaries.iter().fold((0, 0), |(prompts, outputs), a| {
        (prompts + a.prompt_tokens, outputs + a.output_tokens)
    });
    let per = |tokens: u32| f64::from(tokens) / summaries.len() as f64;
    assert!(
        (2_300.0..2_700.0).contains(&per(prompts)),
        "{}",
        per(prompts)
    );
    assert!((245.0..270.0).contains(&per(outputs)), "{}", per(outputs));
    let flood = load("flood", &many(1));
    let quiet = flood.arrivals.iter().filter(|a| a.tenant == 1).count();
    assert!((1_850..2_150).contains(&quiet), "{quiet}");
    let promised = load("deadlines", &seeded(1));
    let due = |a: &crate::workload::Arrival| (a.ttft_deadline_ns, a.deadline_ns);
    assert!(
        promised
            .arrivals
            .iter()
            .all(|a| due(a) == (10_000_000_000, 60_000_000_000))
    );
}
