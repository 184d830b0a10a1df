//! What is drawn: set-ups, operations, and plans that are sensible, careless or hostile.

use elis_scheduler::config::{Batching, Boundary, Config, CostHint, Placement, WorkerConfig};
use elis_scheduler::plan::{Interest, Plan, Preemption};
use elis_scheduler::snapshot::Triggers;
use elis_scheduler::{NO_DEADLINE, Span};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::world::World;

/// Longest prompt and longest response; every worker that is drawn can hold both.
const TOKENS_MAX: u32 = 60;

/// Configuration and policy of a run.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    boundary: Boundary,
    placement: Placement,
    batching: Batching,
    window_tokens: u32,
    repredict_tokens: u32,
    prediction_wait: Span,
    decision_deadline: Span,
    max_wait: Span,
    workers: usize,
    max_num_seqs: u32,
    max_batched_tokens: u32,
    block_size_tokens: u32,
    spare_blocks: u32,
    cpu_blocks: u32,
    watermark_blocks: u32,
    pub(crate) interest: Interest,
}

impl Setup {
    pub(crate) fn config(&self) -> Config {
        let least = (2 * TOKENS_MAX).div_ceil(self.block_size_tokens);
        // An engine of whole prompts that cannot decode a full batch in one go makes no sense.
        let seqs = match self.batching {
            Batching::PrefillFirst => self.max_num_seqs,
            Batching::Mixed => 1,
        };
        let worker = WorkerConfig {
            max_num_seqs: self.max_num_seqs,
            max_batched_tokens: self.max_batched_tokens.max(seqs),
            block_size_tokens: self.block_size_tokens,
            gpu_blocks: least + self.spare_blocks + self.watermark_blocks,
            cpu_blocks: self.cpu_blocks,
            watermark_blocks: self.watermark_blocks,
            batching: self.batching,
            cost: CostHint::default(),
        };
        Config {
            boundary: self.boundary,
            placement: self.placement,
            window_tokens: self.window_tokens,
            repredict_tokens: self.repredict_tokens,
            prediction_wait: self.prediction_wait,
            decision_deadline: self.decision_deadline,
            max_wait: self.max_wait,
            jobs_max: 1_000,
            seed: 7,
            workers: vec![worker; self.workers],
        }
    }
}

pub(crate) fn setup() -> impl Strategy<Value = Setup> {
    let rules = (
        any::<bool>(),
        any::<bool>(),
        1u32..60,
        prop_oneof![Just(0u32), 1u32..20],
        prop_oneof![
            2 => Just(Span::ZERO),
            1 => Just(NO_DEADLINE),
            1 => (1u64..5_000).prop_map(Span::from_us),
        ],
        prop_oneof![2 => Just(NO_DEADLINE), 1 => (1u64..5_000).prop_map(Span::from_us)],
        prop_oneof![1 => Just(Span::ZERO), 1 => (1u64..20_000).prop_map(Span::from_us)],
        prop_oneof![Just(Placement::Jobs), Just(Placement::Work)],
    );
    let worker = (
        1usize..=3,
        1u32..8,
        1u32..80,
        1u32..20,
        0u32..12,
        prop_oneof![Just(0u32), 1u32..30],
        0u32..4,
    );
    (rules, worker, interest()).prop_map(|(rules, worker, interest)| Setup {
        boundary: if rules.0 {
            Boundary::Batch
        } else {
            Boundary::Slot
        },
        placement: rules.7,
        batching: if rules.1 {
            Batching::PrefillFirst
        } else {
            Batching::Mixed
        },
        window_tokens: rules.2,
        repredict_tokens: rules.3,
        prediction_wait: rules.4,
        decision_deadline: rules.5,
        max_wait: rules.6,
        workers: worker.0,
        max_num_seqs: worker.1,
        max_batched_tokens: worker.2,
        block_size_tokens: worker.3,
        spare_blocks: worker.4,
        cpu_blocks: worker.5,
        watermark_blocks: worker.6,
        interest,
    })
}

fn interest() -> impl Strategy<Value = Interest> {
    let drawn = (any::<u8>(), any::<bool>(), any::<bool>(), 0..3u64);
    drawn.prop_map(|(bits, preemptive, predictions, identity)| Interest {
        triggers: Triggers::from_bits(bits),
        preemptive,
        predictions,
        identity,
    })
}

/// One thing that happens. A pick means one of what there is, whatever there is.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Arrive {
        prompt_tokens: u32,
        output_tokens: u32,
        tenant: u32,
    },
    Cancel {
        pick: usize,
    },
    Answer {
        pick: usize,
        plan: PlanDraw,
    },
    Fail {
        pick: usize,
    },
    AnswerLate {
        pick: usize,
        plan: PlanDraw,
    },
    Predict {
        pick: usize,
        remaining_tokens: f32,
    },
    EndStep {
        worker: u16,
        early: u32,
    },
    EndNothing {
        worker: u16,
    },
    Lose {
        worker: u16,
    },
    Back {
        worker: u16,
    },
    Install {
        worker: Option<u16>,
        interest: Interest,
    },
    Tick,
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let pick = 0usize..64;
    let worker = 0u16..3;
    let arrive = (1..=TOKENS_MAX, 1..=TOKENS_MAX, 0u32..3);
    let remaining = prop_oneof![
        4 => (0u8..90).prop_map(f32::from),
        1 => prop::num::f32::ANY,
    ];
    prop_oneof![
        12 => arrive.prop_map(|(prompt_tokens, output_tokens, tenant)| Op::Arrive {
            prompt_tokens,
            output_tokens,
            tenant,
        }),
        3 => pick.clone().prop_map(|pick| Op::Cancel { pick }),
        20 => (pick.clone(), plan()).prop_map(|(pick, plan)| Op::Answer { pick, plan }),
        1 => pick.clone().prop_map(|pick| Op::Fail { pick }),
        1 => (pick.clone(), plan()).prop_map(|(pick, plan)| Op::AnswerLate { pick, plan }),
        10 => (pick, remaining).prop_map(|(pick, remaining_tokens)| Op::Predict {
            pick,
            remaining_tokens,
        }),
        30 => (worker.clone(), 0u32..40).prop_map(|(worker, early)| Op::EndStep {
            worker,
            early,
        }),
        1 => worker.clone().prop_map(|worker| Op::EndNothing { worker }),
        1 => worker.clone().prop_map(|worker| Op::Lose { worker }),
        2 => worker.clone().prop_map(|worker| Op::Back { worker }),
        1 => (option::of(worker), interest()).prop_map(|(worker, interest)| Op::Install {
            worker,
            interest,
        }),
        5 => Just(Op::Tick),
    ]
}

