//! Every wrong call gets a clear answer and changes nothing.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::{WORKER, bytes};
use crate::serve::Server;
use crate::support::{command, policy_path};

/// A component that exports a contract of another version.
fn from_the_future() -> Vec<u8> {
    let text = r#"(component (instance $i) (export "elis:policy/scheduling@7.0.0" (instance $i)))"#;
    wat::parse_str(text).unwrap()
}

fn with_imports() -> Vec<u8> {
    let text = r#"(component (import "wasi:clocks/wall-clock@0.2.0" (instance)))"#;
    wat::parse_str(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_policy_are_refused_and_not_kept() {
    let server = Server::start(&WORKER);
    let before = (server.policies().await, list(&server).await);
    let truncated = bytes("isrtf")[..5_000].to_vec();
    for (bytes, says) in [
        (b"GIF89a".to_vec(), "not a WebAssembly binary"),
        (Vec::new(), "not a WebAssembly binary"),
        (truncated, "broken"),
        (from_the_future(), "elis:policy@7.0.0"),
        (with_imports(), "imports wasi:clocks"),
        (b"\0asm\x01\0\0\0".to_vec(), "core module"),
    ] {
        let (status, answer) = server.try_push(bytes).await;
        let error = &answer["error"];
        assert_eq!((status, &error["code"]), (400, &json!("policy_refused")));
        assert!(error["message"].as_str().unwrap().contains(says), "{error}");
    }
    let (status, answer) = server.try_push(vec![0; (64 << 20) + 1]).await;
    assert_eq!((status, code(&answer)), (413, "request_too_large"));
    let untyped = server.ask(Method::POST, "policies").body(bytes("sjf"));
    assert_eq!(server.answer(untyped).await.0, 415);
    let after = (server.policies().await, list(&server).await);
    assert_eq!(before, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_and_nothing_changes() {
    let server = Server::start(&WORKER);
    let fcfs = server.push("fcfs").await;
    let isrtf = server.push("isrtf").await;
    let before = (server.policies().await, list(&server).await);
    let promote = format!("policies/{isrtf}/promote");
    let promote = promote.as_str();
    let unknown = format!("policies/{}/promote", "0".repeat(64));
    let unknown = unknown.as_str();
    let outside = "policies/..%2f..%2fetc%2fpasswd/promote";
    let config = |text: &str| json!({ "config": text });
    let named = |name: &str| json!({ "policy": name });
    let path = policy_path("sjf").display().to_string();
    let late = json!({ "epoch": 99 });
    let aged = "ageing_tokens_per_s = -1";
    for (path, body, status, code) in [
        (promote, late.clone(), 409, "epoch_conflict"),
        (promote, config("speed = 9"), 400, "config_refused"),
        (promote, config(aged), 400, "config_refused"),
        (promote, json!({"fresh": true}), 400, ""),
        (promote, json!([]), 400, ""),
        (unknown, json!({}), 404, "policy_unknown"),
        (outside, json!({}), 404, "policy_unknown"),
        ("policies/abc/promote", json!({}), 404, "policy_unknown"),
        ("rollback", json!({}), 409, "none_before"),
        ("rollback", late, 409, "epoch_conflict"),
        ("policy", named("./fcfs.wasm"), 404, "policy_unknown"),
        ("policy", named(&path), 404, "policy_unknown"),
    ] {
        let (was, answer) = server.post(path, &body).await;
        let found = answer["error"]["code"].as_str().unwrap_or("");
        assert_eq!((was, found), (status, code), "{path} {body}: {answer}");
    }
    let remove = server.ask(Method::DELETE, &format!("policies/{fcfs}"));
    let (status, answer) = server.answer(remove).await;
    assert_eq!((status, code(&answer)), (409, "policy_in_use"));
    let after = (server.policies().await, list(&server).await);
    assert_eq!(before, after);
    let unused = server.ask(Method::DELETE, &format!("policies/{isrtf}"));
    assert_eq!(server.answer(unused).await.0, 204);
    assert_eq!(list(&server).await["policies"].as_array().unwrap().len(), 1);
}

async fn list(server: &Server) -> Value {
    server.answer(server.ask(Method::GET, "policies")).await.1
}

fn code(answer: &Value) -> &str {
    answer["error"]["code"].as_str().unwrap_or("")
}

#[tokio::test(flavor = "multi_thread")]
async fn of_concurrent_promotes_one_wins() {
    let server = Server::start(&WORKER);
    let mut digests = Vec::new();
    for policy in ["isrtf", "sjf", "fcfs"] {
        digests.push(server.push(policy).await);
    }
    for round in 0..10 {
        let epoch = server.policies().await["epoch"].as_u64().unwrap();
        let promotes = (0..8).map(|i: usize| {
            let path = format!("policies/{}/promote", digests[i % 3]);
            let server = &server;
            async move { server.post(&path, &json!({ "epoch": epoch })).await }
        });
        let answers = join_all(promotes).await;
        let winners: Vec<_> = answers
            .iter()
            .filter(|(status, _)| *status == 200)
            .collect();
        assert_eq!(winners.len(), 1, "round {round}: {answers:?}");
        let losers = answers.iter().filter(|(status, _)| *status != 200);
        for (status, answer) in losers {
            assert_eq!((*status, code(answer)), (409, "epoch_conflict"));
        }
        let now = server.policies().await;
        assert_eq!(now["epoch"], epoch + 1);
        assert_eq!(now["live"]["digest"], winners[0].1["digest"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_guard_every_call_and_stand_in_the_audit_log() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "alice=one\nci=two\n").unwrap();
    let tokens = tokens.display().to_string();
    let state = folder.path().join("state");
    let state_dir = state.display().to_string();
    let own = ["--admin-token-file", &tokens, "--state-dir", &state_dir];
    let server = Server::start(&[&WORKER[..], &own].concat());
    let document: Value = {
        let get = server.ask(Method::GET, "openapi.json").bearer_auth("one");
        server.answer(get).await.1
    };
    for (path, operations) in document["paths"].as_object().unwrap() {
        let path = path.strip_prefix("/admin/").unwrap();
        let path = path.replace("{digest}", &"0".repeat(64));
        for method in operations.as_object().unwrap().keys() {
            if method == "parameters" {
                continue;
            }
            let method: Method = method.to_uppercase().parse().unwrap();
            let ask = || server.ask(method.clone(), &path).json(&json!({}));
            assert_eq!(server.answer(ask()).await.0, 401, "{method} {path}");
            let wrong = ask().bearer_auth("three");
            assert_eq!(server.answer(wrong).await.0, 401, "{method} {path}");
            // Documented and there: a wrong method would be 405.
            let right = server.answer(ask().bearer_auth("two")).await.0;
            assert!(right != 401 && right != 405, "{method} {path}: {right}");
        }
    }
    let push = server.ask(Method::POST, "policies").bearer_auth("two");
    let push = push.header("content-type", "application/wasm");
    let (status, pushed) = server.answer(push.body(bytes("isrtf"))).await;
    assert_eq!(status, 201, "{pushed}");
    let checks = pushed["checks"].as_array().unwrap();
    let names: Vec<_> = checks
        .iter()
        .map(|c| c["check"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["contract", "imports", "columns", "start", "trial"]);
    assert!(checks.iter().all(|check| check["ok"] == true), "{checks:?}");
    let digest = pushed["digest"].as_str().unwrap();
    let promote = server.ask(Method::POST, &format!("policies/{digest}/promote"));
    let promote = promote.json(&json!({ "epoch": 99 })).bearer_auth("one");
    assert_eq!(server.answer(promote).await.0, 409);
    let log = std::fs::read_to_string(state.join("audit.jsonl")).unwrap();
    let actions: Vec<Value> = log
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let [push, promote] = &actions[actions.len() - 2..] else {
        panic!("{actions:?}");
    };
    assert_eq!(push["who"], "ci 127.0.0.1");
    assert_eq!(
        (&push["action"], &push["outcome"], &push["digest"]),
        (&json!("push"), &json!("done"), &json!(digest))
    );
    assert_eq!(promote["who"], "alice 127.0.0.1");
    assert!(
        promote["outcome"]
            .as_str()
            .unwrap()
            .contains("the epoch is")
    );
    assert!(!log.contains("two"), "no token is in it");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_key_only_signed_policies_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let key = folder.path().join("key.pub");
    std::fs::write(&key, pair.pk.to_box().unwrap().to_string()).unwrap();
    let sign = |bytes: &[u8]| {
        let signed = minisign::sign(None, &pair.sk, std::io::Cursor::new(bytes), None, None);
        signed.unwrap().to_string()
    };
    let key = key.display().to_string();
    let unsigned = policy_path("fcfs").display().to_string();
    let serve = ["serve", "--require-signature", &key, "--policy", &unsigned];
    let refused = command("elis").args(serve).args(WORKER).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("minisign -Sm"),
        "{said}"
    );

    let first = folder.path().join("fcfs.wasm");
    std::fs::write(&first, bytes("fcfs")).unwrap();
    let beside = folder.path().join("fcfs.wasm.minisig");
    std::fs::write(&beside, sign(&bytes("fcfs"))).unwrap();
    let first = first.display().to_string();
    let own = ["--require-signature", &key, "--policy", &first];
    let server = Server::start(&[&WORKER[..], &own].concat());
    let (status, answer) = server.try_push(bytes("sjf")).await;
    assert_eq!((status, code(&answer)), (403, "signature_refused"));
    let push = |signature: String| {
        let request = server.ask(Method::POST, "policies");
        let request = request.header("content-type", "application/wasm");
        let request = request.header("elis-signature", signature.replace('\n', "\\n"));
        server.answer(request.body(bytes("sjf")))
    };
    let (status, answer) = push(sign(&bytes("fcfs"))).await;
    assert_eq!((status, code(&answer)), (403, "signature_refused"));
    let (status, answer) = push(sign(&bytes("sjf"))).await;
    assert_eq!(status, 201, "{answer}");
    assert_eq!(answer["checks"][3]["check"], "signature");
}
