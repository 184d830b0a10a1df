//! Policies that misbehave once they are live, and where the ladder puts them.

use reqwest::Method;
use serde_json::json;

use super::{WORKER, under_load};
use crate::serve::{Server, a_moment, metric};

/// Behaves on its trial, which is of eight snapshots at most, and misbehaves afterwards.
fn later(kind: &str) -> String {
    // A leak does no harm before its 64th decision, and three of these must be near each other.
    let every = if kind == "leak" { 1 } else { 10 };
    format!("kind = \"{kind}\"\nevery = {every}")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fails_is_taken_down_and_the_last_good_policy_decides_again() {
    // Long enough for a flood to be read on a slow machine, which is not what it is to fall for.
    let patient = ["--policy", "isrtf", "--decision-budget-ms", "100"];
    let server = Server::start(&[&WORKER[..], &patient].concat());
    let rogue = server.push("rogue/rogue").await;
    let good = server.policies().await["live"]["digest"].clone();
    let causes = [
        ("spin", "deadline-missed"),
        ("trap", "trap"),
        ("hog", "out-of-memory"),
        ("flood", "invalid-answer"),
        ("leak", "out-of-memory"),
    ];
    let (completed, ()) = under_load(&server, async {
        for (falls, (kind, _)) in (1..).zip(causes) {
            server.promote(&rogue, &later(kind)).await;
            while server.policies().await["name"] != "isrtf" {
                a_moment().await;
            }
            let text = server.metrics().await;
            let fallen = metric(&text, "elis_policy_swaps_total{kind=\"fall\"}");
            assert_eq!(fallen, f64::from(falls), "{kind}");
        }
    })
    .await;
    let text = server.metrics().await;
    let finished = metric(&text, "elis_requests_total{outcome=\"finished\"}");
    assert_eq!(finished, completed as f64, "nothing is lost");
    for (kind, cause) in causes {
        let name = format!(
            "elis_policy_faults_total{{policy=\"rogue\",digest=\"{}\",kind=\"{cause}\"}}",
            &rogue[..12]
        );
        assert!(metric(&text, &name) >= 3.0, "{kind}: {name} in {text}");
    }
    assert_eq!(server.policies().await["live"]["digest"], good);
    let (_, row) = server
        .answer(server.ask(Method::GET, &format!("policies/{rogue}")))
        .await;
    assert_eq!(row["role"], "stored", "it is dropped");
    assert_eq!(row["counts"]["last_fault"]["kind"], "out-of-memory");
    let (_, audit) = server.answer(server.ask(Method::GET, "audit")).await;
    let ladder = audit["actions"].as_array().unwrap().iter();
    let ladder: Vec<_> = ladder.filter(|action| action["who"] == "ladder").collect();
    assert_eq!(ladder.len(), causes.len());
    for ((_, cause), action) in causes.iter().zip(ladder) {
        let outcome = action["outcome"].as_str().unwrap();
        assert!(outcome.contains("quarantined after"), "{outcome}");
        assert!(outcome.contains(cause), "{outcome}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_of_garbage_are_counted_and_every_request_completes() {
    // Who puts jobs off for ever is overruled by the guard against starvation.
    let guard = ["--max-wait-ms", "500"];
    let server = Server::start(&[&WORKER[..], &guard].concat());
    let rogue = server.push("rogue/rogue").await;
    let kinds = [
        "liar",
        "greedy",
        "idle",
        "hoard",
        "defer",
        "thrash",
        "doubt",
        "nag",
        "backwards",
    ];
    let (completed, ()) = under_load(&server, async {
        for kind in kinds {
            server.promote(&rogue, &later(kind)).await;
            let before = metric(&server.metrics().await, "elis_requests_total");
            server
                .until("elis_requests_total", |n| n >= before + 60.0)
                .await;
            // Whom it puts off is the guard's, for as long as it is live.
            if kind == "defer" {
                server
                    .until("elis_starvation_boosts_total", |n| n > 0.0)
                    .await;
            }
        }
    })
    .await;
    let text = server.metrics().await;
    let finished = metric(&text, "elis_requests_total{outcome=\"finished\"}");
    assert_eq!(finished, completed as f64);
    for kind in ["unknown-job", "duplicate-job", "over-budget"] {
        let name = format!(
            "elis_policy_faults_total{{policy=\"rogue\",digest=\"{}\",kind=\"{kind}\"}}",
            &rogue[..12]
        );
        assert!(metric(&text, &name) > 0.0, "{name} in {text}");
    }
    assert!(metric(&text, "elis_starvation_boosts_total") > 0.0);
    assert!(server.status().await["starvation_boosts"].as_u64() > Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_misbehaves_on_trial_never_becomes_live() {
    let server = Server::start(&WORKER);
    let rogue = server.push("rogue/rogue").await;
    let before = server.policies().await;
    let path = format!("policies/{rogue}/promote");
    for (kind, says) in [
        ("spin", "deadline-missed"),
        ("trap", "trap"),
        ("hog", "out-of-memory"),
        ("liar", "do not exist"),
    ] {
        let config = json!({ "config": format!("kind = \"{kind}\"") });
        let (status, answer) = server.post(&path, &config).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (400, &json!("trial_failed")),
            "{answer}"
        );
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{message}");
    }
    assert_eq!(server.policies().await, before, "nothing has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn state_goes_over_where_both_can_and_stops_a_promotion_where_not() {
    // A gigabyte takes its time on a slow machine, and it is its size that is to stop it.
    let server = Server::start(&[&WORKER[..], &["--decision-budget-ms", "1000"]].concat());
    let rogue = server.push("rogue/rogue").await;
    let path = format!("policies/{rogue}/promote");
    let first = server.promote(&rogue, "state = \"count\"").await;
    assert_eq!(first["state_bytes"], 0, "another policy's state is not its");
    let (_, ()) = under_load(&server, async {
        while server.policies().await["counts"]["decisions"]
            .as_u64()
            .unwrap()
            < 5
        {
            a_moment().await;
        }
    })
    .await;
    let heir = server.promote(&rogue, "state = \"count\"").await;
    assert_eq!(heir["state_bytes"], 8);
    let refuses = json!({ "config": "state = \"refuse\"" });
    let (status, answer) = server.post(&path, &refuses).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (400, &json!("state_refused"))
    );
    let live = server.policies().await["live"]["config"].clone();
    assert_eq!(live, "state = \"count\"", "it stays");
    let fresh = json!({ "config": "state = \"refuse\"", "fresh_state": true });
    assert_eq!(server.post(&path, &fresh).await.0, 200);
    for (state, says) in [("heavy", "1572864 bytes"), ("gigabyte", "trap")] {
        server
            .promote(&rogue, &format!("state = \"{state}\""))
            .await;
        let next = json!({ "config": "state = \"count\"" });
        let (status, answer) = server.post(&path, &next).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (400, &json!("state_refused"))
        );
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{message}");
        let fresh = json!({ "config": "", "fresh_state": true });
        assert_eq!(server.post(&path, &fresh).await.0, 200);
    }
    // A dead exporter was replaced: decisions go on.
    let (completed, ()) = under_load(&server, async {}).await;
    assert!(completed > 0);
    assert_eq!(metric(&server.metrics().await, "elis_fallbacks_total"), 0.0);
}
