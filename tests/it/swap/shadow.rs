//! A policy beside the live one.

use reqwest::Method;
use serde_json::json;

use super::{WORKER, under_load};
use crate::serve::{Server, a_moment, metric};

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_compared_and_changes_nothing() {
    let server = Server::start(&WORKER);
    let isrtf = server.push("isrtf").await;
    let path = format!("policies/{isrtf}/shadow");
    let (_, ()) = under_load(&server, async {
        let (status, answer) = server.post(&path, &json!({ "share": 0.5 })).await;
        assert_eq!(
            (status, &answer["name"]),
            (200, &json!("isrtf")),
            "{answer}"
        );
        let compared = async || {
            let shadow = server.policies().await["shadow"].clone();
            shadow["compared"].as_u64().unwrap()
        };
        while compared().await < 50 {
            a_moment().await;
        }
        let show = || server.ask(Method::GET, &format!("policies/{isrtf}"));
        loop {
            let (_, row) = server.answer(show()).await;
            let estimate = &row["shadow"]["estimate"];
            // Before enough has come and gone it says why there is none.
            if estimate.is_null() {
                assert!(row["shadow"]["no_estimate"].is_string(), "{row}");
                a_moment().await;
                continue;
            }
            assert!(estimate["requests"].as_u64() > Some(0), "{row}");
            let [live, shadow] = ["live_jct_s", "shadow_jct_s"].map(|jct| &estimate[jct]);
            let change = shadow.as_f64().unwrap() / live.as_f64().unwrap() - 1.0;
            assert!((change - estimate["change"].as_f64().unwrap()).abs() < 1e-9);
            break;
        }
    })
    .await;
    let policies = server.policies().await;
    let shadow = &policies["shadow"];
    assert_eq!(policies["name"], "fcfs");
    let count = |name: &str| shadow[name].as_u64().unwrap();
    assert!(count("seen") <= count("offered"));
    assert!(count("compared") <= count("seen"));
    assert_eq!(count("failed"), 0);
    assert!(count("differed") <= count("compared"));
    // Another order, whether or not so many waited that others would have got the slots.
    assert!(shadow["kendall_tau"].as_f64().unwrap() < 0.99, "{shadow}");
    // It was predicted for, though the live policy asks for no predictions.
    let text = server.metrics().await;
    assert!(metric(&text, "elis_predictions_asked_total") > 0.0);
    assert!(
        metric(&text, "elis_shadow_compared_total") >= 50.0,
        "{text}"
    );
    assert!(text.contains("elis_policy_role{role=\"shadow\",policy=\"isrtf\""));
    assert!(text.contains("elis_shadow_jct_change{policy=\"isrtf\""));
    let decisions = metric(&text, "elis_policy_decisions_total{policy=\"fcfs\"");
    assert_eq!(decisions, metric(&text, "elis_decisions_asked_total"));

    let (status, _) = server.answer(server.ask(Method::DELETE, "shadow")).await;
    assert_eq!(status, 204);
    assert!(server.policies().await["shadow"].is_null());
    assert_eq!(server.post(&path, &json!({})).await.0, 200);
    assert_eq!(server.policies().await["shadow"]["name"], "isrtf");
    server.promote(&isrtf, "").await;
    let policies = server.policies().await;
    assert!(
        policies["shadow"].is_null(),
        "it is the live one: {policies}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_loops_sheds_itself_and_nobody_waits_for_it() {
    let server = Server::start(&WORKER);
    let rogue = server.push("rogue/rogue").await;
    let path = format!("policies/{rogue}/shadow");
    let body = json!({ "config": "kind = \"spin\"\nevery = 10", "share": 0.02 });
    let (completed, ()) = under_load(&server, async {
        assert_eq!(server.post(&path, &body).await.0, 200);
        let failed = async || {
            let shadow = server.policies().await["shadow"].clone();
            shadow["failed"].as_u64().unwrap()
        };
        while failed().await < 2 {
            a_moment().await;
        }
    })
    .await;
    let text = server.metrics().await;
    let finished = metric(&text, "elis_requests_total{outcome=\"finished\"}");
    assert_eq!(finished, completed as f64);
    assert_eq!(metric(&text, "elis_fallbacks_total"), 0.0);
    let policies = server.policies().await;
    let shadow = &policies["shadow"];
    assert!(
        shadow["seen"].as_u64() < shadow["offered"].as_u64(),
        "beyond its share it sees nothing: {shadow}"
    );
    let wrong = json!({ "share": 7 });
    let (status, answer) = server.post(&path, &wrong).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (400, &json!("out_of_range"))
    );
}
