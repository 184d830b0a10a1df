//! Changes under load.

use serde_json::{Value, json};

use super::{WORKER, under_load};
use crate::serve::{Server, metric};
use crate::support::root;

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_swaps_under_streams_lose_and_change_nothing() {
    const SWAPS: u64 = 300;
    let server = Server::start(&WORKER);
    let mut digests = Vec::new();
    for policy in ["isrtf", "sjf", "fcfs"] {
        digests.push(server.push(policy).await);
    }
    let first = server.policies().await["epoch"].as_u64().unwrap();
    let (completed, decided) = under_load(&server, async {
        let mut decided = 0;
        for swap in 0..SWAPS {
            let promoted = server.promote(&digests[swap as usize % 3], "").await;
            assert_eq!(promoted["epoch"], first + swap + 1);
            decided += u64::from(promoted["decided"] == true);
        }
        decided
    })
    .await;
    assert!(completed > 100, "{completed}");
    assert!(decided > 0, "success is told after a decision");
    let text = server.metrics().await;
    let finished = metric(&text, "elis_requests_total{outcome=\"finished\"}");
    assert_eq!(finished, completed as f64, "each exactly once");
    let ended = metric(&text, "elis_requests_total");
    assert_eq!(ended, completed as f64, "and nobody otherwise");
    assert_eq!(
        metric(&text, "elis_fallbacks_total"),
        0.0,
        "never without a policy: {text}"
    );
    let swaps = metric(&text, "elis_policy_swaps_total{kind=\"promote\"}");
    assert_eq!(swaps, SWAPS as f64);
    assert_eq!(
        metric(&text, "elis_policy_swap_duration_seconds_count"),
        SWAPS as f64
    );
    // Who decided is on record for each of the three.
    let asked = metric(&text, "elis_decisions_asked_total");
    assert_eq!(metric(&text, "elis_policy_decisions_total"), asked);
    let status = server.status().await;
    assert_eq!(
        (&status["running"], &status["kv_blocks_used"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(server.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_model_says_the_same_while_policies_change() {
    let model = root().join("models/smollm2-135m-instruct");
    if !model.is_dir() {
        eprintln!("skipped: models/ is not there; `cargo xtask models` brings it");
        return;
    }
    let server = Server::start(&[
        "--model",
        &model.display().to_string(),
        "--kv-memory-mib",
        "256",
        "--max-num-seqs",
        "3",
        "--window-tokens",
        "5",
        "--predictor",
        "noisy:20",
    ]);
    let mut digests = Vec::new();
    for policy in ["isrtf", "sjf", "fcfs"] {
        digests.push(server.push(policy).await);
    }
    let subjects = ["rain", "a fox", "the sea", "Paris"];
    let ask = |i: usize| {
        let body = json!({
            "prompt": format!("A sentence about {}:", subjects[i]),
            "max_tokens": 12 + 4 * i, "temperature": 0.0,
        });
        let server = &server;
        async move { server.complete(&body).await["choices"][0]["text"].clone() }
    };
    let mut alone: Vec<Value> = Vec::new();
    for i in 0..subjects.len() {
        alone.push(ask(i).await);
    }
    let over = std::sync::atomic::AtomicBool::new(false);
    let swaps = async {
        let mut swaps = 0;
        while !over.load(std::sync::atomic::Ordering::Relaxed) {
            server.promote(&digests[swaps % 3], "").await;
            swaps += 1;
        }
        swaps
    };
    let crowd = async {
        let crowd = futures_util::future::join_all((0..subjects.len()).map(ask)).await;
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        crowd
    };
    let (crowd, swaps) = tokio::join!(crowd, swaps);
    assert_eq!(alone, crowd);
    assert!(swaps > 3, "{swaps}");
}
