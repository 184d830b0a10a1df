//! Modules that nobody wrote: generated ones with exactly our exports and whatever inside. None may
//! break the host; most are refused, and those that are not decide as they like.

use std::collections::BTreeMap;

use arbitrary::Unstructured;
use elis_policy_runtime::LoadError;
use wasm_smith::{Config, Module};

use crate::forge::{FUEL, Forged, describe, runtime, with_snapshot};

/// How many are generated of each kind; `cargo xtask smith` has more.
const MODULES: u64 = 400;
const SEED_BYTES: usize = 4_000;

fn modules() -> u64 {
    let wanted = std::env::var("ELIS_SMITH_MODULES").ok();
    wanted.map_or(MODULES, |wanted| {
        wanted.parse().expect("a number of modules")
    })
}

/// The same bytes for the same seed, today and tomorrow. SplitMix64.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(SEED_BYTES);
    while bytes.len() < SEED_BYTES {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((z ^ (z >> 31)).to_le_bytes());
    }
    bytes
}

fn module(seed: u64, exports: Option<Vec<u8>>) -> Vec<u8> {
    let config = Config {
        exports,
        max_imports: 0,
        max_memory32_bytes: 1 << 20,
        generate_custom_sections: false,
        // What this host has switched off would be refused unseen.
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        reference_types_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        ..Config::default()
    };
    let noise = noise(seed);
    let module = Module::new(config, &mut Unstructured::new(&noise));
    module.unwrap().to_bytes()
}

fn outcome(error: &LoadError) -> &'static str {
    match error {
        LoadError::Start { .. } => "ran and failed",
        LoadError::Info(_) | LoadError::UnknownColumn { .. } => "ran and answered nonsense",
        _ => "refused unseen",
    }
}

#[test]
fn generated_policies_break_nothing() {
    let runtime = runtime(FUEL);
    let exports = wat::parse_str(Forged::default().wat()).unwrap();
    let mut outcomes = BTreeMap::<_, u64>::new();
    for seed in 0..modules() {
        let bytes = describe(module(seed, Some(exports.clone())), "policy");
        let outcome = match runtime.load(&bytes) {
            Err(error) => outcome(&error),
            Ok(policy) => {
                if let Ok(mut slot) = policy.start("") {
                    for revision in 0..5 {
                        with_snapshot(revision, |snapshot| slot.decide(snapshot));
                    }
                }
                "loaded"
            }
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    // An honest one beside them still works.
    let honest = runtime.load(&Forged::default().build()).unwrap();
    let mut slot = honest.start("").unwrap();
    let decision = with_snapshot(0, |snapshot| slot.decide(snapshot));
    assert!(decision.plan.is_ok());
    let ran = outcomes.get("ran and failed").copied().unwrap_or(0);
    eprintln!("generated policies: {outcomes:?}");
    assert!(ran > modules() / 10, "generated code has run: {outcomes:?}");
}

#[test]
fn generated_modules_without_a_contract_are_refused() {
    let runtime = runtime(FUEL);
    for seed in 0..modules() {
        let error = runtime.load(&module(seed, None)).unwrap_err();
        assert!(matches!(error, LoadError::NotAPolicy), "{seed}: {error}");
    }
}
