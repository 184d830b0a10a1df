//! What the core says, in one line each.

use std::fmt::Write;

use elis_scheduler::plan::{Plan, PolicyExit};
use elis_scheduler::snapshot::Triggers;
use elis_scheduler::stats::{PlanFault, Stats};
use elis_scheduler::{BlockMove, Output, Step, Time};

use crate::core_properties::world::Said;

pub(crate) fn time(at: Time) -> String {
    format!("{:>4} ms", at.as_us() / 1_000)
}

pub(crate) fn ids(ids: &[u64]) -> String {
    let all: Vec<String> = ids.iter().map(u64::to_string).collect();
    all.join(" ")
}

/// One output; nothing where another line says it.
pub(crate) fn said(said: &Said) -> Option<String> {
    let text = match &said.output {
        // The line of the answer names the question.
        Output::Decide { .. } => return None,
        Output::Predict {
            job,
            generated_tokens,
            ..
        } => format!("predict {job} at {generated_tokens} tokens"),
        Output::Dispatch { worker } => {
            let step = said.step.as_ref().expect("a dispatch has a step");
            format!("step on {worker}:{}", step_text(step))
        }
        Output::Interrupt { worker } => format!("interrupt {worker}"),
        Output::Finished(ended) => format!("finished {}", ended.row.id),
        Output::Rejected { job, reason, .. } => format!("rejected {job}: {reason:?}"),
        Output::Cancelled { job } => format!("cancelled {job}"),
    };
    Some(format!("{} {text}", time(said.at)))
}

fn step_text(step: &Step) -> String {
    let mut text = String::new();
    let mut list = |name: &str, ids_of: &[u64]| {
        if !ids_of.is_empty() {
            write!(text, " {name} {},", ids(ids_of)).unwrap();
        }
    };
    list("add", &step.added);
    list("remove", &step.removed);
    list("drop", &step.dropped);
    let mut moves = |name: &str, moves: &[BlockMove]| {
        for BlockMove { job, blocks } in moves {
            write!(text, " {name} {job} ({blocks} blocks),").unwrap();
        }
    };
    moves("swap out", &step.swap_out);
    moves("swap in", &step.swap_in);
    for chunk in &step.prefill {
        let from = chunk.context_tokens;
        let to = from + chunk.tokens;
        let end = if chunk.last { "" } else { " ..." };
        write!(text, " prefill {} [{from}-{to}{end}],", chunk.job).unwrap();
    }
    if step.decode {
        write!(text, " decode {},", step.decode_seqs).unwrap();
    }
    match step.max_iterations {
        1 => text + " 1 iteration",
        n => text + &format!(" {n} iterations"),
    }
}

pub(crate) fn triggers(fired: Triggers) -> String {
    let names = [
        (Triggers::ARRIVAL, "arrival"),
        (Triggers::FINISH, "finish"),
        (Triggers::WINDOW_END, "window-end"),
        (Triggers::PREDICTION, "prediction"),
        (Triggers::MEMORY_PRESSURE, "memory-pressure"),
        (Triggers::TIMER, "timer"),
    ];
    if fired == Triggers::ALL {
        return "all".to_owned();
    }
    let fired = names.into_iter().filter(|(t, _)| fired.intersects(*t));
    let names: Vec<&str> = fired.map(|(_, name)| name).collect();
    names.join(", ")
}

pub(crate) fn answer(plan: &Result<Plan, PolicyExit>) -> String {
    match plan {
        Ok(plan) if plan.run.is_empty() => "arrival order".to_owned(),
        Ok(plan) => format!("run {}", ids(&plan.run)),
        Err(exit) => exit.name().to_owned(),
    }
}

/// What has been counted since.
pub(crate) fn counted(before: &Stats, now: &Stats) -> Vec<String> {
    let mut pairs = Vec::new();
    for exit in PolicyExit::ALL {
        let at = exit as usize;
        pairs.push((
            format!("fallback, {}", exit.name()),
            before.fallbacks[at],
            now.fallbacks[at],
        ));
    }
    for fault in PlanFault::ALL {
        let at = fault as usize;
        pairs.push((
            format!("fault, {}", fault.name()),
            before.faults[at],
            now.faults[at],
        ));
    }
    let more = [
        ("late answer", before.late, now.late),
        (
            "boosted by the guard",
            before.starvation_boosts,
            now.starvation_boosts,
        ),
        ("moved to another worker", before.moved, now.moved),
        (
            "tokens to compute again",
            before.recomputed_tokens,
            now.recomputed_tokens,
        ),
        ("blocks swapped", before.swapped_blocks, now.swapped_blocks),
    ];
    pairs.extend(more.map(|(name, before, now)| (name.to_owned(), before, now)));
    let changed = pairs.into_iter().filter(|(_, before, now)| now > before);
    changed
        .map(|(name, before, now)| format!("counted: {name}: {}", now - before))
        .collect()
}
