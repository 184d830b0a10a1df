//! What a report says of measured runs only: how the client and the server fared.

use std::collections::BTreeMap;

use super::document::Document;
use super::page::{PageTable, strings};
use super::text::{count, number, percent, tame};
use crate::metrics::{ClientSide, PolicyResult};

/// From this lag on, at the 99th percentile, a reader must know that the stream was not kept.
const LATE_MS: f64 = 10.0;
/// Kinds of errors that are listed for a policy.
const KINDS: usize = 12;

/// Rates and errors of each policy.
pub(super) fn rates(document: &Document) -> PageTable {
    let row = |(result, client): (&PolicyResult, &ClientSide)| {
        vec![
            tame(&result.policy, 40),
            number(result.throughput_rps),
            number(result.output_tokens_per_s),
            percent(result.goodput.share),
            format!(
                "{} / {} / {}",
                count(result.completed),
                count(result.rejected),
                count(result.lost)
            ),
            listed(&client.errors),
            count(client.in_flight_max),
            count(client.held_back),
            number(client.send_lag_ms.p50),
            number(client.send_lag_ms.p99),
            number(client.send_lag_ms.max),
            percent(result.overtaken_share),
        ]
    };
    PageTable {
        title: "Rates, errors and the client".into(),
        caption: "Rates are per second from the first intended start to the last answer. Refused: \
                  4xx or 503; failed: all else that did not complete. Send lag: actual − intended \
                  sending, milliseconds; it is part of all latencies."
            .into(),
        head: strings([
            "policy",
            "req/s",
            "tokens/s",
            "goodput",
            "done / refused / failed",
            "errors",
            "most in flight",
            "held back",
            "lag p50",
            "p99",
            "max",
            "overtaken",
        ]),
        rows: clients(document).map(row).collect(),
    }
}

/// What a reader of measured figures must know; empty where nothing was out of order.
pub fn notes(policy: &str, client: &ClientSide) -> Vec<String> {
    let name = tame(policy, 40);
    let mut notes = Vec::new();
    if !client.errors.is_empty() {
        notes.push(format!("{name}: errors: {}", listed(&client.errors)));
    }
    if let Some(p99) = client.send_lag_ms.p99.filter(|p99| *p99 > LATE_MS) {
        notes.push(format!(
            "{name}: 1 in 100 requests was sent {} ms or more after its time; latencies hold, \
             since they count from the intended start, but the server saw another stream",
            number(Some(p99))
        ));
    }
    let mut add = |n: u64, what: &str| {
        if n > 0 {
            notes.push(format!("{name}: {} {what}", count(n)));
        }
    };
    add(
        client.held_back,
        "requests waited for --max-requests-in-flight, from their intended start on",
    );
    add(
        client.counted_by_chunks,
        "responses came without usage, so their tokens are counted by chunks",
    );
    add(
        client.shorter_than_wanted,
        "responses are shorter than the workload has them",
    );
    add(
        client.unsent,
        "requests were never sent: the run was stopped",
    );
    notes
}

/// Counts by name, the most frequent first.
pub(super) fn listed(counts: &BTreeMap<String, u64>) -> String {
    let mut sorted: Vec<(&String, &u64)> = counts.iter().collect();
    sorted.sort_by_key(|(name, n)| (std::cmp::Reverse(**n), *name));
    let more = sorted.len().saturating_sub(KINDS);
    let mut parts: Vec<String> = sorted
        .into_iter()
        .take(KINDS)
        .map(|(name, n)| format!("{} {}", tame(name, 40), count(*n)))
        .collect();
    if more > 0 {
        parts.push(format!("and {more} kinds more"));
    }
    if parts.is_empty() {
        return super::text::NONE.into();
    }
    parts.join(", ")
}

/// The policies with what their client saw.
fn clients(document: &Document) -> impl Iterator<Item = (&PolicyResult, &ClientSide)> {
    document
        .results
        .iter()
        .filter_map(|result| Some((result, result.client.as_ref()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Distribution;

    #[test]
    fn notes_are_written_only_where_something_was_out_of_order() {
        let mut client = ClientSide {
            send_lag_ms: Distribution {
                p99: Some(0.9),
                ..Distribution::default()
            },
            ..ClientSide::default()
        };
        assert!(notes("p", &client).is_empty());
        client.send_lag_ms.p99 = Some(55.0);
        client.errors = [("timeout".to_owned(), 1), ("http-429".to_owned(), 3)].into();
        client.unsent = 4;
        let notes = notes("p", &client);
        assert_eq!(notes[0], "p: errors: http-429 3, timeout 1");
        assert!(notes[1].contains("55.0 ms or more"), "{}", notes[1]);
        assert!(notes[2].starts_with("p: 4 requests were never sent"));
    }
}
