//! A host that is killed, and what its next life finds.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::Method;
use serde_json::{Value, json};

use super::{WORKER, bytes};
use crate::serve::{Server, a_moment, metric};

fn start(state: &Path) -> Server {
    let state = state.display().to_string();
    Server::start(&[&WORKER[..], &["--state-dir", &state]].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_policy_and_its_configuration_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let isrtf = server.push("isrtf").await;
    let config = "ageing_tokens_per_s = 3";
    let promoted = server.promote(&isrtf, config).await;
    assert_eq!(promoted["durable"], true);
    let before = server.policies().await;
    assert_eq!(server.terminate(), 0);

    let server = start(folder.path());
    let after = server.policies().await;
    assert_eq!(
        (&after["name"], &after["live"]),
        (&json!("isrtf"), &before["live"])
    );
    assert_eq!(after["live"]["config"], config);
    assert!(after["epoch"].as_u64() > before["epoch"].as_u64());
    assert_eq!(after["not_loaded"], json!([]));
    let (status, back) = server.post("rollback", &json!({})).await;
    assert_eq!((status, &back["name"]), (200, &json!("fcfs")), "still warm");
    server.stream(7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_cannot_be_had_gives_way_to_the_last_good_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let isrtf = server.push("isrtf").await;
    server.promote(&isrtf, "").await;
    assert_eq!(server.terminate(), 0);
    let stored = folder.path().join(format!("policies/{isrtf}.wasm"));
    let mut damaged = bytes("isrtf");
    damaged[20_000] ^= 1;
    fs::write(&stored, damaged).unwrap();

    let server = start(folder.path());
    let policies = server.policies().await;
    assert_eq!(policies["name"], "fcfs");
    let lost = policies["not_loaded"][0].as_str().unwrap();
    assert!(
        lost.contains("damaged") && lost.contains(&isrtf[..12]),
        "{lost}"
    );
    let text = server.metrics().await;
    assert_eq!(metric(&text, "elis_policy_unloadable"), 1.0);
    let path = format!("policies/{isrtf}/promote");
    let (status, answer) = server.post(&path, &json!({})).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (500, &json!("policy_damaged"))
    );
    server.push("isrtf").await;
    server.promote(&isrtf, "").await;
    assert_eq!(server.terminate(), 0);

    // Without any record that can be read it is the command line's policy.
    fs::write(folder.path().join("live.json"), "{\"form\": 1, \"epo").unwrap();
    let server = start(folder.path());
    let policies = server.policies().await;
    assert_eq!(policies["name"], "fcfs");
    assert_eq!(policies["not_loaded"].as_array().unwrap().len(), 1);
    server.stream(7).await;
}

/// What was acknowledged last.
#[derive(Default)]
struct Acknowledged {
    epoch: AtomicU64,
    answers: AtomicU64,
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_anything_it_comes_back_with_a_complete_policy() {
    let folder = tempfile::tempdir().unwrap();
    let policies = ["isrtf", "sjf", "fcfs"];
    for life in 0..8u64 {
        let mut server = start(folder.path());
        let mut digests = Vec::new();
        for policy in policies {
            digests.push(server.push(policy).await);
        }
        let acknowledged = Acknowledged::default();
        // The next answer finds the others in the middle of something.
        let enough = 3 + 5 * life;
        let work =
            (0..6usize).map(|i| {
                let (server, digests, acknowledged) = (&server, &digests, &acknowledged);
                async move {
                    push_and_promote(server, &digests[i % 3], policies[i % 3], acknowledged).await
                }
            });
        let killer = async {
            while acknowledged.answers.load(Ordering::Acquire) < enough {
                a_moment().await;
            }
        };
        tokio::select! {
            _ = futures_util::future::join_all(work) => panic!("it was not killed"),
            () = killer => {}
        }
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        let told = acknowledged.epoch.load(Ordering::Acquire);
        drop(server);

        let server = start(folder.path());
        let now = server.policies().await;
        assert_eq!(now["not_loaded"], json!([]), "life {life}");
        // A start counts one.
        assert!(
            now["epoch"].as_u64().unwrap() > told,
            "life {life}: {told} and {now}"
        );
        let name = now["name"].as_str().unwrap();
        assert!(policies.contains(&name), "{name}");
        let (_, list) = server.answer(server.ask(Method::GET, "policies")).await;
        assert_eq!(list["policies"].as_array().unwrap().len(), 3, "{list}");
        let log = fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
        for line in log.lines() {
            let action: Value = serde_json::from_str(line).unwrap();
            assert!(action["who"].is_string());
        }
        server.stream(life).await;
    }
}

/// Until the server is gone.
async fn push_and_promote(
    server: &Server,
    digest: &str,
    policy: &str,
    acknowledged: &Acknowledged,
) -> Option<()> {
    loop {
        let push = server.ask(Method::POST, "policies").body(bytes(policy));
        let push = push.header("content-type", "application/wasm").send().await;
        push.ok()?.bytes().await.ok()?;
        acknowledged.answers.fetch_add(1, Ordering::Release);
        let promote = server.ask(Method::POST, &format!("policies/{digest}/promote"));
        let answer = promote.json(&json!({})).send().await.ok()?;
        let answer: Value = answer.json().await.ok()?;
        if let Some(epoch) = answer["epoch"].as_u64() {
            acknowledged.epoch.fetch_max(epoch, Ordering::Release);
        }
        acknowledged.answers.fetch_add(1, Ordering::Release);
    }
}
