//! The rule of FastServe: a multi-level feedback queue that a job joins at the level of its prompt.
//! It needs no prediction: whoever has run longer stands lower.

use std::collections::BTreeMap;

use elis_policy_sdk::mlfq::Levels;
use elis_policy_sdk::select::least;
use elis_policy_sdk::slack::Pace;
use elis_policy_sdk::swap::{self, Held};
use elis_policy_sdk::{
    Header, Info, Plan, Policy, Preemption, Snapshot, Triggers, columns, config, export_policy,
    state, words,
};

/// Entries beyond the slots, so that the host can go on when a job finishes or does not fit.
const LOOKAHEAD: usize = 16;

columns! {
    /// What the rule reads of a job.
    struct Jobs {
        id: u64 = "job-id",
        arrival_us: u64 = "job-arrival-us",
        state: u32 = "job-state",
        last_run_us: u64 = "job-last-run-us",
        service_us: u64 = "job-service-us",
        prompt_tokens: u32 = "job-prompt-tokens",
        cached_tokens: u32 = "job-cached-tokens",
        generated_tokens: u32 = "job-generated-tokens",
        gpu_blocks: u32 = "job-gpu-blocks",
        cpu_blocks: u32 = "job-cpu-blocks",
        // Its service when it was last put into level 0, and 1; 0 for never.
        promoted: u64 = "job-state-a",
    }
}

/// The policy.
#[derive(Debug, Clone)]
pub struct FastServe {
    levels: Levels,
    starvation_us: u64,
    starvation_iterations: u64,
    proactive: bool,
    /// By worker: in which period of so many iterations waits were last looked at.
    checked: BTreeMap<u32, u64>,
}

impl Default for FastServe {
    fn default() -> Self {
        Self {
            levels: Levels::new(10_000),
            starvation_us: 3_000_000,
            starvation_iterations: 1_000,
            proactive: true,
            checked: BTreeMap::new(),
        }
    }
}

/// A job in its queue; less is served sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    /// Its prompt must be read, and host memory is too full for others to make room for it.
    held_back: bool,
    level: u32,
    /// Within a level: those just promoted by how long they have waited, then whoever ran last,
    /// then those that have never run.
    turn: (bool, u64),
    arrival_us: u64,
    id: u64,
    row: usize,
    /// Service after which it sinks to the next level.
    left_us: u64,
}

/// New prompts wait while less than a tenth of host memory is free.
fn host_is_full(header: &Header) -> bool {
    swap::can_swap(header)
        && u64::from(header.cpu_blocks_free) * 10 < u64::from(header.cpu_blocks_total)
}

impl FastServe {
    /// Where a job stands, which was put into level 0 after `promoted_us` of service, if ever.
    fn standing(
        &self,
        header: &Header,
        jobs: &Jobs<'_>,
        row: usize,
        promoted_us: Option<u64>,
    ) -> Standing {
        let (service_us, last_run_us) = (jobs.service_us[row], jobs.last_run_us[row]);
        let place = if let Some(since_us) = promoted_us {
            self.levels.place(0, service_us.saturating_sub(since_us))
        } else {
            let prompt = jobs.prompt_tokens[row].saturating_sub(jobs.cached_tokens[row]);
            let prefill_us = Pace::of(header).prefill_us(prompt);
            self.levels
                .place(self.levels.level_of(prefill_us), service_us)
        };
        let turn = if promoted_us == Some(service_us) {
            (false, jobs.stepped_us(row))
        } else {
            (true, u64::MAX - last_run_us)
        };
        Standing {
            held_back: jobs.has_no_kv(row) && host_is_full(header),
            level: place.level,
            turn,
            arrival_us: jobs.arrival_us[row],
            id: jobs.id[row],
            row,
            left_us: self.levels.left_us(place),
        }
    }

    /// Whether it is time to look who starves.
    fn check_is_due(&mut self, header: &Header) -> bool {
        let period = header.iteration / self.starvation_iterations;
        self.checked.insert(header.worker, period) != Some(period)
    }

    fn starves(&self, header: &Header, jobs: &Jobs<'_>, row: usize) -> bool {
        let idle_us = header.now_us.saturating_sub(jobs.stepped_us(row));
        !state::has_slot(jobs.state[row]) && idle_us >= self.starvation_us
    }
}

