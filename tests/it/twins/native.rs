//! Policies as ordinary Rust: the same source that is compiled to Wasm, linked into this test.

use elis_policy_alise::Alise;
use elis_policy_edf::Edf;
use elis_policy_fastserve::FastServe;
use elis_policy_fcfs::Fcfs;
use elis_policy_gittins::Gittins;
use elis_policy_isrtf::Isrtf;
use elis_policy_ltr::Ltr;
use elis_policy_sarathi::Sarathi;
use elis_policy_sdk as sdk;
use elis_policy_sjf::Sjf;
use elis_policy_ssjf::Ssjf;
use elis_policy_tether::Tether;
use elis_policy_trail::Trail;
use elis_policy_vtc::Vtc;
use elis_scheduler::columns::{Column, ColumnRef};
use elis_scheduler::plan::{Interest, Plan, Preemption};
use elis_scheduler::snapshot::{Header, Snapshot, Triggers};
use elis_sim::{Answer, Decider};

/// A policy of the SDK behind the same door as one in the sandbox.
pub(crate) struct Native<P> {
    policy: P,
    columns: Vec<Column>,
}

/// What a policy can do beside deciding.
pub(crate) trait Twin: Decider {
    fn configure(&mut self, toml: &str);
    fn export_state(&self) -> Vec<u8>;
    fn import_state(&mut self, state: &[u8]);
}

impl<P: sdk::Policy> Twin for Native<P> {
    fn configure(&mut self, toml: &str) {
        self.policy.configure(toml).unwrap();
    }

    fn export_state(&self) -> Vec<u8> {
        self.policy.export_state()
    }

    fn import_state(&mut self, state: &[u8]) {
        self.policy.import_state(state).unwrap();
    }
}

/// The native form of a policy of this repository.
pub(crate) fn native(name: &str) -> Box<dyn Twin> {
    match name {
        "alise" => Box::new(Native::<Alise>::new()),
        "edf" => Box::new(Native::<Edf>::new()),
        "fastserve" => Box::new(Native::<FastServe>::new()),
        "fcfs" => Box::new(Native::<Fcfs>::new()),
        "gittins" => Box::new(Native::<Gittins>::new()),
        "isrtf" => Box::new(Native::<Isrtf>::new()),
        "ltr" => Box::new(Native::<Ltr>::new()),
        "sarathi" => Box::new(Native::<Sarathi>::new()),
        "sjf" => Box::new(Native::<Sjf>::new()),
        "ssjf" => Box::new(Native::<Ssjf>::new()),
        "tether" => Box::new(Native::<Tether>::new()),
        "trail" => Box::new(Native::<Trail>::new()),
        "vtc" => Box::new(Native::<Vtc>::new()),
        other => panic!("policies/{other} has no native form here: add it"),
    }
}

impl<P: sdk::Policy> Native<P> {
    fn new() -> Self {
        let parse = |name: &&str| Column::parse(name).expect("policies name known columns");
        Self {
            policy: P::default(),
            columns: P::info().columns.iter().map(parse).collect(),
        }
    }
}

impl<P: sdk::Policy> Decider for Native<P> {
    fn interest(&self) -> Interest {
        let predicted = |column: &Column| {
            column.name().starts_with("job-predict") || column.name() == "job-rank-score"
        };
        let info = P::info();
        Interest {
            triggers: TRIGGERS
                .into_iter()
                .filter(|(theirs, _)| info.triggers & *theirs == *theirs)
                .fold(Triggers::NONE, |all, (_, ours)| all.union(ours)),
            preemptive: info.preemptive,
            predictions: self.columns.iter().any(predicted),
            identity: 0,
        }
    }

    fn decide(&mut self, snapshot: &Snapshot<'_>) -> Answer {
        let lend = |column: &Column| match snapshot.column(*column) {
            ColumnRef::U32s(values) => sdk::Column::U32s(values),
            ColumnRef::U64s(values) => sdk::Column::U64s(values),
            ColumnRef::F32s(values) => sdk::Column::F32s(values),
        };
        let columns: Vec<_> = self.columns.iter().map(lend).collect();
        let header = header(&snapshot.header);
        let answer = self.policy.decide(&sdk::Snapshot::new(&header, &columns));
        Answer {
            plan: Ok(plan(answer)),
            fuel: 0,
            wall_ns: 0,
        }
    }
}

const TRIGGERS: [(sdk::Triggers, Triggers); 6] = [
    (sdk::Triggers::ARRIVAL, Triggers::ARRIVAL),
    (sdk::Triggers::FINISH, Triggers::FINISH),
    (sdk::Triggers::WINDOW_END, Triggers::WINDOW_END),
    (sdk::Triggers::PREDICTION, Triggers::PREDICTION),
    (sdk::Triggers::MEMORY_PRESSURE, Triggers::MEMORY_PRESSURE),
    (sdk::Triggers::TIMER, Triggers::TIMER),
];

fn header(h: &Header) -> sdk::Header {
    sdk::Header {
        now_us: h.now_us,
        seed: h.seed,
        revision: h.revision,
        iteration: h.iteration,
        fired: TRIGGERS
            .into_iter()
            .filter(|(_, ours)| h.fired.intersects(*ours))
            .fold(sdk::Triggers::empty(), |all, (theirs, _)| all | theirs),
        worker: h.worker,
        workers: h.workers,
        running: h.running,
        waiting: h.waiting,
        max_num_seqs: h.max_num_seqs,
        max_batched_tokens: h.max_batched_tokens,
        window_tokens: h.window_tokens,
        plan_max: h.plan_max,
        block_size_tokens: h.block_size_tokens,
        gpu_blocks_total: h.gpu_blocks_total,
        gpu_blocks_free: h.gpu_blocks_free,
        cpu_blocks_total: h.cpu_blocks_total,
        cpu_blocks_free: h.cpu_blocks_free,
        watermark_blocks: h.watermark_blocks,
        capabilities: h.capabilities,
        iteration_base_us: h.iteration_base_us,
        iteration_per_seq_us: h.iteration_per_seq_us,
        iteration_per_kv_token_us: h.iteration_per_kv_token_us,
        iteration_per_prefill_token_us: h.iteration_per_prefill_token_us,
        swap_per_block_us: h.swap_per_block_us,
        last_iteration_us: h.last_iteration_us,
        recent_tokens_per_s: h.recent_tokens_per_s,
    }
}

fn plan(p: sdk::Plan) -> Plan {
    Plan {
        run: p.run,
        run_tokens: p.run_tokens,
        bypass: p.bypass,
        preempt: p.preempt,
        preempt_modes: p.preempt_modes.into_iter().map(mode).collect(),
        victims: p.victims,
        victim_mode: mode(p.victim_mode),
        swap_in: p.swap_in,
        reject: p.reject,
        defer: p.defer,
        defer_until_us: p.defer_until_us,
        repredict: p.repredict,
        state_jobs: p.state_jobs,
        state_values: p.state_values,
        window_tokens: p.window_tokens,
        max_num_seqs: p.max_num_seqs,
        max_batched_tokens: p.max_batched_tokens,
        reserve_blocks: p.reserve_blocks,
        wake_up_us: p.wake_up_us,
    }
}

fn mode(mode: sdk::Preemption) -> Preemption {
    match mode {
        sdk::Preemption::Pause => Preemption::Pause,
        sdk::Preemption::Swap => Preemption::Swap,
        sdk::Preemption::Recompute => Preemption::Recompute,
    }
}
