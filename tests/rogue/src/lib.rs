//! Every way to misbehave that we could think of, as one policy: `kind = "spin"` and so on. With
//! `every = 7` as well it behaves in between. `state = "count"` hands its count of decisions on,
//! and other values more than anybody takes.

use elis_policy_sdk::select::Ties;
use elis_policy_sdk::{
    Info, Plan, Policy, Preemption, Snapshot, Triggers, columns, config, export_policy, state,
};

columns! {
    /// What the kinds read of a job.
    struct Jobs {
        id: u64 = "job-id",
        state: u32 = "job-state",
        arrival_us: u64 = "job-arrival-us",
        remaining_tokens: f32 = "job-predicted-remaining-tokens",
    }
}

/// Entries of a flood: several times what a plan may have, and still within memory and fuel.
const FLOOD_ENTRIES: usize = 400_000;
/// What a leak keeps of each decision.
const LEAK_BYTES: usize = 1 << 20;

type Misdeed = fn(&mut Rogue, &Snapshot<'_>) -> Plan;

/// The kinds by name.
const KINDS: &[(&str, Misdeed)] = &[
    ("honest", |_, snapshot| arrival_order(snapshot)),
    ("spin", |_, _| {
        loop {
            core::hint::black_box(());
        }
    }),
    ("trap", |_, _| panic!("this is what it was told to do")),
    ("hog", |_, _| {
        loop {
            // Not touched: filling it would cost more fuel than there is.
            core::mem::forget(core::hint::black_box(Vec::<u8>::with_capacity(1 << 20)));
        }
    }),
    ("leak", leak),
    ("flood", |_, _| Plan {
        run: vec![0; FLOOD_ENTRIES],
        ..Plan::default()
    }),
    ("liar", liar),
    ("greedy", greedy),
    ("nan", nan),
    ("idle", |_, _| Plan {
        run: vec![u64::MAX],
        ..Plan::default()
    }),
    ("hoard", |_, snapshot| Plan {
        reserve_blocks: snapshot.header.gpu_blocks_total,
        ..arrival_order(snapshot)
    }),
    ("defer", defer),
    ("refuse", |_, snapshot| Plan {
        reject: Jobs::of(snapshot).id.to_vec(),
        ..Plan::default()
    }),
    ("thrash", thrash),
    ("doubt", |_, snapshot| Plan {
        repredict: Jobs::of(snapshot).id.to_vec(),
        ..arrival_order(snapshot)
    }),
    ("nag", |_, snapshot| Plan {
        wake_up_us: snapshot.header.now_us + 1,
        ..arrival_order(snapshot)
    }),
    ("backwards", |_, snapshot| {
        let mut plan = arrival_order(snapshot);
        plan.run.reverse();
        plan
    }),
];

/// The policy.
#[derive(Debug, Clone)]
pub struct Rogue {
    misdeed: Misdeed,
    every: u64,
    decisions: u64,
    leaked: Vec<Vec<u8>>,
    state: String,
}

impl Default for Rogue {
    fn default() -> Self {
        Self {
            misdeed: KINDS[0].1,
            every: 1,
            decisions: 0,
            leaked: Vec::new(),
            state: String::new(),
        }
    }
}

impl Policy for Rogue {
    fn info() -> Info {
        Info {
            name: "rogue",
            version: env!("CARGO_PKG_VERSION"),
            summary: "Misbehaves as it is told to.",
            columns: Jobs::NAMES,
            triggers: Triggers::ARRIVAL
                | Triggers::FINISH
                | Triggers::WINDOW_END
                | Triggers::PREDICTION
                | Triggers::MEMORY_PRESSURE
                | Triggers::TIMER,
            preemptive: true,
        }
    }

    fn configure(&mut self, toml: &str) -> Result<(), String> {
        let config = config::parse(toml, &["kind", "every", "state"])?;
        let kind = config.str("kind", "honest")?;
        let known = KINDS.iter().find(|(name, _)| *name == kind);
        self.misdeed = known.ok_or_else(|| format!("unknown kind {kind}"))?.1;
        self.every = config.u64("every", 1)?.max(1);
        self.state = config.str("state", "none")?.to_owned();
        Ok(())
    }

    fn decide(&mut self, snapshot: &Snapshot<'_>) -> Plan {
        self.decisions += 1;
        if self.decisions.is_multiple_of(self.every) {
            (self.misdeed)(self, snapshot)
        } else {
            arrival_order(snapshot)
        }
    }

    fn export_state(&self) -> Vec<u8> {
        match self.state.as_str() {
            "count" => self.decisions.to_le_bytes().to_vec(),
            "heavy" => vec![1; 3 << 19],
            "gigabyte" => vec![1; 1 << 30],
            _ => Vec::new(),
        }
    }

    fn import_state(&mut self, state: &[u8]) -> Result<(), String> {
        if self.state == "refuse" {
            return Err("it was told to refuse".to_owned());
        }
        let count = state.try_into().map_err(|_| "a count has eight bytes")?;
        self.decisions = u64::from_le_bytes(count);
        Ok(())
    }
}

fn arrival_order(snapshot: &Snapshot<'_>) -> Plan {
    let jobs = Jobs::of(snapshot);
    let ties = Ties {
        arrival_us: jobs.arrival_us,
        id: jobs.id,
    };
    Plan {
        run: ties.best(snapshot.header.plan_max as usize, &vec![0.0; jobs.len()]),
        ..Plan::default()
    }
}

/// Keeps a little of each decision for ever.
fn leak(rogue: &mut Rogue, snapshot: &Snapshot<'_>) -> Plan {
    rogue.leaked.push(vec![1; LEAK_BYTES]);
    arrival_order(snapshot)
}

/// Names jobs that do not exist, jobs twice, and lists that do not belong together.
fn liar(_: &mut Rogue, snapshot: &Snapshot<'_>) -> Plan {
    let id = Jobs::of(snapshot).id;
    let mut run = vec![u64::MAX, u64::MAX - 1];
    run.extend(id.iter().chain(id));
    Plan {
        run_tokens: vec![1],
        preempt: vec![u64::MAX; 3],
        preempt_modes: vec![Preemption::Swap; 3],
        victims: [id, id].concat(),
        victim_mode: Preemption::Swap,
        swap_in: vec![u64::MAX],
        reject: vec![u64::MAX],
        defer: vec![1, 2, 3],
        repredict: vec![u64::MAX],
        state_jobs: vec![1],
        state_values: vec![1, 2, 3],
        run,
        ..Plan::default()
    }
}

/// Wants more than there is of everything.
fn greedy(_: &mut Rogue, snapshot: &Snapshot<'_>) -> Plan {
    let run = arrival_order(snapshot).run;
    Plan {
        run_tokens: vec![u32::MAX; run.len()],
        run,
        bypass: true,
        window_tokens: u32::MAX,
        max_num_seqs: u32::MAX,
        max_batched_tokens: u32::MAX,
        wake_up_us: u64::MAX,
        ..Plan::default()
    }
}

/// Sorts by a prediction as if there always were one.
fn nan(_: &mut Rogue, snapshot: &Snapshot<'_>) -> Plan {
    let jobs = Jobs::of(snapshot);
    let mut rows: Vec<usize> = (0..jobs.len()).collect();
    let score = |row: &usize| jobs.remaining_tokens[*row];
    rows.sort_by(|a, b| score(a).partial_cmp(&score(b)).expect("a number"));
    Plan {
        run: rows.into_iter().map(|row| jobs.id[row]).collect(),
        ..Plan::default()
    }
}

/// Puts everything off to the end of time.
fn defer(_: &mut Rogue, snapshot: &Snapshot<'_>) -> Plan {
    let id = Jobs::of(snapshot).id;
    Plan {
        defer: id.to_vec(),
        defer_until_us: vec![u64::MAX; id.len()],
        ..arrival_order(snapshot)
    }
}

/// Throws out whoever runs and drops what was computed for them.
fn thrash(_: &mut Rogue, snapshot: &Snapshot<'_>) -> Plan {
    let jobs = Jobs::of(snapshot);
    let running = (0..jobs.len()).filter(|&row| state::has_slot(jobs.state[row]));
    let preempt: Vec<u64> = running.map(|row| jobs.id[row]).collect();
    let mut run = arrival_order(snapshot).run;
    run.reverse();
    Plan {
        preempt_modes: vec![Preemption::Recompute; preempt.len()],
        preempt,
        run,
        ..Plan::default()
    }
}

export_policy!(Rogue);
