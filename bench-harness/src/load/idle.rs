//! Waiting until a server has nothing to do, so that one run leaves nothing to the next.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::client::Client;

/// Gauges of requests that common servers have, running and waiting; all that are there must be 0.
pub const GAUGES: [&str; 10] = [
    "elis_requests_running",
    "elis_requests_waiting",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "sglang:num_running_reqs",
    "sglang:num_queue_reqs",
    "tgi_batch_current_size",
    "tgi_queue_size",
    "llamacpp:requests_processing",
    "llamacpp:requests_deferred",
];
/// Between two looks at the gauges.
const EVERY: Duration = Duration::from_millis(100);

/// How a server is found to be idle.
#[derive(Debug, Clone)]
pub struct Idle {
    /// Where it tells its requests as JSON with `running` and `waiting`, as Elis does; asked first.
    pub status_url: Option<String>,
    /// Token for that.
    pub token: Option<String>,
    /// Where its Prometheus metrics are.
    pub metrics_url: String,
    /// Names of further gauges that must be 0.
    pub gauges: Vec<String>,
    /// How long to rest in any case, after the gauges are 0 or where there are none.
    pub settle: Duration,
    /// How long to wait at most.
    pub limit: Duration,
}

/// How it is known that the server was idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It said so: its status or its gauges were 0.
    Told,
    /// It says nothing that is known; all that was sent was answered, and some time went by.
    Rested,
}

/// The server does not come to rest.
#[derive(Debug, thiserror::Error)]
#[error(
    "the server still has {busy} requests after {waited_s:.0} s; wait longer with --idle-timeout, \
     or see what else uses it"
)]
pub struct BusyError {
    busy: f64,
    waited_s: f64,
}

impl Idle {
    /// Waits.
    ///
    /// # Errors
    /// The gauges do not come to 0 in time.
    pub async fn wait(&self, client: &Client) -> Result<Seen, BusyError> {
        let start = Instant::now();
        let seen = loop {
            let Some(busy) = self.busy(client).await else {
                break Seen::Rested;
            };
            if busy == 0.0 {
                break Seen::Told;
            }
            if start.elapsed() >= self.limit {
                let waited_s = start.elapsed().as_secs_f64();
                return Err(BusyError { busy, waited_s });
            }
            sleep(EVERY).await;
        };
        sleep(self.settle).await;
        Ok(seen)
    }

    /// Requests at the server, where it says.
    async fn busy(&self, client: &Client) -> Option<f64> {
        if let Some(url) = &self.status_url
            && let Ok(text) = client.text(url, self.token.as_deref()).await
            && let Some(busy) = unfinished(&text)
        {
            return Some(busy);
        }
        let key = client.target().api_key.as_deref();
        let text = client.text(&self.metrics_url, key).await.ok()?;
        let named = |name: &str| GAUGES.contains(&name) || self.gauges.iter().any(|g| g == name);
        sum_of_gauges(&text, named)
    }
}

/// Requests in a status of Elis.
fn unfinished(text: &str) -> Option<f64> {
    let status: Status = serde_json::from_str(text).ok()?;
    Some((status.running + status.waiting) as f64)
}

#[derive(Debug, Deserialize)]
struct Status {
    running: u64,
    waiting: u64,
}

/// Sum of the samples of some metrics in the text format of Prometheus; none where there is none.
fn sum_of_gauges(text: &str, named: impl Fn(&str) -> bool) -> Option<f64> {
    let samples = text.lines().filter_map(|line| {
        let end = line.find(['{', ' '])?;
        let (name, rest) = line.split_at(end);
        let value = match rest.rsplit_once('}') {
            Some((_, value)) => value,
            None => rest,
        };
        let value = value.split_whitespace().next()?.parse::<f64>().ok()?;
        named(name).then_some(value)
    });
    samples.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_tells_what_runs_and_what_waits() {
        let status = r#"{"waiting": 3, "running": 2, "policy": "p", "ready": true}"#;
        assert_eq!(unfinished(status), Some(5.0));
        assert_eq!(unfinished("{}"), None);
    }

    #[test]
    fn gauges_are_added_up_over_their_labels() {
        let text = "# HELP vllm:num_requests_running Running\n\
                    # TYPE vllm:num_requests_running gauge\n\
                    vllm:num_requests_running{model=\"a } b\"} 2.0\n\
                    vllm:num_requests_running{model=\"b\"} 1 1700000000000\n\
                    vllm:num_requests_waiting 0\n\
                    vllm:num_requests_running_total 99\n";
        let named = |name: &str| GAUGES.contains(&name);
        assert_eq!(sum_of_gauges(text, named), Some(3.0));
        assert_eq!(sum_of_gauges("process_cpu_seconds_total 1", named), None);
        assert_eq!(sum_of_gauges("mine 4", |name| name == "mine"), Some(4.0));
    }
}
