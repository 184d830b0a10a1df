//! Where logs go: standard error, a line for each event.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::telemetry::SpanLayer;

/// Options of the log.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Log")]
pub struct LogOptions {
    /// What is logged: error, warn, info, debug or trace, also by module as in info,elis_host=debug
    #[arg(
        long = "log",
        value_name = "FILTER",
        env = "ELIS_LOG",
        default_value = "info"
    )]
    pub filter: String,
    /// Log JSON, an object a line
    #[arg(long)]
    pub log_json: bool,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is none.
    #[error("the log filter {filter:?} is not valid: {cause}")]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Somebody was first.
    #[error("a log is set up already")]
    Twice,
}

impl LogOptions {
    /// Sets up the log of this process, and beside it what makes traces of it.
    ///
    /// # Errors
    ///
    /// [`LogError`]: the filter is wrong, or a log is set up already.
    pub fn install(&self, traces: Option<SpanLayer>) -> Result<(), LogError> {
        let filter = EnvFilter::try_new(&self.filter).map_err(|error| LogError::Filter {
            filter: self.filter.clone(),
            cause: error.to_string(),
        })?;
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(io::stderr().is_terminal())
            .with_writer(io::stderr);
        let registry = tracing_subscriber::registry().with(traces.map(SpanLayer::filtered));
        let done = if self.log_json {
            let json = lines.json().flatten_event(true).with_current_span(false);
            let json = json.with_span_list(false);
            registry.with(json.with_filter(filter)).try_init()
        } else {
            registry.with(lines.with_filter(filter)).try_init()
        };
        done.map_err(|_| LogError::Twice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_filter_is_said_to_be_one() {
        let options = LogOptions {
            filter: "elis=loud".to_owned(),
            log_json: false,
        };
        let error = options.install(None).unwrap_err().to_string();
        assert!(error.contains("elis=loud"), "{error}");
    }
}
