//! The load generator against a small server: the engine here, the command in `command`.

#![expect(clippy::unwrap_used, reason = "a test that fails should panic")]

mod command;
mod server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::StatusCode;
use elis_bench_harness::load::prompt::{Draw, TOKEN_IDS};
use elis_bench_harness::load::session::order;
use elis_bench_harness::load::{
    Api, Client, Engine, HttpSwitch, Idle, Length, Pace, Record, RequestMaker, Run, Session, Stop,
    Stream, Target,
};
use elis_workloads::{Arrival, Overrides, WorkloadRef};
use serde_json::Map;
use server::{Behaviour, Server};
use tokio::sync::Barrier;

/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const DRAW: Draw = Draw { seed: 1, run: 0 };

/// Requests by time in milliseconds and length of the response, which is their name at the server.
fn arrivals(requests: &[(u64, u32)]) -> Vec<Arrival> {
    let arrival = |(id, (at_ms, output_tokens)): (u64, &(u64, u32))| {
        Arrival::new(id, at_ms * 1_000_000, 6, *output_tokens)
    };
    (0..).zip(requests).map(arrival).collect()
}

fn engine(server: &Server, timeout: Duration) -> Engine {
    let target = Target {
        url: server.url.clone(),
        api_key: None,
        timeout,
    };
    Engine {
        client: Client::new(target).unwrap(),
        maker: RequestMaker {
            api: Api::Completions,
            model: "m".into(),
            length: Length::Exact,
            token_ids: TOKEN_IDS,
            tenants: Vec::new(),
            extra: Map::new(),
        },
        pace: Pace::Open,
        max_in_flight: 100,
        stop: Stop::default(),
    }
}

async fn run(engine: &Engine, requests: &[(u64, u32)]) -> Run {
    engine.run(&arrivals(requests), DRAW, &mut |_| {}).await
}

fn error(record: &Record) -> String {
    let failure = record.failure.as_ref();
    failure.map_or_else(|| "none".into(), |f| f.kind.name().into_owned())
}

