//! Many at once.

use futures_util::{StreamExt, stream};

use crate::support::{Running, chat, completion, text};

const REQUESTS: usize = 1000;
const AT_ONCE: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_in_64_streams_have_no_error() {
    let template = "{{ messages[0].content }}";
    let server = Running::with_template(template).await;
    let answered = stream::iter(0..REQUESTS)
        .map(|number| {
            let server = &server;
            async move {
                let said = format!("request {number} says: né 日本 🦀");
                let got = match number % 4 {
                    0 => text(&server.stream("/v1/chat/completions", &chat(&said)).await),
                    1 => text(&server.stream("/v1/completions", &completion(&said)).await),
                    2 => {
                        let answer = server.ask("/v1/chat/completions", &chat(&said)).await;
                        let content = &answer["choices"][0]["message"]["content"];
                        content.as_str().unwrap().to_owned()
                    }
                    _ => {
                        let answer = server.ask("/v1/completions", &completion(&said)).await;
                        answer["choices"][0]["text"].as_str().unwrap().to_owned()
                    }
                };
                assert_eq!(got, said);
            }
        })
        .buffer_unordered(AT_ONCE)
        .count()
        .await;
    assert_eq!(answered, REQUESTS);
    assert_eq!(server.running(), 0);
    let metrics = server.get("/metrics").send().await.unwrap().text().await;
    assert!(metrics.unwrap().contains("double_requests_total 1000\n"));
}
