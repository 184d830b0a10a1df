//! Which policy a server starts with.

use elis_policy_runtime::resolve;

use super::workshop::Workshop;
use crate::engine::EngineError;
use crate::engine::deck::Seat;
use crate::shelf::{Action, Choice, Digest, LiveRecord};

/// The policies that an engine begins with.
pub(super) struct Begin {
    pub(super) live: Seat,
    pub(super) warm: Vec<Seat>,
    pub(super) epoch: u64,
}

/// Starts the policy that was live last; if it cannot be had, the last good one before it; if there
/// is none, the one that the command line names.
pub(super) fn begin(workshop: &Workshop, policy: &str, config: &str) -> Result<Begin, EngineError> {
    let record = workshop.shelf.live().unwrap_or_else(|error| {
        lost(workshop, &format!("the record of the live policy: {error}"));
        None
    });
    let epoch = record.as_ref().map_or(0, |record| record.epoch) + 1;
    let known = record.into_iter().flat_map(|record| {
        let LiveRecord { live, before, .. } = record;
        before.into_iter().chain([live])
    });
    // From the oldest to the one that was live: the last one that can be had is live now.
    let mut seats: Vec<Seat> = known.filter_map(|choice| seat(workshop, choice)).collect();
    let live = match seats.pop() {
        Some(live) => {
            tracing::info!(
                policy = live.policy().info().name,
                digest = live.choice.digest.short(),
                "the policy of last time goes on; --policy is for a state folder that is new"
            );
            live
        }
        None => first(workshop, policy, config)?,
    };
    let begin = Begin {
        live,
        warm: seats,
        epoch,
    };
    let record = LiveRecord {
        epoch,
        live: begin.live.choice.clone(),
        before: begin.warm.iter().map(|seat| seat.choice.clone()).collect(),
    };
    if let Err(error) = workshop.shelf.set_live(&record) {
        tracing::error!(%error, "the live policy cannot be recorded: a restart will not know it");
    }
    let digest = Some(begin.live.choice.digest);
    let started = Action::now("elis serve", "start", digest, "done");
    workshop.shelf.audit(&started);
    Ok(begin)
}

/// A policy of last time, if it can be had.
fn seat(workshop: &Workshop, choice: Choice) -> Option<Seat> {
    let digest = choice.digest;
    let loaded = workshop.load(digest);
    match loaded.and_then(|policy| workshop.seat(&policy, choice)) {
        Ok(seat) => Some(seat),
        Err(error) => {
            lost(workshop, &format!("policy {}: {error}", digest.short()));
            None
        }
    }
}

/// The policy of the command line, which from now on is a stored one like any other.
fn first(workshop: &Workshop, policy: &str, config: &str) -> Result<Seat, EngineError> {
    let path = resolve::resolve(policy)?;
    let bytes = std::fs::read(&path).map_err(EngineError::Read)?;
    let signature = std::fs::read_to_string(path.with_added_extension("minisig")).ok();
    let digest = Digest::of(&bytes);
    // A file of the operator's own needs no trial: it has nothing to stand back for.
    let choice = Choice {
        digest,
        config: config.to_owned(),
    };
    workshop.push(&bytes, signature.as_deref(), &[])?;
    let loaded = workshop.load(digest)?;
    Ok(workshop.seat(&loaded, choice)?)
}

/// Says loudly that something of last time cannot be had.
fn lost(workshop: &Workshop, what: &str) {
    tracing::error!(what, "NOT LOADED; an earlier policy stands in");
    workshop.board.unloadable(what.to_owned());
    let action = Action::now("elis serve", "start", None, &format!("not loaded: {what}"));
    workshop.shelf.audit(&action);
}
