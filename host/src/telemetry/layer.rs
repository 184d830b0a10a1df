//! Events of the log that become spans.

use std::sync::mpsc::SyncSender;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::export::Order;
use super::span::{Kind, Span};
use super::{DECISION, REQUEST};

/// Makes spans of events.
#[derive(Debug)]
pub struct SpanLayer {
    spans: SyncSender<Order>,
    decisions: bool,
}

impl SpanLayer {
    pub(super) fn new(spans: SyncSender<Order>, decisions: bool) -> Self {
        Self { spans, decisions }
    }

    /// The same, which hears of nothing but what becomes a span, whatever the log's filter says.
    pub(crate) fn filtered<S>(self) -> impl Layer<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let decisions = self.decisions;
        let wanted = move |metadata: &Metadata<'_>| {
            metadata.name() == REQUEST || (decisions && metadata.name() == DECISION)
        };
        Layer::<S>::with_filter(self, filter_fn(wanted))
    }
}

impl<S: Subscriber> Layer<S> for SpanLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let end_ns = now.map_or(0, |now| now.as_nanos() as u64);
        let span = match event.metadata().name() {
            REQUEST => request(&fields.0, end_ns),
            DECISION => Some(decision(&fields.0, end_ns)),
            _ => None,
        };
        if let Some(span) = span {
            // Nobody waits for a collector: what it is too slow for is dropped.
            let _ = self.spans.try_send(Order::Span(span));
        }
    }
}

/// The fields of an event.
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0
            .insert(field.name().to_owned(), format!("{value:?}").into());
    }
}

fn start_ns(fields: &Map<String, Value>, end_ns: u64) -> u64 {
    let ms = fields.get("duration_ms").and_then(Value::as_f64);
    end_ns.saturating_sub((ms.unwrap_or(0.0) * 1e6) as u64)
}

/// The span of a request to generate, by the semantic conventions for generative AI.
fn request(fields: &Map<String, Value>, end_ns: u64) -> Option<Span> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let operation = match text("path")? {
        "/v1/chat/completions" => "chat",
        "/v1/completions" => "text_completion",
        _ => return None,
    };
    let mut attributes = vec![
        ("gen_ai.operation.name", json!(operation)),
        ("gen_ai.provider.name", json!("elis")),
    ];
    let names = [
        ("model", "gen_ai.request.model"),
        ("model", "gen_ai.response.model"),
        ("prompt_tokens", "gen_ai.usage.input_tokens"),
        ("completion_tokens", "gen_ai.usage.output_tokens"),
        ("status", "http.response.status_code"),
        ("tenant", "elis.tenant"),
        ("id", "elis.request.id"),
        ("stream", "elis.stream"),
    ];
    let known = names.into_iter();
    attributes.extend(known.filter_map(|(field, name)| Some((name, fields.get(field)?.clone()))));
    if let Some(ms) = fields.get("first_token_ms").and_then(Value::as_f64) {
        // As vLLM calls it; the conventions have it as a metric only. Seconds.
        attributes.push(("gen_ai.latency.time_to_first_token", json!(ms / 1e3)));
    }
    if let Some(reason @ ("stop" | "length")) = text("outcome") {
        attributes.push(("gen_ai.response.finish_reasons", json!([reason])));
    }
    let status = fields.get("status").and_then(Value::as_u64).unwrap_or(0);
    let failed = status >= 400 || fields.contains_key("error");
    if failed {
        attributes.push(("error.type", json!(status.to_string())));
    }
    let error = text("error").or_else(|| text("outcome")).filter(|_| failed);
    let (trace_id, parent) = caller(text("traceparent").unwrap_or_default());
    let model = text("model").map_or_else(String::new, |model| format!(" {model}"));
    Some(Span {
        trace_id,
        parent,
        name: format!("{operation}{model}"),
        kind: Kind::Server,
        start_ns: start_ns(fields, end_ns),
        end_ns,
        attributes,
        error: error.map(str::to_owned),
    })
}

/// The trace and the span of the caller, from a `traceparent` of the W3C; else a new trace.
fn caller(traceparent: &str) -> (u128, Option<u64>) {
    let mut parts = traceparent.split('-').skip(1);
    let trace = parts.next().filter(|id| id.len() == 32);
    let span = parts.next().filter(|id| id.len() == 16);
    let trace = trace.and_then(|id| u128::from_str_radix(id, 16).ok());
    let span = span.and_then(|id| u64::from_str_radix(id, 16).ok());
    match (trace, span) {
        (Some(trace @ 1..), Some(span @ 1..)) => (trace, Some(span)),
        _ => (rand::random_range(1..=u128::MAX), None),
    }
}

/// The span of a decision, a trace of its own: it is about many requests.
fn decision(fields: &Map<String, Value>, end_ns: u64) -> Span {
    let policy = fields
        .get("policy")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let names = [
        ("policy", "elis.policy"),
        ("worker", "elis.worker"),
        ("waiting", "elis.jobs.waiting"),
        ("running", "elis.jobs.running"),
        ("outcome", "elis.decision.outcome"),
    ];
    let known = names.into_iter();
    let known = known.filter_map(|(field, name)| Some((name, fields.get(field)?.clone())));
    let outcome = fields.get("outcome").and_then(Value::as_str);
    Span {
        trace_id: rand::random_range(1..=u128::MAX),
        parent: None,
        name: format!("decide {policy}"),
        kind: Kind::Internal,
        start_ns: start_ns(fields, end_ns),
        end_ns,
        attributes: known.collect(),
        error: outcome
            .filter(|outcome| *outcome != "plan")
            .map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_known_by_its_header() {
        let (trace, parent) = caller("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert_eq!(trace, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(parent, Some(0xb7ad_6b71_6920_3331));
        for wrong in [
            "",
            "00-xyz-1-01",
            "00-00000000000000000000000000000000-0000000000000000-01",
        ] {
            assert_eq!(caller(wrong).1, None, "{wrong}");
        }
    }

    #[test]
    fn only_requests_to_generate_are_spans() {
        let fields = |json: Value| json.as_object().cloned().unwrap();
        let models = fields(json!({"path": "/v1/models", "status": 200}));
        assert_eq!(request(&models, 5), None);
        let refused = fields(json!({
            "path": "/v1/completions", "status": 429, "outcome": "error",
            "error": "the queue is full",
            "duration_ms": 2.0,
        }));
        let span = request(&refused, 5_000_000).unwrap();
        assert_eq!(
            (span.start_ns, span.name.as_str()),
            (3_000_000, "text_completion")
        );
        assert_eq!(span.error.as_deref(), Some("the queue is full"));
        assert!(span.attributes.contains(&("error.type", json!("429"))));
    }
}
