//! The ways to the same decision.

use anyhow::{Context, Result, anyhow};
use elis_policy_runtime::{Metering, Options, PolicySlot, Runtime};
use extism::{Plugin, PluginBuilder};
use serde::{Deserialize, Serialize};

use crate::queue::{PICKED, Queue};

/// Long enough that no decision here is cut off; the metering costs the same.
const BUDGET_MS: u32 = 1_000;

/// One way to a decision.
pub enum Way {
    /// A component that Elis lends columns to.
    Elis(Box<PolicySlot>),
    /// A plug-in that takes and gives JSON, with the records of 12 fields.
    Extism(Box<Plugin>),
    /// The same plug-in with only the fields that the rule reads.
    ExtismShort(Box<Plugin>),
}

/// What the plug-in takes.
#[derive(Serialize)]
struct Question<'a, J> {
    count: u32,
    jobs: &'a [J],
}

/// What it gives.
#[derive(Deserialize)]
struct Answer {
    run: Vec<u64>,
}

impl Way {
    /// Starts the policy `isrtf` as in live service: metered by the clock.
    pub fn elis(policy: &[u8]) -> Result<Self> {
        let options = Options {
            metering: Metering::Epoch {
                budget_ms: BUDGET_MS,
            },
            ..Options::default()
        };
        let policy = Runtime::new(options)?
            .load(policy)
            .context("Elis refuses the policy")?;
        Ok(Self::Elis(Box::new(
            policy.start("").context("the policy does not start")?,
        )))
    }

    /// Starts the plug-in, for records of 12 fields.
    pub fn extism(guest: &[u8]) -> Result<Self> {
        Ok(Self::Extism(Box::new(plugin(guest)?)))
    }

    /// Starts the plug-in, for records of 6 fields.
    pub fn extism_short(guest: &[u8]) -> Result<Self> {
        Ok(Self::ExtismShort(Box::new(plugin(guest)?)))
    }

    /// The ids of the jobs to run, best first.
    pub fn decide(&mut self, queue: &Queue) -> Result<Vec<u64>> {
        match self {
            Self::Elis(slot) => {
                let decision = slot.decide(&queue.snapshot());
                let plan = decision.plan;
                plan.map(|plan| plan.run).map_err(|exit| {
                    anyhow!("the policy gave no plan: {exit:?} {:?}", decision.detail)
                })
            }
            Self::Extism(plugin) => ask(plugin, &queue.jobs),
            Self::ExtismShort(plugin) => ask(plugin, &queue.short_jobs),
        }
    }
}

/// An instance that lives on between calls, as in Elis. Without a time limit: Extism would start a
/// timer for each call.
fn plugin(guest: &[u8]) -> Result<Plugin> {
    PluginBuilder::new(guest)
        .with_cache_disabled()
        .build()
        .map_err(|e| anyhow!("Extism refuses the plug-in: {e}"))
}

fn ask<J: Serialize>(plugin: &mut Plugin, jobs: &[J]) -> Result<Vec<u64>> {
    let question = question(jobs)?;
    let answer: &[u8] = plugin
        .call("decide", &question)
        .map_err(|e| anyhow!("the plug-in failed: {e}"))?;
    Ok(serde_json::from_slice::<Answer>(answer)
        .context("the plug-in's answer")?
        .run)
}

/// A snapshot as the plug-in takes it.
pub fn question<J: Serialize>(jobs: &[J]) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(&Question {
        count: PICKED,
        jobs,
    })?)
}
