//! The operator's commands, as they are typed.

use std::process::Output;

use serde_json::Value;

use super::{WORKER, under_load};
use crate::serve::Server;
use crate::support::command;

fn elis(server: &Server, arguments: &[&str]) -> Output {
    let mut command = command("elis");
    command.arg("policy").args(arguments);
    command.args(["--to", &server.admin_url]).output().unwrap()
}

#[track_caller]
fn done(server: &Server, arguments: &[&str]) -> String {
    let output = elis(server, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_an_operator() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().display().to_string();
    let server = Server::start(&[&WORKER[..], &["--state-dir", &state]].concat());
    let pushed = done(&server, &["push", "isrtf"]);
    assert!(pushed.contains("trial      ok"), "{pushed}");
    let digest = pushed.lines().next().unwrap().to_owned();
    let short = &digest[..8];
    let config = folder.path().join("aged.toml");
    std::fs::write(&config, "ageing_tokens_per_s = 2\n").unwrap();
    let config = config.display().to_string();

    let shadow = done(&server, &["shadow", short, "--config", &config]);
    assert!(shadow.contains("isrtf") && shadow.contains("decides in shadow"));
    let list = json(&done(&server, &["list", "--json"]));
    let epoch = list["epoch"].as_u64().unwrap().to_string();
    assert_eq!(list["policies"].as_array().unwrap().len(), 2);
    done(&server, &["shadow"]);

    let promoted = done(
        &server,
        &["promote", short, "--config", &config, "--epoch", &epoch],
    );
    assert!(promoted.contains("isrtf") && promoted.contains("is live"));
    let late = elis(&server, &["promote", short, "--epoch", &epoch]);
    let said = String::from_utf8_lossy(&late.stderr);
    assert!(
        !late.status.success() && said.contains("the epoch is"),
        "{said}"
    );
    under_load(&server, async {}).await;
    let shown = done(&server, &["show", short]);
    assert!(shown.contains("role       live"), "{shown}");
    assert!(
        shown.contains("config     ageing_tokens_per_s = 2"),
        "{shown}"
    );
    let watched = done(&server, &["watch", "--lines", "2", "--every", "0.01"]);
    assert_eq!(watched.lines().count(), 3, "{watched}");
    assert!(watched.lines().nth(1).unwrap().starts_with("isrtf"));
    let watched = done(&server, &["watch", "--lines", "1", "--json"]);
    assert_eq!(json(&watched)["policies"]["name"], "isrtf");
    let back = done(&server, &["rollback"]);
    assert!(back.starts_with("fcfs"), "{back}");
    let refused = elis(&server, &["rollback"]);
    assert!(!refused.status.success());
    done(&server, &["remove", short]);
    let gone = elis(&server, &["show", short]);
    let said = String::from_utf8_lossy(&gone.stderr);
    assert!(said.contains("there is no policy"), "{said}");
}

#[test]
fn a_server_that_is_not_there_is_an_error_that_helps() {
    let mut command = command("elis");
    let output = command
        .args(["policy", "show", "abcd", "--to", "http://127.0.0.1:1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("calls its admin API"), "{said}");
    assert!(!output.status.success());
}
