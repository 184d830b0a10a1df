//! The thread that sends spans to a collector.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::str::FromStr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::span::{Span, body};

/// Spans that wait at most; a decision's takes half a kilobyte.
const WAITING_MAX: usize = 8192;
/// Spans in one request.
const BATCH_MAX: usize = 512;
/// How long a span waits for others.
const GATHER: Duration = Duration::from_millis(500);
/// How long a collector may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a collector is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
    path: String,
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Not `http`.
    #[error(
        "write it as http://HOST:PORT; for https put a collector on this machine, which sends on"
    )]
    Scheme,
    /// No host or a wrong port.
    #[error("write it as http://HOST:PORT, as in http://127.0.0.1:4318")]
    Address,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("http://").ok_or(EndpointError::Scheme)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = match authority.rsplit_once(':') {
            // Not the colons of an IPv6 address without a port.
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| EndpointError::Address)?)
            }
            _ => (authority, 4318),
        };
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(EndpointError::Address);
        }
        if path.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(EndpointError::Address);
        }
        let base = path.trim_end_matches('/');
        let slash = if base.is_empty() { "" } else { "/" };
        Ok(Self {
            host: host.to_owned(),
            port,
            path: format!("{slash}{base}/v1/traces"),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}{}", self.host, self.port, self.path)
    }
}

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Order {
    Span(Span),
    /// Send what there is, and say so.
    Flush(SyncSender<()>),
}

/// The thread.
#[derive(Debug)]
pub(super) struct Exporter(SyncSender<Order>);

impl Exporter {
    pub(super) fn start(endpoint: Endpoint) -> io::Result<Self> {
        let (sender, orders) = sync_channel(WAITING_MAX);
        let thread = thread::Builder::new().name("elis-traces".to_owned());
        thread.spawn(move || run(&endpoint, &orders))?;
        Ok(Self(sender))
    }

    pub(super) fn sender(&self) -> SyncSender<Order> {
        self.0.clone()
    }

    /// Waits until all is sent, or for so long.
    pub(super) fn flush(&self, patience: Duration) {
        let (done, wait) = sync_channel(1);
        if self.0.try_send(Order::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(patience);
        }
    }
}

fn run(endpoint: &Endpoint, orders: &Receiver<Order>) {
    let mut failing = false;
    // Until all who could send are gone.
    while let Ok(first) = orders.recv() {
        let (spans, flushed) = gather(first, orders);
        if !spans.is_empty() {
            let sent = post(endpoint, &body(&spans).to_string());
            match (&sent, failing) {
                (Err(error), false) => {
                    let lost = spans.len();
                    tracing::warn!(%endpoint, %error, lost, "the collector takes no spans");
                }
                (Ok(()), true) => tracing::info!(%endpoint, "the collector takes spans again"),
                _ => {}
            }
            failing = sent.is_err();
        }
        for done in flushed {
            let _ = done.send(());
        }
    }
}

/// Spans that come soon after one another, and who waits for them to be sent.
fn gather(first: Order, orders: &Receiver<Order>) -> (Vec<Span>, Vec<SyncSender<()>>) {
    let (mut spans, mut flushed) = (Vec::new(), Vec::new());
    let due = Instant::now() + GATHER;
    let mut next = Ok(first);
    loop {
        match next {
            Ok(Order::Span(span)) => spans.push(span),
            Ok(Order::Flush(done)) => flushed.push(done),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
        if spans.len() >= BATCH_MAX || !flushed.is_empty() {
            break;
        }
        next = orders.recv_timeout(due.saturating_duration_since(Instant::now()));
    }
    (spans, flushed)
}

/// One request of HTTP/1.1, on a connection of its own: twice a second at most.
fn post(endpoint: &Endpoint, json: &str) -> io::Result<()> {
    let host = endpoint.host.trim_start_matches('[').trim_end_matches(']');
    let mut addresses = (host, endpoint.port).to_socket_addrs()?;
    let address = addresses.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let (path, host, port) = (&endpoint.path, &endpoint.host, endpoint.port);
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{json}",
        json.len()
    )?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    // `HTTP/1.1 200`
    if head.starts_with(b"HTTP/1.") && head[9] == b'2' {
        return Ok(());
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    Err(io::Error::other(format!("it answered {head}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_bases_of_paths() {
        let shown = |text: &str| {
            text.parse::<Endpoint>()
                .map(|endpoint| endpoint.to_string())
        };
        for (text, url) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://collector", "http://collector:4318/v1/traces"),
            ("http://[::1]", "http://[::1]:4318/v1/traces"),
            ("http://[::1]:80/base/", "http://[::1]:80/base/v1/traces"),
        ] {
            assert_eq!(shown(text).unwrap(), url);
        }
        assert_eq!(shown("https://x"), Err(EndpointError::Scheme));
        for wrong in ["http://", "http://x:y", "http://a b", "http://x/a\r\nb"] {
            assert_eq!(shown(wrong), Err(EndpointError::Address), "{wrong}");
        }
    }
}
