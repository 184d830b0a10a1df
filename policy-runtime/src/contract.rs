//! The typed interface as wasmtime sees it, and the way between its types and the scheduler's.

use elis_scheduler::columns::ColumnRef;
use elis_scheduler::plan::{Plan, Preemption};
use elis_scheduler::snapshot::{Header, Triggers};

use self::bindings::exports::elis::policy::scheduling as typed;

pub(crate) mod bindings {
    //! Generated from `wit/policy.wit`. Parameters borrow: columns go into the guest straight from
    //! the scheduler's tables.

    wasmtime::component::bindgen!({
        path: "../wit",
        world: "policy",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

pub(crate) use bindings::{Policy, PolicyPre};
pub(crate) use typed::{Column as TypedColumn, Info as TypedInfo, Plan as TypedPlan};

/// A column as a parameter of `decide`.
pub(crate) fn column(column: ColumnRef<'_>) -> TypedColumn<'_> {
    match column {
        ColumnRef::U32s(values) => TypedColumn::U32s(values),
        ColumnRef::U64s(values) => TypedColumn::U64s(values),
        ColumnRef::F32s(values) => TypedColumn::F32s(values),
    }
}

/// Triggers as the scheduler has them.
pub(crate) fn triggers(flags: typed::Triggers) -> Triggers {
    let pairs = [
        (typed::Triggers::ARRIVAL, Triggers::ARRIVAL),
        (typed::Triggers::FINISH, Triggers::FINISH),
        (typed::Triggers::WINDOW_END, Triggers::WINDOW_END),
        (typed::Triggers::PREDICTION, Triggers::PREDICTION),
        (typed::Triggers::MEMORY_PRESSURE, Triggers::MEMORY_PRESSURE),
        (typed::Triggers::TIMER, Triggers::TIMER),
    ];
    pairs
        .into_iter()
        .filter(|(flag, _)| flags.contains(*flag))
        .fold(Triggers::NONE, |all, (_, trigger)| all.union(trigger))
}

fn fired(triggers: Triggers) -> typed::Triggers {
    let pairs = [
        (Triggers::ARRIVAL, typed::Triggers::ARRIVAL),
        (Triggers::FINISH, typed::Triggers::FINISH),
        (Triggers::WINDOW_END, typed::Triggers::WINDOW_END),
        (Triggers::PREDICTION, typed::Triggers::PREDICTION),
        (Triggers::MEMORY_PRESSURE, typed::Triggers::MEMORY_PRESSURE),
        (Triggers::TIMER, typed::Triggers::TIMER),
    ];
    pairs
        .into_iter()
        .filter(|(trigger, _)| triggers.intersects(*trigger))
        .fold(typed::Triggers::default(), |all, (_, flag)| all | flag)
}

/// The scalar part of a snapshot as a parameter of `decide`.
pub(crate) fn header(h: &Header) -> typed::Header {
    typed::Header {
        now_us: h.now_us,
        seed: h.seed,
        revision: h.revision,
        iteration: h.iteration,
        fired: fired(h.fired),
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

/// The longest list of a plan, in entries.
pub(crate) fn longest_list(plan: &Plan) -> usize {
    let words = [
        &plan.run,
        &plan.preempt,
        &plan.victims,
        &plan.swap_in,
        &plan.reject,
        &plan.defer,
        &plan.defer_until_us,
        &plan.repredict,
        &plan.state_jobs,
        &plan.state_values,
    ];
    let others = plan.run_tokens.len().max(plan.preempt_modes.len());
    words.into_iter().map(Vec::len).fold(others, usize::max)
}

/// The answer as the scheduler has it.
pub(crate) fn plan(p: TypedPlan) -> Plan {
    Plan {
        run: p.run,
        run_tokens: p.run_tokens,
        bypass: p.bypass,
        preempt: p.preempt,
        preempt_modes: p.preempt_modes.into_iter().map(preemption).collect(),
        victims: p.victims,
        victim_mode: preemption(p.victim_mode),
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

fn preemption(mode: typed::Preemption) -> Preemption {
    match mode {
        typed::Preemption::Pause => Preemption::Pause,
        typed::Preemption::Swap => Preemption::Swap,
        typed::Preemption::Recompute => Preemption::Recompute,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triggers_survive_the_way_there_and_back() {
        for bits in 0..=Triggers::ALL.bits() {
            let all = Triggers::from_bits(bits);
            assert_eq!(triggers(fired(all)), all);
        }
    }
}
