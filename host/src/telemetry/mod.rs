//! Traces in OpenTelemetry's form, for those who ask for them: a span for each request, named as
//! the conventions for generative AI have it, and if wanted one for each decision of the policy.
//!
//! Spans are made of the log's own events, so nobody needs to know of them, and go out as OTLP over
//! HTTP in JSON, which every collector takes. What a collector is too slow for is dropped.

mod export;
mod layer;
mod span;

use std::time::Duration;

pub use export::{Endpoint, EndpointError};
pub use layer::SpanLayer;

use export::Exporter;

/// The name of the event that tells of a request.
pub(crate) const REQUEST: &str = "elis.request";
/// The name of the event that tells of a decision.
pub(crate) const DECISION: &str = "elis.decision";

/// How long the last spans may take to go out, a little more than a collector may.
const GOODBYE: Duration = Duration::from_secs(6);

/// Options of traces.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Traces")]
pub struct TraceOptions {
    /// Send a span for each request to the OpenTelemetry collector here, as in
    /// http://127.0.0.1:4318; OTLP over HTTP, in JSON
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<Endpoint>,
    /// Send a span for each decision of the policy, too
    #[arg(long, requires = "otlp_endpoint")]
    pub otlp_decisions: bool,
}

/// Spans on their way out; the last ones go when it is dropped.
#[derive(Debug)]
pub struct Traces(Exporter);

impl TraceOptions {
    /// Starts the thread that sends, and makes what collects for it, if traces are wanted.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    pub fn start(&self) -> std::io::Result<Option<(SpanLayer, Traces)>> {
        let Some(endpoint) = self.otlp_endpoint.clone() else {
            return Ok(None);
        };
        let exporter = Exporter::start(endpoint)?;
        let layer = SpanLayer::new(exporter.sender(), self.otlp_decisions);
        Ok(Some((layer, Traces(exporter))))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        self.0.flush(GOODBYE);
    }
}