impl Jobs<'_> {
    fn has_no_kv(&self, row: usize) -> bool {
        matches!(self.state[row], state::NEW | state::EVICTED)
    }

    /// Since when a job that waits has waited.
    fn stepped_us(&self, row: usize) -> u64 {
        self.last_run_us[row].max(self.arrival_us[row])
    }

    /// Device blocks that a job needs beyond its own to run.
    fn needed_blocks(&self, row: usize, header: &Header) -> u32 {
        match self.state[row] {
            state::PREFILL | state::DECODE | state::PAUSED => 1,
            state::SWAPPED => self.cpu_blocks[row].saturating_add(1),
            _ => {
                let tokens = self.prompt_tokens[row].saturating_add(self.generated_tokens[row]);
                tokens.div_ceil(header.block_size_tokens.max(1))
            }
        }
    }

    /// KV that leaves the device, or comes back, ahead of need. `order` begins with the batch.
    fn move_kv(&self, plan: &mut Plan, header: &Header, order: &[Standing], paused: Vec<Standing>) {
        let (batch, next) = order.split_at(order.len().min(header.max_num_seqs as usize));
        let needed = batch.iter().map(|job| self.needed_blocks(job.row, header));
        let wanted = needed.fold(plan.reserve_blocks, u32::saturating_add);
        let behind = paused.into_iter().filter(|job| batch.last() < Some(job));
        let mut behind: Vec<Standing> = behind.collect();
        behind.sort_unstable_by(|a, b| b.cmp(a));
        let held = |blocks: &[u32], job: &Standing| Held {
            id: job.id,
            blocks: blocks[job.row],
        };
        let paused = behind.iter().map(|job| held(self.gpu_blocks, job));
        plan.preempt = swap::out(header, wanted, paused);
        plan.preempt_modes = vec![Preemption::Swap; plan.preempt.len()];
        // What came back while others leave would soon have to leave again.
        if wanted <= header.gpu_blocks_free {
            let next = next.iter().take(header.max_num_seqs as usize);
            let swapped = next.filter(|job| self.state[job.row] == state::SWAPPED);
            let swapped = swapped.map(|job| held(self.cpu_blocks, job));
            plan.swap_in = swap::back(header, wanted, swapped);
        }
    }
}

impl Policy for FastServe {
    fn info() -> Info {
        Info {
            name: "fastserve",
            version: env!("CARGO_PKG_VERSION"),
            summary: "Multi-level feedback queue; a job joins at the level of its prompt.",
            columns: Jobs::NAMES,
            triggers: Triggers::ARRIVAL | Triggers::FINISH | Triggers::TIMER,
            preemptive: true,
        }
    }

    fn configure(&mut self, toml: &str) -> Result<(), String> {
        let keys = [
            "quantum_ms",
            "starvation_s",
            "starvation_iterations",
            "proactive",
        ];
        let config = config::parse(toml, &keys)?;
        let quantum_ms = config.f32("quantum_ms", 10.0)?;
        let starvation_s = config.f32("starvation_s", 3.0)?;
        if quantum_ms <= 0.0 || starvation_s < 0.0 {
            return Err("`quantum_ms` must be above 0 and `starvation_s` not below".to_owned());
        }
        self.levels = Levels::new((quantum_ms * 1e3) as u64);
        self.starvation_us = (starvation_s * 1e6) as u64;
        self.starvation_iterations =
            config.u64("starvation_iterations", self.starvation_iterations)?;
        if self.starvation_iterations == 0 {
            return Err("`starvation_iterations` must be at least 1".to_owned());
        }
        self.proactive = config.bool("proactive", self.proactive)?;
        Ok(())
    }

    fn decide(&mut self, snapshot: &Snapshot<'_>) -> Plan {
        let header = snapshot.header;
        let jobs = Jobs::of(snapshot);
        let due = self.check_is_due(header);
        let mut queue = Vec::with_capacity(jobs.len());
        let mut paused = Vec::new();
        let mut promoted = Vec::new();
        for row in 0..jobs.len() {
            let mut promoted_us = jobs.promoted[row].checked_sub(1);
            if due && self.starves(header, &jobs, row) {
                promoted_us = Some(jobs.service_us[row]);
                promoted.push((jobs.id[row], jobs.service_us[row].saturating_add(1)));
            }
            let standing = self.standing(header, &jobs, row, promoted_us);
            if jobs.state[row] == state::PAUSED {
                paused.push(standing);
            }
            queue.push(standing);
        }
        promoted.sort_unstable();
        let slots = header.max_num_seqs as usize;
        let room = (2 * slots + LOOKAHEAD).min(header.plan_max as usize);
        let order = least(room, queue);
        // Per-step scheduling: a job may lose its slot whenever its quantum has run out.
        let mut plan = Plan {
            run: order.iter().map(|job| job.id).collect(),
            state_jobs: promoted.iter().map(|&(id, _)| id).collect(),
            state_values: promoted.iter().flat_map(|&(_, word)| [word, 0]).collect(),
            victim_mode: swap::victim_mode(header),
            window_tokens: 1,
            wake_up_us: order
                .iter()
                .take(slots)
                .map(|job| header.now_us.saturating_add(job.left_us))
                .min()
                .unwrap_or(0),
            ..Plan::default()
        };
        if self.proactive && swap::can_swap(header) {
            plan.reserve_blocks = header.max_num_seqs.min(header.gpu_blocks_total);
            jobs.move_kv(&mut plan, header, &order, paused);
        }
        plan
    }

    fn export_state(&self) -> Vec<u8> {
        let words = self
            .checked
            .iter()
            .flat_map(|(&worker, &period)| [u64::from(worker), period]);
        words::to_bytes(words)
    }

    fn import_state(&mut self, state: &[u8]) -> Result<(), String> {
        let words = words::from_bytes(state)?;
        let (pairs, rest) = words.as_chunks();
        let pair = |&[worker, period]: &[u64; 2]| Some((u32::try_from(worker).ok()?, period));
        let checked: Option<BTreeMap<u32, u64>> = pairs.iter().map(pair).collect();
        self.checked = checked
            .filter(|_| rest.is_empty())
            .ok_or("the state is not that of fastserve; start without one")?;
        Ok(())
    }
}

export_policy!(FastServe);

#[cfg(test)]
mod tests;
