//! A policy for a share of the workers: how an operator begins and ends that.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::error::PolicyError;
use super::{Policies, workshop};
use crate::engine::deck::{CanaryReport, Order, Refusal, Trial};
use crate::shelf::{Choice, Digest};

/// The longest that a canary is given; beyond it nobody remembers what it was for.
const LASTS_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

impl Policies {
    /// Lets a stored policy decide for a share of the workers.
    ///
    /// # Errors
    ///
    /// Why not. Nothing is changed then.
    pub fn canary(&self, digest: Digest, trial: Trial, who: &str) -> Result<(), PolicyError> {
        let begun = self.try_canary(digest, trial);
        self.audit(who, "canary", Some(digest), &begun);
        begun
    }

    fn try_canary(&self, digest: Digest, trial: Trial) -> Result<(), PolicyError> {
        check(&trial)?;
        let (begin, workshop) = (Instant::now(), &self.0.workshop);
        let epoch = self.meant(trial.epoch)?;
        if self.0.workers < 2 {
            return Err(PolicyError::OneWorker);
        }
        let policy = workshop.load(digest)?;
        workshop::trial(&policy, &trial.config, &self.recent()?)?;
        let choice = Choice {
            digest,
            config: trial.config.clone(),
        };
        let seat = Box::new(workshop.seat(&policy, choice)?);
        let prepared = begin.elapsed();
        workshop.board.prepared.observe(prepared.as_secs_f64());
        let (reply, answer) = channel();
        self.send(Order::Canary {
            seat,
            trial,
            epoch,
            reply,
        })?;
        let begun = answer.recv().map_err(|_| PolicyError::Gone)?;
        begun.map_err(|refusal| refusal.error(epoch))
    }

    /// Ends the canary: it becomes the live policy, or the live one decides everywhere again.
    ///
    /// # Errors
    ///
    /// None is under way.
    pub fn end_canary(&self, promote: bool, who: &str) -> Result<(), PolicyError> {
        let (reply, answer) = channel();
        let ended = self
            .send(Order::EndCanary { promote, reply })
            .and_then(|()| answer.recv().map_err(|_| PolicyError::Gone))
            .and_then(|ended| ended.map_err(|refusal| refusal.error(0)));
        let digest = self.last_canary().map(|canary| canary.choice.digest);
        let action = if promote {
            "promote canary"
        } else {
            "end canary"
        };
        let digest = digest.filter(|_| ended.is_ok());
        self.audit(who, action, digest, &ended);
        ended
    }

    /// The canary under way, or the last one.
    pub fn last_canary(&self) -> Option<CanaryReport> {
        let standing = self.0.workshop.board.standing()?;
        standing.canary.map(|run| run.report())
    }
}

fn check(trial: &Trial) -> Result<(), PolicyError> {
    let guard = &trial.guard;
    if !(trial.share > 0.0 && trial.share < 1.0) {
        return Err(PolicyError::Range(
            "the share of workers must be above 0 and below 1",
        ));
    }
    if !(guard.max_error_rate >= 0.0 && guard.max_error_rate <= 1.0) {
        return Err(PolicyError::Range(
            "the allowed error rate must be between 0 and 1",
        ));
    }
    let limit = guard.max_p99_ttft_ms.unwrap_or(1.0);
    if !(limit > 0.0 && limit.is_finite()) {
        return Err(PolicyError::Range("the allowed p99 TTFT must be above 0"));
    }
    if trial.lasts > LASTS_MAX {
        return Err(PolicyError::Range("a canary lasts 30 days at most"));
    }
    Ok(())
}

impl Refusal {
    /// What an operator is told whose wish was meant for the epoch `given`.
    pub(super) fn error(self, given: u64) -> PolicyError {
        match self {
            Self::Epoch(current) => PolicyError::Epoch { given, current },
            Self::NoneBefore => PolicyError::NoneBefore,
            Self::State(error) => PolicyError::State(error.to_string()),
            Self::StateBytes(bytes) => PolicyError::State(format!(
                "it has {bytes} bytes and may have {}",
                crate::engine::deck::STATE_BYTES_MAX
            )),
            Self::Canary => PolicyError::CanaryUnderWay,
            Self::NoCanary => PolicyError::NoCanary,
            Self::OneWorker => PolicyError::OneWorker,
        }
    }
}
