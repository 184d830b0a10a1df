//! A policy for a share of the workers: promoted when its guard holds, taken back when it does not.

use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};

use super::{WORKER, under_load};
use crate::serve::{Server, a_moment, metric};
use crate::support::command;

/// Four modelled workers, and a budget that no busy machine uses up.
fn server(more: &[&str]) -> Server {
    let four = ["--workers", "4", "--decision-budget-ms", "1000"];
    Server::start(&[&WORKER[..], &four, more].concat())
}

impl Server {
    async fn canary(&self) -> Value {
        self.policies().await["canary"].clone()
    }

    async fn begin_canary(&self, digest: &str, body: &Value) -> Value {
        let (status, answer) = self.post(&format!("policies/{digest}/canary"), body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Waits for what becomes of a canary.
    async fn outcome(&self) -> Value {
        loop {
            let canary = self.canary().await;
            // One that promotes itself has passed for a moment before it is promoted.
            let passing = canary["promote"] == true && canary["stage"] == "passed";
            if canary["stage"] != "running" && !passing {
                return canary;
            }
            a_moment().await;
        }
    }

    /// What the guard wrote down.
    async fn guarded(&self) -> Vec<String> {
        loop {
            let (_, audit) = self.answer(self.ask(Method::GET, "audit")).await;
            let actions = audit["actions"].as_array().unwrap().iter();
            let own = actions.filter(|action| action["who"] == "guard");
            let own: Vec<String> = own
                .map(|action| action["outcome"].as_str().unwrap().to_owned())
                .collect();
            // Files are written a moment after the change.
            if !own.is_empty() {
                return own;
            }
            a_moment().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_holds_is_compared_and_promotes_itself() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("run.elog").display().to_string();
    let server = server(&["--policy", "vtc", "--record", &log]);
    let isrtf = server.push("isrtf").await;
    let before = server.policies().await["epoch"].as_u64().unwrap();
    let body = json!({
        "share": 0.5, "for_s": 0.2, "min_requests": 40, "max_p99_ttft_ms": 600_000, "promote": true,
    });
    let (completed, canary) = under_load(&server, async {
        let begun = server.begin_canary(&isrtf, &body).await;
        assert_eq!(
            (&begun["stage"], &begun["workers"]),
            (&json!("running"), &json!([2, 3]))
        );
        let text = server.metrics().await;
        if server.canary().await["stage"] == "running" {
            assert!(
                text.contains("elis_policy_role{role=\"canary\",policy=\"isrtf\""),
                "{text}"
            );
        }
        let canary = server.outcome().await;
        // It goes on as the live policy, and a rollback brings the other one back.
        for name in ["isrtf", "vtc"] {
            let policies = server.policies().await;
            assert_eq!(policies["name"], name);
            let done = metric(&server.metrics().await, "elis_requests_total");
            server
                .until("elis_requests_total", |n| n >= done + 60.0)
                .await;
            if name == "isrtf" {
                assert_eq!(policies["epoch"], before + 1);
                assert_eq!(server.post("rollback", &json!({})).await.0, 200);
            }
        }
        canary
    })
    .await;
    compared(&canary);
    assert!(server.guarded().await[0].starts_with("promoted: "));
    let text = server.metrics().await;
    assert_eq!(
        metric(&text, "elis_requests_total{outcome=\"finished\"}"),
        completed as f64
    );
    assert_eq!(
        metric(&text, "elis_requests_total"),
        completed as f64,
        "nothing is lost"
    );
    assert_eq!(metric(&text, "elis_fallbacks_total"), 0.0);
    assert_eq!(
        metric(&text, "elis_canaries_total{stage=\"promoted\"}"),
        1.0
    );
    assert_eq!(
        metric(&text, "elis_policy_swaps_total{kind=\"canary\"}"),
        1.0
    );
    assert!(
        metric(&text, "elis_canary_requests{side=\"canary\"") >= 40.0,
        "{text}"
    );
    assert_eq!(server.terminate(), 0);
    verify(&log, 2);
}

/// Both sides have figures.
fn compared(canary: &Value) {
    assert_eq!(canary["stage"], "promoted", "{canary}");
    for side in ["control", "canary"] {
        let requests = canary[side]["requests"].as_u64().unwrap();
        assert!(requests > 0, "{canary}");
        assert!(canary[side]["jct_mean_s"].as_f64() > canary[side]["ttft_mean_s"].as_f64());
        assert!(canary[side]["ttft_p99_s"].as_f64() > Some(0.0));
    }
    assert!(canary["canary"]["requests"].as_u64() >= Some(40));
}

/// Two policies at once, one with a memory, and a rollback to it: the log knows them all.
fn verify(log: &str, policies: usize) {
    let replay = Command::new(command("elis-bench").get_program())
        .args(["replay", log, "--verify"])
        .env(
            "ELIS_POLICIES",
            crate::support::policy_path("fcfs").parent().unwrap(),
        )
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&replay.stdout);
    let erred = String::from_utf8_lossy(&replay.stderr);
    assert!(replay.status.success(), "{said}{erred}");
    assert!(said.contains("bit for bit"), "{said}");
    let asked = said.lines().filter(|line| line.ends_with("plans equal"));
    assert_eq!(asked.count(), policies, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_crosses_its_guard_is_taken_back_and_nothing_is_lost() {
    let server = server(&[]);
    let rogue = server.push("rogue/rogue").await;
    let live = server.policies().await;
    let cases = [
        ("kind = \"trap\"\nevery = 10", "1 faults, and 0 are allowed"),
        ("kind = \"liar\"\nevery = 10", "faults, and 0 are allowed"),
        ("kind = \"defer\"\nevery = 10", "first tokens took longer"),
    ];
    let (completed, ()) = under_load(&server, async {
        for (config, says) in cases {
            let late = config.contains("defer");
            let body = json!({
                "config": config, "share": 0.25, "max_p99_ttft_ms": late.then_some(2_000),
                "max_faults": if late { 1_000_000 } else { 0 },
            });
            server.begin_canary(&rogue, &body).await;
            let canary = server.outcome().await;
            assert_eq!(canary["stage"], "rolled-back", "{canary}");
            let why = canary["why"].as_str().unwrap();
            assert!(why.contains(says), "{why}");
        }
    })
    .await;
    let policies = server.policies().await;
    assert_eq!(
        (&policies["live"], &policies["epoch"]),
        (&live["live"], &live["epoch"]),
        "the live policy has not changed"
    );
    let text = server.metrics().await;
    assert_eq!(
        metric(&text, "elis_requests_total{outcome=\"finished\"}"),
        completed as f64
    );
    assert_eq!(metric(&text, "elis_requests_total"), completed as f64);
    assert_eq!(
        metric(&text, "elis_canaries_total{stage=\"rolled-back\"}"),
        3.0
    );
    assert_eq!(metric(&text, "elis_policy_swaps_total"), 0.0, "{text}");
    let (_, row) = server
        .answer(server.ask(Method::GET, &format!("policies/{rogue}")))
        .await;
    assert_eq!(
        (&row["role"], &row["canary"]["stage"]),
        (&json!("stored"), &json!("rolled-back"))
    );
    let guarded = server.guarded().await;
    assert!(guarded[0].contains("trap"), "{guarded:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_policy_refuses_is_an_error_of_the_canary() {
    let server = server(&[]);
    let rogue = server.push("rogue/rogue").await;
    let body = json!({ "config": "kind = \"refuse\"", "share": 0.25, "max_faults": 1_000_000 });
    server.begin_canary(&rogue, &body).await;
    let mut refused = 0;
    while server.canary().await["stage"] == "running" {
        let all = (0..24).map(|_| {
            let body = json!({"prompt": "x", "max_tokens": 40, "ignore_eos": true});
            let url = format!("{}/v1/completions", server.url);
            server.client.post(url).json(&body).send()
        });
        for answer in futures_util::future::join_all(all).await {
            refused += u64::from(answer.unwrap().status() == 429);
        }
    }
    let canary = server.canary().await;
    assert_eq!(canary["stage"], "rolled-back");
    let why = canary["why"].as_str().unwrap();
    assert!(why.contains("failed or were refused"), "{why}");
    assert!(refused >= canary["canary"]["errors"].as_u64().unwrap());
    assert_eq!(canary["control"]["errors"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_is_ended_or_promoted_by_hand_and_stands_in_nobodys_way() {
    let server = server(&[]);
    let isrtf = server.push("isrtf").await;
    let sjf = server.push("sjf").await;
    let (status, answer) = server.answer(server.ask(Method::DELETE, "canary")).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (409, &json!("no_canary"))
    );
    for (body, says) in [
        (json!({"share": 1.0}), "below 1"),
        (json!({"share": 0.5, "max_error_rate": 2}), "error rate"),
        (json!({"share": 0.5, "max_p99_ttft_ms": 0}), "TTFT"),
        (json!({"share": 0.5, "for_s": -1}), "seconds"),
    ] {
        let (status, answer) = server
            .post(&format!("policies/{isrtf}/canary"), &body)
            .await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (400, &json!("out_of_range"))
        );
        assert!(answer["error"]["message"].as_str().unwrap().contains(says));
    }
    let elis = |arguments: &[&str]| {
        let mut elis = command("elis");
        elis.args(["policy", "canary"]).args(arguments);
        let output = elis.args(["--to", &server.admin_url]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said + &String::from_utf8_lossy(&output.stderr)
    };
    assert_eq!(elis(&[]), "there was no canary\n");
    let begun = elis(&[&isrtf[..8], "--share", "0.5", "--for", "1h"]);
    assert!(
        begun.contains("isrtf") && begun.contains("on workers 2, 3"),
        "{begun}"
    );
    for path in [format!("policies/{sjf}/promote"), "rollback".to_owned()] {
        let (status, answer) = server.post(&path, &json!({})).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (409, &json!("canary_under_way")),
            "{answer}"
        );
    }
    assert!(elis(&[&sjf[..8]]).contains("a canary is under way"));
    let in_use = server.answer(server.ask(Method::DELETE, &format!("policies/{isrtf}")));
    assert_eq!(in_use.await.0, 409);
    assert!(elis(&["--end"]).contains("ended"));
    assert_eq!(server.policies().await["name"], "fcfs");
    elis(&[&sjf[..8]]);
    assert!(elis(&["--promote-now"]).contains("promoted"));
    assert_eq!(server.policies().await["name"], "sjf");
    assert_eq!(server.post("rollback", &json!({})).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_has_no_share_and_the_error_says_what_to_do() {
    let server = Server::start(&WORKER);
    let isrtf = server.push("isrtf").await;
    let path = format!("policies/{isrtf}/canary");
    let (status, answer) = server.post(&path, &json!({ "share": 0.5 })).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (409, &json!("one_worker"))
    );
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("--workers 2"), "{message}");
    assert!(message.contains("elis policy shadow"), "{message}");
}
