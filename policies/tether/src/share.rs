//! Service shared between tenants: a slot that comes free goes to the tenant that was served least,
//! by its weight; which of its jobs has it is for the tether of its own jobs to say.

use std::collections::BTreeMap;

use elis_policy_sdk::counters::{Counters, Prices, Tenants, turns, uncounted_tokens};
use elis_policy_sdk::select::{key, least};
use elis_policy_sdk::{Header, state, words};

use crate::Jobs;

/// A state with shares begins with this word, which is the key of no book.
const MARK: u64 = u64::MAX;

/// A job's place among those of its tenant: its score, then arrival, id and row.
type Key = (u32, u64, u64, usize);

/// What each tenant has been served on each worker.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Share(Counters);

impl Share {
    /// The ids of `count` jobs. Every tenant keeps as many slots as it has and gives them to the
    /// best of its jobs, so that nobody loses a slot to another tenant; the rest take turns.
    pub(crate) fn order(
        &mut self,
        count: usize,
        header: &Header,
        jobs: &Jobs<'_>,
        tenants: &Tenants<'_>,
        scores: &[f32],
    ) -> Vec<u64> {
        let mut charged = self.0.update(header.worker, tenants, Prices::VTC);
        let cost = |tenant: u32, row: usize| {
            let tokens = uncounted_tokens(
                jobs.state[row],
                jobs.prompt_tokens[row],
                jobs.computed_tokens[row],
                jobs.generated_tokens[row],
            );
            tenants.cost(tenant, tokens, Prices::VTC.input)
        };
        let mut keep: Vec<Key> = Vec::new();
        let mut queues = BTreeMap::new();
        for (tenant, (slots, keys)) in of_tenants(jobs, scores) {
            let mut own = least(slots.saturating_add(count), keys);
            let rest = own.split_off(slots);
            if let Some(charged) = charged.get_mut(tenant as usize) {
                *charged += own.iter().map(|key| cost(tenant, key.3)).sum::<f64>();
            }
            keep.extend(own);
            let place = |(_, arrival_us, id, row)| (arrival_us, id, row);
            queues.insert(tenant, rest.into_iter().map(place));
        }
        let keep = least(count, keep);
        let next = turns(count - keep.len(), queues, &charged, |tenant, place| {
            cost(tenant, place.2)
        });
        let last = next.last().map(|&(_, tenant)| tenant);
        self.0.note_last(header.worker, last);
        let keep = keep.into_iter().map(|(_, _, id, _)| id);
        keep.chain(next.into_iter().map(|((_, id, _), _)| id))
            .collect()
    }

    /// As bytes, before those of the memory; nothing where service was never shared.
    pub(crate) fn export(&self) -> Vec<u8> {
        let counters = self.0.export();
        if counters.is_empty() {
            return counters;
        }
        let mut bytes = words::to_bytes([MARK, counters.len() as u64]);
        bytes.extend(counters);
        bytes
    }

    /// Again, and the bytes that come after it.
    pub(crate) fn import(state: &[u8]) -> Result<(Self, &[u8]), String> {
        let Some((mark, rest)) = state.split_first_chunk() else {
            return Ok((Self::default(), state));
        };
        if u64::from_le_bytes(*mark) != MARK {
            return Ok((Self::default(), state));
        }
        let cut = || "the state of tether is cut off; start without one".to_owned();
        let (length, rest) = rest.split_first_chunk().ok_or_else(cut)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut())?;
        let (counters, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        Ok((Self(Counters::import(counters)?), rest))
    }
}

/// How many slots each tenant has, and all its jobs.
fn of_tenants(jobs: &Jobs<'_>, scores: &[f32]) -> BTreeMap<u32, (usize, Vec<Key>)> {
    let mut tenants: BTreeMap<u32, (usize, Vec<Key>)> = BTreeMap::new();
    for (row, &score) in scores.iter().enumerate() {
        let (slots, keys) = tenants.entry(jobs.tenant[row]).or_default();
        *slots += usize::from(state::has_slot(jobs.state[row]));
        keys.push((key(score), jobs.arrival_us[row], jobs.id[row], row));
    }
    tenants
}
