//! Connections: accepted, answered, and closed when it is time.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The longest that the head of a request may take, and that a connection may be idle.
const HEAD_MAX: Duration = Duration::from_secs(60);
/// A pause where connections cannot be accepted, mostly because files are at their limit.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers until `closed` says so, and then until the last connection is closed. Dropping it breaks
/// off those that are open.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    mut closed: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = until(&mut closed) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                // A token is a small packet that must not wait for the next one.
                let _ = stream.set_nodelay(true);
                connections.spawn(answer(stream, peer, router.clone(), closed.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Answers requests of a connection, and finishes the one that is under way when it is time.
async fn answer(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    mut closed: watch::Receiver<bool>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
    let service = WithPeer {
        inner: TowerToHyperService::new(router),
        peer,
    };
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = until(&mut closed) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// Tells handlers whose request it is.
struct WithPeer {
    inner: Inner,
    peer: SocketAddr,
}

type Inner = TowerToHyperService<Router>;

impl Service<Request<Incoming>> for WithPeer {
    type Response = <Inner as Service<Request<Incoming>>>::Response;
    type Error = <Inner as Service<Request<Incoming>>>::Error;
    type Future = <Inner as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        self.inner.call(request)
    }
}

async fn until(closed: &mut watch::Receiver<bool>) {
    let _ = closed.wait_for(|&closed| closed).await;
}
