//! The record of a live server as a response: the log, as it is written.
//!
//! The server writes no file that a client names; whoever asks gets the bytes. A client that reads
//! too slowly gets a log with a gap, and the scheduler does not wait for it.

use std::convert::Infallible;
use std::io::{self, Write};
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::Sleep;

use crate::engine::Recording;

use super::admin::json;
use super::error::ApiError;
use super::server::Shared;

/// Pieces of the log that wait for the client before its writer does.
const PIECES_MAX: usize = 16;

/// The longest recording: a day.
const FOR_MS_MAX: u64 = 86_400_000;

#[derive(Debug, Deserialize)]
#[serde(expecting = "a JSON object")]
struct Wish {
    /// For how long.
    for_ms: u64,
}

/// Records until the time is over or the client has gone.
pub(super) async fn record(
    State(app): State<Shared>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let Wish { for_ms } = json(&headers, body).await?;
    if !(1..=FOR_MS_MAX).contains(&for_ms) {
        let message = format!("for_ms must be between 1 and {FOR_MS_MAX}");
        return Err(ApiError::field("for_ms", message));
    }
    let (pieces, log) = mpsc::channel(PIECES_MAX);
    let out = Out {
        piece: Vec::new(),
        pieces,
    };
    let recording = app.engine.record(Box::new(out)).await;
    let refused = |reason: crate::engine::RecordingError| {
        ApiError::new(StatusCode::CONFLICT, reason.to_string()).code("record_refused")
    };
    let sending = Sending {
        recording: Some(recording.map_err(refused)?),
        over: Box::pin(tokio::time::sleep(Duration::from_millis(for_ms))),
        log,
    };
    let body = Body::from_stream(stream::unfold(sending, Sending::next));
    Ok(([(CONTENT_TYPE, "application/octet-stream")], body).into_response())
}

/// A log on its way to a client.
struct Sending {
    recording: Option<Recording>,
    over: Pin<Box<Sleep>>,
    log: mpsc::Receiver<Bytes>,
}

impl Sending {
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        loop {
            tokio::select! {
                piece = self.log.recv() => return piece.map(|piece| (Ok(piece), self)),
                // What is on its way then still comes, up to the log's end.
                () = &mut self.over, if self.recording.is_some() => self.recording = None,
            }
        }
    }
}

/// The far end, on the thread that writes the log.
struct Out {
    piece: Vec<u8>,
    pieces: mpsc::Sender<Bytes>,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = Bytes::from(std::mem::take(&mut self.piece));
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the client has gone");
        self.pieces.blocking_send(piece).map_err(gone)
    }
}
