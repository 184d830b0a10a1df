//! What a policy in shadow would make of completion times: the time since it began is recorded, and
//! its requests run in the simulator under the live policy and under the one in shadow.
//!
//! Nothing of it happens on the scheduling thread but the recording, and nothing is simulated
//! unless somebody looks.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use elis_record::Replay;
use elis_sim::hindsight::{Counterfactual, CounterfactualError, Observer, RefitError, refit};
use elis_sim::outcome::{Ending, RunOutcome};

use super::Policies;
use super::workshop::Workshop;
use crate::engine::deck::Estimate;
use crate::engine::recordings::{self, Recording};
use crate::shelf::{Choice, Digest};

/// The log that is kept in memory; what comes after is in no estimate.
const LOG_BYTES_MAX: usize = 8 << 20;
/// Who looks again this soon gets the same answer.
const KEPT: Duration = Duration::from_secs(5);

/// A log in memory that two hold.
#[derive(Debug, Clone, Default)]
struct Tape(Arc<Mutex<Vec<u8>>>);

impl Tape {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Tape {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.lock();
        if log.len() + bytes.len() > LOG_BYTES_MAX {
            // The recording ends; what there is stays, and reads as cut.
            return Err(io::ErrorKind::StorageFull.into());
        }
        log.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is recorded while a policy is in shadow.
#[derive(Debug)]
pub(super) struct Window {
    choice: Choice,
    tape: Tape,
    recording: Result<Recording, String>,
    looked: Option<Instant>,
}

impl Policies {
    /// Begins to record for a policy that has come into shadow.
    pub(super) fn open_window(&self, choice: Choice) {
        let tape = Tape::default();
        let begun = recordings::begin_blocking(&self.0.messages, Box::new(tape.clone()));
        *self.window() = Some(Window {
            choice,
            tape,
            recording: begun.map_err(|error| error.to_string()),
            looked: None,
        });
    }

    /// Records no more unless somebody is in shadow.
    pub(super) fn close_window(&self) {
        let standing = self.0.workshop.board.standing();
        if standing.is_none_or(|standing| standing.shadow.is_none()) {
            *self.window() = None;
        }
    }

    fn window(&self) -> MutexGuard<'_, Option<Window>> {
        self.0.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the estimate of who is in shadow up to date.
    pub(super) fn look_back(&self) {
        self.close_window();
        let shadow = self.0.workshop.board.standing().and_then(|s| s.shadow);
        let Some((choice, observed)) = shadow else {
            return;
        };
        // One at a time: others wait and take this one's.
        let mut window = self.window();
        let Some(window) = window.as_mut().filter(|window| window.choice == choice) else {
            return;
        };
        let fresh = window.looked.is_some_and(|last| last.elapsed() < KEPT);
        if fresh {
            return;
        }
        let log = window.tape.lock().clone();
        let estimate = match &window.recording {
            Ok(_) => estimate(&self.0.workshop, &log, &choice),
            Err(why) => Err(why.clone()),
        };
        window.looked = Some(Instant::now());
        observed.estimated(estimate);
    }
}

/// Simulates the requests of a log under its policy and under another; or says why not.
fn estimate(workshop: &Workshop, log: &[u8], shadow: &Choice) -> Result<Estimate, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut observer = Observer::default();
    let mut replay = Replay::open(log).map_err(|e| text(&e))?;
    replay.run(&mut observer).map_err(|e| text(&e))?;
    let observed = observer.finish(replay.scheduler());
    let live = observed.main_policy().ok_or("nothing is recorded yet")?;
    let refit = refit(&observed, None).map_err(|error| match error {
        RefitError::Fit(_) => "too few iterations are recorded to fit a worker to".to_owned(),
        error => text(&error),
    })?;
    let counterfactual = Counterfactual::new(&observed, &refit).map_err(|error| match error {
        CounterfactualError::NoRequests => "no request has come and gone since it began".to_owned(),
        error => text(&error),
    })?;
    let run = |digest: Digest, config: &str| {
        let policy = workshop.load(digest).map_err(|e| text(&e))?;
        let mut slot = policy.start(config).map_err(|e| text(&e))?;
        let outcome = counterfactual.run(&mut slot, None);
        outcome.map_err(|error| match error {
            CounterfactualError::NoPredictions => {
                "it reads predictions and nobody makes any; see --predictor of `elis serve`"
                    .to_owned()
            }
            error => text(&error),
        })
    };
    let digest: Digest = live.digest.parse().map_err(|e| text(&e))?;
    let under_live = run(digest, &live.config)?;
    let under_shadow = run(shadow.digest, &shadow.config)?;
    let calibration = counterfactual.calibrate(&under_live);
    let (live_jct_s, shadow_jct_s) = (mean_jct_s(&under_live), mean_jct_s(&under_shadow));
    if live_jct_s <= 0.0 {
        return Err("no request ended in the simulation".to_owned());
    }
    Ok(Estimate {
        requests: calibration.requests,
        window_s: (observed.to - observed.from).as_ns() as f64 / 1e9,
        live_jct_s,
        shadow_jct_s,
        change: shadow_jct_s / live_jct_s - 1.0,
        calibration_error: calibration.error(),
    })
}

fn mean_jct_s(outcome: &RunOutcome) -> f64 {
    let done = outcome.requests.iter();
    let done = done.filter(|request| request.ending == Ending::Completed);
    let (count, sum_ns) = done.fold((0u64, 0), |(count, sum_ns), request| {
        (count + 1, sum_ns + (request.finish_ns - request.arrival_ns))
    });
    sum_ns as f64 / 1e9 / count.max(1) as f64
}