fn ms(at_ns: u64) -> u64 {
    at_ns / 1_000_000
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_is_named_and_none_is_lost() {
    let cases = [
        (Behaviour::Stream(Duration::ZERO), "none"),
        (Behaviour::Terse, "none"),
        (Behaviour::Refuse(StatusCode::TOO_MANY_REQUESTS), "http-429"),
        (
            Behaviour::Refuse(StatusCode::INTERNAL_SERVER_ERROR),
            "http-500",
        ),
        (Behaviour::HangUp, "hang-up"),
        (Behaviour::Break, "broken-stream"),
        (Behaviour::CutShort, "cut-short"),
        (Behaviour::Garbage, "malformed"),
        (Behaviour::Bytes, "malformed"),
        (Behaviour::ErrorEvent, "error-event"),
        (Behaviour::Plain, "not-a-stream"),
    ];
    let behaviours = (10..).zip(cases.iter().map(|(behaviour, _)| behaviour.clone()));
    let server = Server::start(behaviours).await;
    let requests: Vec<(u64, u32)> = (0..cases.len() as u32).map(|i| (0, 10 + i)).collect();
    let run = run(&engine(&server, PATIENCE), &requests).await;
    let errors: Vec<String> = run.records.iter().map(error).collect();
    assert_eq!(errors, cases.each_ref().map(|(_, wanted)| *wanted));
    let [whole, terse, refused, ..] = &run.records[..] else {
        panic!("records are lost")
    };
    assert_eq!(
        (whole.answer.usage.unwrap().prompt_tokens, whole.answer.done),
        (11, true)
    );
    assert_eq!(
        (whole.answer.output_tokens(), terse.answer.output_tokens()),
        (10, 11)
    );
    assert_eq!(terse.answer.usage, None);
    let refusal = refused.failure.as_ref().unwrap();
    assert_eq!(refusal.retry_after.as_deref(), Some("7"));
    assert_eq!(refusal.detail, "not now");
    // What had come before a stream broke is kept.
    let broken = &run.records[5].answer;
    assert_eq!((broken.status, broken.chunks), (Some(200), 2));
    assert!(
        run.records[9]
            .failure
            .as_ref()
            .unwrap()
            .detail
            .contains("out of memory")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stalls_costs_its_time_and_is_named() {
    let server = Server::start([(10, Behaviour::Stall), (11, Behaviour::StallLater)]).await;
    let limit = Duration::from_millis(200);
    let run = run(&engine(&server, limit), &[(0, 10), (0, 11)]).await;
    for record in &run.records {
        assert_eq!(error(record), "timeout");
        let waited_ns = record.settled_ns - record.sent_ns.unwrap();
        assert!(waited_ns >= 200_000_000, "{waited_ns}");
    }
    assert_eq!(run.records[0].answer.status, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listens() {
    let server = Server::start([]).await;
    let mut engine = engine(&server, PATIENCE);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    engine.client = Client::new(Target {
        url,
        api_key: None,
        timeout: PATIENCE,
    })
    .unwrap();
    let run = run(&engine, &[(0, 10)]).await;
    assert_eq!(error(&run.records[0]), "connect");
    assert!(engine.client.first_model().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_loop_does_not_wait_for_answers() {
    // The server answers nobody before all three are there.
    let barrier = Arc::new(Barrier::new(3));
    let behaviours = (10..13).map(|name| (name, Behaviour::Together(Arc::clone(&barrier))));
    let server = Server::start(behaviours).await;
    let run = run(&engine(&server, PATIENCE), &[(0, 10), (20, 11), (40, 12)]).await;
    assert!(run.records.iter().all(|record| record.failure.is_none()));
    for (record, at_ms) in run.records.iter().zip([0, 20, 40]) {
        assert_eq!(ms(record.intended_ns), at_ms);
        assert!(
            record.sent_ns.unwrap() >= record.intended_ns,
            "never before its time"
        );
    }
    // The first waited for the last.
    let first = run.records[0].outcome();
    assert!(ms(first.finish_ns - first.arrival_ns) >= 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn latencies_count_from_the_intended_start_where_requests_are_held_back() {
    let slow = Behaviour::Stream(Duration::from_millis(150));
    let server = Server::start([(2, slow)]).await;
    let mut engine = engine(&server, PATIENCE);
    engine.max_in_flight = 1;
    let run = run(&engine, &[(0, 2), (10, 1), (20, 1)]).await;
    let [first, second, third] = &run.records[..] else {
        panic!("records are lost")
    };
    // Two tokens, the usage and the end, each after a pause.
    assert!(ms(first.outcome().finish_ns) >= 300);
    for late in [second, third] {
        assert!(late.held_back);
        assert!(late.sent_ns.unwrap() >= first.answer.last_token_ns.unwrap());
        let outcome = late.outcome();
        // A clock that started with the sending would show next to nothing.
        assert!(ms(outcome.first_token_ns - outcome.arrival_ns) >= 280);
    }
    assert_eq!(server.inner.most.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_loop_has_so_many_users() {
    let server = Server::start([(3, Behaviour::Stream(Duration::from_millis(1)))]).await;
    let mut engine = engine(&server, PATIENCE);
    engine.pace = Pace::Closed { concurrency: 2 };
    // Their times would take hours.
    let requests: Vec<(u64, u32)> = (0..8).map(|i| (i * 3_600_000, 3)).collect();
    let run = run(&engine, &requests).await;
    assert_eq!(run.records.len(), 8);
    assert!(run.records.iter().all(|record| record.failure.is_none()));
    assert!(server.inner.most.load(Ordering::SeqCst) <= 2);
    for record in &run.records {
        let outcome = record.outcome();
        assert!(
            ms(outcome.finish_ns - outcome.arrival_ns) >= 3,
            "a token takes 1 ms"
        );
    }
    // The third user is one of the first two, back again.
    let earliest = run.records[..2].iter().map(|r| r.settled_ns).min().unwrap();
    assert!(run.records[2].intended_ns >= earliest);
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_stop_it_waits_for_what_is_under_way() {
    let server = Server::start([(10, Behaviour::Gated)]).await;
    let engine = engine(&server, PATIENCE);
    let requests = [(0, 10), (3_600_000, 1), (3_600_000, 1)];
    let (run, ()) = tokio::join!(run(&engine, &requests), async {
        server.has_seen(1).await;
        engine.stop.ask();
        server.inner.gate.add_permits(1);
    });
    assert_eq!((run.records.len(), run.unsent), (1, 2));
    assert_eq!(error(&run.records[0]), "none");
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_twice_it_gives_up_what_is_under_way() {
    let server = Server::start([(10, Behaviour::Gated)]).await;
    let mut engine = engine(&server, PATIENCE);
    engine.max_in_flight = 1;
    let (run, ()) = tokio::join!(run(&engine, &[(0, 10), (0, 10)]), async {
        server.has_seen(1).await;
        engine.stop.ask();
        engine.stop.ask();
    });
    let mut errors: Vec<String> = run.records.iter().map(error).collect();
    errors.sort();
    // The other one was held back, or its task had not begun.
    assert!(errors == ["interrupted", "not-sent"] || errors == ["interrupted"]);
    assert_eq!(run.records.len() as u64 + run.unsent, 2);
}

/// Three requests with responses of two tokens, within milliseconds.
fn three_requests(seed: u64) -> Stream {
    let overrides = Overrides {
        seed,
        take: Some(3),
        rate_rps: Some(500.0),
        ..Overrides::default()
    };
    let workload = WorkloadRef::parse("steady").unwrap().load(&overrides);
    let mut workload = workload.unwrap();
    let arrivals = workload.arrivals.iter_mut();
    arrivals.for_each(|arrival| arrival.output_tokens = 2);
    Stream { seed, workload }
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_take_turns_on_the_same_streams() {
    let server = Server::start([]).await;
    // Busy at first, then as it is.
    *server.inner.busy.lock().unwrap() = vec![0, 1, 2];
    let engine = engine(&server, PATIENCE);
    let switch = HttpSwitch::new(
        engine.client.clone(),
        &format!("{}/", server.url),
        Some("secret".into()),
    );
    let idle = Idle {
        status_url: None,
        token: None,
        metrics_url: format!("{}/metrics", server.url),
        gauges: vec!["mine".into()],
        settle: Duration::ZERO,
        limit: PATIENCE,
    };
    let session = Session {
        engine: &engine,
        switch: Some(&switch),
        idle: &idle,
        policies: ["a", "b", "c"].map(String::from).into(),
        streams: [4, 5].map(three_requests).into(),
        warm_up: 1,
    };
    let measured = session.run(&mut |_| {}).await;
    assert!(measured.ended_by.is_none() && !measured.only_rested);
    let orders = [4, 5].map(|seed| order(&session.policies, seed)).concat();
    let ran: Vec<&str> = measured.runs.iter().map(|r| r.policy.as_str()).collect();
    assert_eq!(ran, orders);
    let asked = server.inner.policies.lock().unwrap();
    let asked: Vec<&str> = asked
        .iter()
        .map(|(body, token)| {
            assert_eq!(token.as_deref(), Some("secret"));
            body["policy"].as_str().unwrap()
        })
        .collect();
    assert_eq!(asked, orders);
    // Each run: one to warm up and three that count, no two of all with one prompt.
    let bodies = server.inner.bodies.lock().unwrap();
    let mut prompts: Vec<String> = bodies
        .iter()
        .map(|(b, _)| b["prompt"].to_string())
        .collect();
    prompts.sort();
    prompts.dedup();
    assert_eq!((bodies.len(), prompts.len()), (24, 24));
    let mut lengths = BTreeMap::new();
    for run in &measured.runs {
        let same = run
            .run
            .records
            .iter()
            .map(|r| (r.id, r.intended_ns, r.prompt_tokens));
        let same: Vec<_> = same.collect();
        assert_eq!(
            lengths.entry(run.seed).or_insert_with(|| same.clone()),
            &same
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_the_server_does_not_know_ends_the_session() {
    let server = Server::start([]).await;
    let engine = engine(&server, PATIENCE);
    let switch = HttpSwitch::new(engine.client.clone(), &server.url, None);
    let idle = Idle {
        status_url: None,
        token: None,
        metrics_url: "http://127.0.0.1:1/metrics".into(),
        gauges: Vec::new(),
        settle: Duration::ZERO,
        limit: PATIENCE,
    };
    let session = Session {
        engine: &engine,
        switch: Some(&switch),
        idle: &idle,
        policies: vec!["unknown".into()],
        streams: vec![three_requests(0)],
        warm_up: 0,
    };
    let measured = session.run(&mut |_| {}).await;
    let error = measured.ended_by.unwrap().to_string();
    assert!(
        error.contains("unknown") && error.contains("404"),
        "{error}"
    );
    assert!(measured.runs.is_empty());
}
