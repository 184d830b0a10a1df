//! The server's life: bound, serving, draining, gone.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::engine::SharedEngine;

use super::connections::serve;
use super::error::ApiError;
use super::keys::{Keys, KeysError};
use super::limits::Limits;
use super::options::ServerOptions;
use super::router;
use super::template::ChatTemplate;

/// How long connections have to send what is on its way when all is over.
const GOODBYE: Duration = Duration::from_secs(2);
/// Longer prompts are encoded on a thread of their own.
const INLINE_BYTES_MAX: usize = 16 << 10;

/// Why the server does not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A port cannot be had.
    #[error(
        "cannot listen on {address}: {cause}; is another server there? choose another {option}"
    )]
    Bind {
        /// As asked for.
        address: SocketAddr,
        /// The option that names the port.
        option: &'static str,
        /// What went wrong.
        cause: io::Error,
    },
    /// Everybody could change the policy.
    #[error(
        "the admin API would be open to everybody who reaches {0}; give it an --admin-token, or \
         leave --admin-host on loopback"
    )]
    OpenAdmin(SocketAddr),
    /// The keys cannot be had.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// An origin cannot be one.
    #[error("{0:?} is not a web origin; write it as in https://chat.example.org")]
    Origin(String),
    /// A task of ours is gone, which is a mistake of ours.
    #[error("the server broke down; its log says more")]
    Broken,
}

/// How serving came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All responses were finished.
    Drained,
    /// Some were cut off, since they took longer than the drain may or a second stop came.
    CutOff,
}

/// Where the server stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Serving,
    /// Takes no requests; those that are there go on.
    Draining,
    /// Those that are there end now.
    Stopping,
}

/// What handlers share.
pub(super) struct App {
    pub(super) engine: SharedEngine,
    pub(super) options: ServerOptions,
    pub(super) keys: Keys,
    pub(super) operators: Keys,
    pub(super) template: ChatTemplate,
    pub(super) phase: watch::Receiver<Phase>,
}

pub(super) type Shared = Arc<App>;

impl App {
    /// What bounds a response.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            context_tokens: self.engine.model().context_tokens,
            response_tokens_max: self.options.max_response_tokens,
            retry_after_s: self.options.retry_after_s,
        }
    }
}

/// The tokens of a prompt. Names of special tokens in it count as these, as everywhere, and what
/// the model wants in front is there.
pub(super) async fn encode(
    app: &App,
    text: String,
    param: &'static str,
) -> Result<Vec<u32>, ApiError> {
    let vocabulary = app.engine.model().vocabulary.clone();
    let encoded = if text.len() <= INLINE_BYTES_MAX {
        vocabulary.prompt(&text)
    } else {
        let work = tokio::task::spawn_blocking(move || vocabulary.prompt(&text));
        match work.await {
            Ok(encoded) => encoded,
            Err(error) => return Err(ApiError::field(param, format!("not encoded: {error}"))),
        }
    };
    encoded.map_err(|error| ApiError::field(param, error.to_string()))
}

/// A server that has its ports and does not answer yet.
#[derive(Debug)]
pub struct Server {
    public: Bound,
    admin: Option<Bound>,
    engine: SharedEngineDebug,
    drain_timeout: Duration,
    phase: watch::Sender<Phase>,
}

#[derive(Debug)]
struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
}

/// The engine says nothing of itself.
struct SharedEngineDebug(SharedEngine);

impl std::fmt::Debug for SharedEngineDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

impl Bound {
    async fn new(
        address: SocketAddr,
        option: &'static str,
        router: Router,
    ) -> Result<Self, ServeError> {
        let failed = |cause| ServeError::Bind {
            address,
            option,
            cause,
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        Ok(Self {
            address: listener.local_addr().map_err(failed)?,
            listener,
            router,
        })
    }
}

impl Server {
    /// Takes the ports. From here on connections wait, and from [`Self::run`] on they are answered.
    ///
    /// # Errors
    ///
    /// [`ServeError`] with what to do about it.
    pub async fn bind(engine: SharedEngine, options: ServerOptions) -> Result<Self, ServeError> {
        let (phase, seen) = watch::channel(Phase::Serving);
        let template = ChatTemplate::new(engine.model());
        if let Some(error) = template.error() {
            tracing::warn!(
                error,
                "the model's chat template cannot be used; chat will be refused"
            );
        }
        let app = Arc::new(App {
            keys: Keys::new(&options)?,
            operators: Keys::of_operators(&options)?,
            template,
            engine: engine.clone(),
            phase: seen,
            options,
        });
        let options = &app.options;
        let address = SocketAddr::new(options.host, options.port);
        let admin_address = SocketAddr::new(options.admin_host, options.admin_port);
        let open = app.operators.is_empty() && !options.admin_host.is_loopback();
        if open && !options.no_admin {
            return Err(ServeError::OpenAdmin(admin_address));
        }
        if app.keys.is_empty() && !options.host.is_loopback() {
            tracing::warn!(%address, "there are no API keys: everybody who reaches it may ask");
        }
        let public = Bound::new(address, "--port", router::public(&app)?).await?;
        let admin = if options.no_admin {
            None
        } else {
            let operator = router::operator(&app);
            Some(Bound::new(admin_address, "--admin-port", operator).await?)
        };
        Ok(Self {
            public,
            admin,
            engine: SharedEngineDebug(engine),
            drain_timeout: Duration::from_secs(options.drain_timeout_s),
            phase,
        })
    }

    /// Where clients find it.
    pub fn address(&self) -> SocketAddr {
        self.public.address
    }

    /// Where the operator finds it.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.address)
    }

    /// Serves until `stops` says stop, then lets responses finish within the drain timeout. While
    /// it drains, new requests get 503 and `/ready` says so. A second stop ends it at once.
    ///
    /// # Errors
    ///
    /// [`ServeError::Broken`], which would be a mistake of ours.
    pub async fn run(self, mut stops: mpsc::UnboundedReceiver<()>) -> Result<Ending, ServeError> {
        let (close, closed) = watch::channel(false);
        let mut servers = JoinSet::new();
        for bound in [Some(self.public), self.admin].into_iter().flatten() {
            servers.spawn(serve(bound.listener, bound.router, closed.clone()));
        }
        tokio::select! {
            () = stop(&mut stops) => {}
            _ = servers.join_next() => return Err(ServeError::Broken),
        }
        tracing::info!("no more requests are taken; waiting for responses to finish");
        self.phase.send_replace(Phase::Draining);
        let ending = tokio::select! {
            biased;
            () = self.engine.0.drain() => Ending::Drained,
            () = stop(&mut stops) => Ending::CutOff,
            () = tokio::time::sleep(self.drain_timeout) => Ending::CutOff,
        };
        if ending == Ending::CutOff {
            tracing::warn!("responses are cut off");
            self.phase.send_replace(Phase::Stopping);
        }
        close.send_replace(true);
        let all = async { while servers.join_next().await.is_some() {} };
        if timeout(GOODBYE, all).await.is_err() {
            tracing::warn!("clients did not close their connections");
        }
        Ok(ending)
    }
}

/// The next stop; never if nobody can send one.
async fn stop(stops: &mut mpsc::UnboundedReceiver<()>) {
    if stops.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

/// A stop for each SIGTERM and SIGINT that comes from now on.
///
/// # Errors
///
/// If the system does not let us listen to them.
pub fn on_signals() -> io::Result<mpsc::UnboundedReceiver<()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, stops) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stop.send(()).is_err() {
                break;
            }
        }
    });
    Ok(stops)
}
