//! A response that is being generated, with everything that can end it early.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::engine::{Event, GenerateError, GenerateRequest, Generation};

use super::error::ApiError;
use super::record::SharedRecord;
use super::server::{App, Phase};

/// Dropping it tells the engine that nobody listens any more.
#[derive(Debug)]
pub(super) struct Running {
    generation: Generation,
    deadline: Option<Instant>,
    phase: watch::Receiver<Phase>,
    record: SharedRecord,
    param: &'static str,
    retry_after_s: u64,
}

impl Running {
    /// Submits a request. It is refused without a look at it while the server is on its way out.
    pub(super) async fn start(
        app: &App,
        request: GenerateRequest,
        param: &'static str,
        record: SharedRecord,
    ) -> Result<Self, ApiError> {
        let retry_after_s = app.options.retry_after_s;
        let refused = |error| ApiError::of_engine(&error, param, retry_after_s);
        if *app.phase.borrow() != Phase::Serving {
            return Err(refused(GenerateError::Draining));
        }
        let limit = app.options.request_timeout_s;
        let deadline = (limit > 0).then(|| Instant::now() + Duration::from_secs(limit));
        let submission = app.engine.submit(request);
        let submitted = tokio::select! {
            biased;
            submitted = submission => submitted,
            () = passed(deadline) => Err(GenerateError::TimedOut),
        };
        Ok(Self {
            generation: submitted.map_err(refused)?,
            deadline,
            phase: app.phase.clone(),
            record,
            param,
            retry_after_s,
        })
    }

    /// What happens next. An error is the end, and so is [`Event::Finished`].
    pub(super) async fn next(&mut self) -> Result<Event, ApiError> {
        let event = tokio::select! {
            // What is there already is given out, whatever else happens.
            biased;
            event = self.generation.events.recv() => event.unwrap_or_else(broken_off),
            () = passed(self.deadline) => Event::Failed(GenerateError::TimedOut),
            () = stopping(&mut self.phase) => {
                let message = "the server is shutting down and could not finish the response";
                return Err(self.ended(ApiError::draining(message, self.retry_after_s)));
            }
        };
        match &event {
            Event::Token { .. } => {
                self.record.count_token();
            }
            Event::Finished {
                reason,
                completion_tokens,
                ..
            } => {
                self.record.set_tokens(*completion_tokens);
                let reason = super::answer::reason(*reason);
                self.record.note(|facts| facts.finish_reason = Some(reason));
            }
            Event::Failed(error) => {
                let error = ApiError::of_engine(error, self.param, self.retry_after_s);
                return Err(self.ended(error));
            }
        }
        Ok(event)
    }

    fn ended(&self, error: ApiError) -> ApiError {
        let message = error.message().to_owned();
        self.record.note(|facts| facts.error = Some(message));
        error
    }
}

fn broken_off() -> Event {
    let message = "the response broke off";
    Event::Failed(GenerateError::Worker(message.to_owned()))
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn stopping(phase: &mut watch::Receiver<Phase>) {
    let _ = phase.wait_for(|&phase| phase == Phase::Stopping).await;
}