/// A plan in picks, which become ids once the queue is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct PlanDraw {
    run: Vec<u8>,
    run_tokens: Vec<u32>,
    bypass: bool,
    preempt: Vec<(u8, u8)>,
    victims: Vec<u8>,
    victim_mode: u8,
    swap_in: Vec<u8>,
    reject: Vec<u8>,
    defer: Vec<(u8, u16)>,
    repredict: Vec<u8>,
    state: Vec<u8>,
    /// Lists that belong together lose their last entry.
    torn: bool,
    overrides: [u32; 4],
    wake_up: Option<u16>,
}

fn plan() -> impl Strategy<Value = PlanDraw> {
    let order = vec(any::<u8>(), 0..12).prop_map(|run| PlanDraw {
        run,
        ..PlanDraw::default()
    });
    prop_oneof![2 => Just(PlanDraw::default()), 4 => order, 4 => wild()]
}

fn wild() -> impl Strategy<Value = PlanDraw> {
    let few = || vec(any::<u8>(), 0..5);
    let order = (few(), vec(0u32..30, 0..5), any::<bool>());
    let memory = (vec((any::<u8>(), 0u8..3), 0..5), few(), 0u8..3, few());
    let others = (
        prop_oneof![4 => Just(Vec::new()), 1 => vec(any::<u8>(), 1..2)],
        vec((any::<u8>(), any::<u16>()), 0..3),
        few(),
        few(),
        prop::bool::weighted(0.1),
    );
    let scalars = (
        [over(80), over(10), over(100), over(30)],
        option::weighted(0.2, any::<u16>()),
    );
    (order, memory, others, scalars).prop_map(|(order, memory, others, scalars)| PlanDraw {
        run: order.0,
        run_tokens: order.1,
        bypass: order.2,
        preempt: memory.0,
        victims: memory.1,
        victim_mode: memory.2,
        swap_in: memory.3,
        reject: others.0,
        defer: others.1,
        repredict: others.2,
        state: others.3,
        torn: others.4,
        overrides: scalars.0,
        wake_up: scalars.1,
    })
}

/// An override: mostly none, else around the limit.
fn over(limit: u32) -> BoxedStrategy<u32> {
    prop_oneof![3 => Just(0u32), 2 => 1..limit, 1 => Just(u32::MAX)].boxed()
}

fn mode(code: u8) -> Preemption {
    [Preemption::Pause, Preemption::Swap, Preemption::Recompute][usize::from(code)]
}

impl PlanDraw {
    /// The plan for the queue of a worker as it is now.
    pub(crate) fn plan(&self, world: &World, worker: u16) -> Plan {
        let snapshot = world.scheduler.snapshot(worker).expect("it is in range");
        let mut known = snapshot.jobs.id.clone();
        known.sort_unstable();
        // Ids that never were, are of another worker, or belong to nobody yet.
        known.extend([0, world.live.last().copied().unwrap_or(1), 1 << 40]);
        let id = |pick: &u8| known[usize::from(*pick) % known.len()];
        let ids = |picks: &[u8]| picks.iter().map(id).collect::<Vec<u64>>();
        let soon = |after: u16| world.now.as_us() + u64::from(after);
        let mut plan = Plan {
            run: ids(&self.run),
            run_tokens: self.run_tokens.clone(),
            bypass: self.bypass,
            preempt: self.preempt.iter().map(|(pick, _)| id(pick)).collect(),
            preempt_modes: self.preempt.iter().map(|(_, code)| mode(*code)).collect(),
            victims: ids(&self.victims),
            victim_mode: mode(self.victim_mode),
            swap_in: ids(&self.swap_in),
            reject: ids(&self.reject),
            defer: self.defer.iter().map(|(pick, _)| id(pick)).collect(),
            defer_until_us: self.defer.iter().map(|(_, after)| soon(*after)).collect(),
            repredict: ids(&self.repredict),
            state_jobs: ids(&self.state),
            state_values: vec![7; 2 * self.state.len()],
            window_tokens: self.overrides[0],
            max_num_seqs: self.overrides[1],
            max_batched_tokens: self.overrides[2],
            reserve_blocks: self.overrides[3],
            wake_up_us: self.wake_up.map_or(0, soon),
        };
        if self.torn {
            plan.preempt_modes.pop();
            plan.defer_until_us.pop();
            plan.state_values.pop();
        }
        plan
    }
}
