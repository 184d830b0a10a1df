//! The operator's port.

use elis_host::http::{ServeError, Server, ServerOptions};
use serde_json::{Value, json};

use crate::double::Double;
use crate::support::{Running, echoing};

#[tokio::test]
async fn the_status_is_told_and_a_form_of_a_web_page_changes_nothing() {
    let server = Running::echo().await;
    let status_url = format!("{}/status", server.admin_url);
    let policy_url = format!("{}/policy", server.admin_url);
    let status = server.client.get(&status_url).send().await.unwrap();
    let status: Value = status.json().await.unwrap();
    assert_eq!(
        (&status["policy"], &status["ready"]),
        (&json!("first"), &json!(true))
    );
    let change = |policy: &str| {
        server
            .client
            .post(&policy_url)
            .json(&json!({"policy": policy}))
    };
    // This engine has no policies; tests/it/swap.rs has one that does.
    assert_eq!(server.refusal(change("second")).await.0, 501);
    // What a form on a web page can send is no JSON by its type.
    let form = server
        .client
        .post(&policy_url)
        .body("{\"policy\": \"third\"}");
    assert_eq!(server.refusal(form).await.0, 415);
    let status = server.client.get(&status_url).send().await.unwrap();
    assert_eq!(status.json::<Value>().await.unwrap()["policy"], "first");
    assert_eq!(server.refusal(server.get("/admin/status")).await.0, 404);
}

#[tokio::test]
async fn a_token_guards_it() {
    let options = ServerOptions {
        admin_token: Some("secret".into()),
        ..ServerOptions::default()
    };
    let server = Running::new(echoing(), options).await;
    let url = format!("{}/status", server.admin_url);
    assert_eq!(server.refusal(server.client.get(&url)).await.0, 401);
    let wrong = server.client.get(&url).bearer_auth("guess");
    assert_eq!(server.refusal(wrong).await.0, 401);
    let right = server.client.get(&url).bearer_auth("secret");
    assert_eq!(right.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn it_is_not_open_to_all_by_mistake_and_can_be_left_out() {
    let engine = Double::new(echoing(), None);
    let open = ServerOptions {
        admin_host: "0.0.0.0".parse().unwrap(),
        ..ServerOptions::default()
    };
    let error = Server::bind(engine.clone(), open).await.unwrap_err();
    assert!(matches!(error, ServeError::OpenAdmin(_)));
    let none = ServerOptions {
        no_admin: true,
        ..ServerOptions::default()
    };
    let server = Server::bind(engine.clone(), none).await.unwrap();
    assert_eq!(server.admin_address(), None);
    let taken = ServerOptions {
        port: server.address().port(),
        ..ServerOptions::default()
    };
    let error = Server::bind(engine, taken).await.unwrap_err().to_string();
    assert!(error.contains("choose another --port"), "{error}");
}
