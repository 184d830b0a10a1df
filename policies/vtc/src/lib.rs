//! Fair queueing of tenants by virtual token counters: the next slot goes to the oldest job of the
//! waiting tenant that has been served least, by its weight.

use std::collections::BTreeMap;

use elis_policy_sdk::counters::{Counters, Prices, Tenants, turns, uncounted_tokens};
use elis_policy_sdk::select::least;
use elis_policy_sdk::{
    Info, Plan, Policy, Snapshot, Triggers, columns, config, export_policy, joined, state,
};

/// Waiting jobs named beyond the slots, so that the host can go on when a job does not fit.
const LOOKAHEAD: usize = 16;

columns! {
    /// What the rule reads of a job.
    struct Jobs {
        id: u64 = "job-id",
        arrival_us: u64 = "job-arrival-us",
        state: u32 = "job-state",
        tenant: u32 = "job-tenant",
        prompt_tokens: u32 = "job-prompt-tokens",
        computed_tokens: u32 = "job-computed-tokens",
        generated_tokens: u32 = "job-generated-tokens",
    }
}

const COLUMNS: [&str; 12] = joined(Jobs::NAMES, Tenants::NAMES);

/// The policy.
#[derive(Debug)]
pub struct Vtc {
    prices: Prices,
    counters: Counters,
}

impl Default for Vtc {
    fn default() -> Self {
        Self {
            prices: Prices::VTC,
            counters: Counters::default(),
        }
    }
}

/// A job's place among those of its tenant: arrival, id, row.
type Key = (u64, u64, usize);

impl Vtc {
    /// The first `count` of those that wait as the slots would go to them, each with its tenant.
    fn queue(
        &self,
        count: usize,
        jobs: &Jobs<'_>,
        tenants: &Tenants<'_>,
        mut charged: Vec<f64>,
    ) -> Vec<(u64, u32)> {
        let cost = |tenant: u32, row: usize| {
            let tokens = uncounted_tokens(
                jobs.state[row],
                jobs.prompt_tokens[row],
                jobs.computed_tokens[row],
                jobs.generated_tokens[row],
            );
            tenants.cost(tenant, tokens, self.prices.input)
        };
        let mut waiting: BTreeMap<u32, Vec<Key>> = BTreeMap::new();
        for row in 0..jobs.len() {
            let tenant = jobs.tenant[row];
            if !state::has_slot(jobs.state[row]) {
                let key = (jobs.arrival_us[row], jobs.id[row], row);
                waiting.entry(tenant).or_default().push(key);
            } else if let Some(charged) = charged.get_mut(tenant as usize) {
                *charged += cost(tenant, row);
            }
        }
        let sorted = |(tenant, keys)| (tenant, least(count, keys).into_iter());
        let queues = waiting.into_iter().map(sorted).collect();
        turns(count, queues, &charged, |tenant, (_, _, row)| {
            cost(tenant, row)
        })
        .into_iter()
        .map(|((_, id, _), tenant)| (id, tenant))
        .collect()
    }
}

impl Policy for Vtc {
    fn info() -> Info {
        Info {
            name: "vtc",
            version: env!("CARGO_PKG_VERSION"),
            summary: "The tenant that was served least is next, by weighted tokens.",
            columns: &COLUMNS,
            // Whoever has been served meanwhile may no longer be the least.
            triggers: Triggers::ARRIVAL | Triggers::FINISH,
            preemptive: false,
        }
    }

    fn configure(&mut self, toml: &str) -> Result<(), String> {
        let config = config::parse(toml, &["input_price", "output_price"])?;
        let price = |key: &str, default: f64| {
            let price = f64::from(config.f32(key, default as f32)?);
            if price < 0.0 {
                return Err(format!("`{key}` must not be negative; 0 makes tokens free"));
            }
            Ok(price)
        };
        self.prices = Prices {
            input: price("input_price", self.prices.input)?,
            output: price("output_price", self.prices.output)?,
        };
        Ok(())
    }

    fn decide(&mut self, snapshot: &Snapshot<'_>) -> Plan {
        let header = snapshot.header;
        let jobs = Jobs::of(snapshot);
        let tenants = Tenants::after(snapshot, Jobs::NAMES.len());
        let charged = self.counters.update(header.worker, &tenants, self.prices);
        let room = header.plan_max as usize;
        let slots = (0..jobs.len()).filter(|&row| state::has_slot(jobs.state[row]));
        let slots = slots.map(|row| (jobs.arrival_us[row], jobs.id[row]));
        let slots = least(room, slots.collect());
        let count = (header.max_num_seqs as usize + LOOKAHEAD).min(room - slots.len());
        let queue = self.queue(count, &jobs, &tenants, charged);
        self.counters
            .note_last(header.worker, queue.last().map(|&(_, tenant)| tenant));
        let slots = slots.into_iter().map(|(_, id)| id);
        Plan {
            run: slots.chain(queue.into_iter().map(|(id, _)| id)).collect(),
            ..Plan::default()
        }
    }

    fn export_state(&self) -> Vec<u8> {
        self.counters.export()
    }

    fn import_state(&mut self, state: &[u8]) -> Result<(), String> {
        self.counters = Counters::import(state)?;
        Ok(())
    }
}

export_policy!(Vtc);

#[cfg(test)]
mod tests;
