//! Recording over the admin API, as far as it goes without a scheduler.

use serde_json::json;

use crate::support::Running;

#[tokio::test]
async fn a_wish_to_record_is_checked() {
    let server = Running::echo().await;
    let url = format!("{}/record", server.admin_url);
    let ask = |wish: serde_json::Value| server.client.post(&url).json(&wish);
    for for_ms in [json!(0), json!(86_400_001), json!("10m"), json!(null)] {
        let (code, error) = server.refusal(ask(json!({ "for_ms": for_ms }))).await;
        assert_eq!(code, 400, "{error}");
        assert!(
            error["message"].as_str().unwrap().contains("for_ms"),
            "{error}"
        );
    }
    // What a form on a web page can send is no JSON by its type.
    let form = server.client.post(&url).body("{\"for_ms\": 10}");
    assert_eq!(server.refusal(form).await.0, 415);
    // The double has nothing to record.
    let (code, error) = server.refusal(ask(json!({"for_ms": 10}))).await;
    assert_eq!((code, &error["code"]), (409, &json!("record_refused")));
}
