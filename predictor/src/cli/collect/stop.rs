//! Being asked to stop, by Ctrl-C or a termination.

use std::time::Duration;

use tokio::sync::watch;

/// Whether somebody asked, and how often; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    asked: watch::Sender<u32>,
}

impl Stop {
    /// Nobody has asked yet.
    pub(crate) fn new() -> Self {
        let (asked, _) = watch::channel(0);
        Self { asked }
    }

    /// Somebody asks.
    pub(crate) fn ask(&self) {
        self.asked.send_modify(|times| *times += 1);
    }

    /// Whether somebody has asked.
    pub(crate) fn is_asked(&self) -> bool {
        *self.asked.borrow() > 0
    }

    /// Resolves once somebody has asked so many times.
    pub(crate) async fn asked(&self, times: u32) {
        let mut seen = self.asked.subscribe();
        // It cannot close while `self` holds the sender.
        let _ = seen.wait_for(|&now| now >= times).await;
    }

    /// Resolves after a while, or earlier if somebody asks.
    pub(crate) async fn or_after(&self, wait: Duration) {
        tokio::select! {
            () = self.asked(1) => {}
            () = tokio::time::sleep(wait) => {}
        }
    }

    /// Turns signals into asking, for as long as it is polled.
    pub(crate) async fn listen(&self) {
        loop {
            if signal().await.is_err() {
                // Without signals the program ends as any other does, which loses at most a line.
                std::future::pending::<()>().await;
            }
            self.ask();
        }
    }
}

#[cfg(unix)]
async fn signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut end = signal(SignalKind::terminate())?;
    tokio::select! {
        done = tokio::signal::ctrl_c() => done,
        _ = end.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_when_somebody_asks() {
        let stop = Stop::new();
        assert!(!stop.is_asked());
        let asker = stop.clone();
        tokio::join!(stop.or_after(Duration::from_secs(3600)), async {
            asker.ask();
        });
        assert!(stop.is_asked());
        stop.asked(1).await;
        stop.ask();
        stop.asked(2).await;
    }
}
