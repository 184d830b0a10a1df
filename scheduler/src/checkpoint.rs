//! A scheduler's state that comes from outside, and the check that its books add up.
//!
//! A checksum is who reads a log's first guard; this is the second, so that a state which no
//! scheduler ever had is refused and does not panic later.

use alloc::vec::Vec;

use thiserror::Error;

use crate::config::{Config, ConfigError};
use crate::index::{JobIndex, Place};
use crate::job::State as Life;
use crate::limits;
use crate::queue::UNRANKED;
use crate::scheduler::Scheduler;
use crate::stats::{PlanFaults, Stats};
use crate::time::Time;
use crate::worker::Worker;

/// Why a state is refused.
#[derive(Debug, Error)]
pub(crate) enum StateError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{workers} workers for a configuration of {configured}")]
    Workers { workers: usize, configured: usize },
    #[error("worker {worker}: {what}")]
    Worker { worker: u16, what: &'static str },
    #[error("{live} live jobs are known, the queues hold {held}")]
    Jobs { live: usize, held: usize },
}

/// The fields of a [`Scheduler`] as they are written, unchecked.
#[derive(serde::Deserialize)]
pub(crate) struct State {
    config: Config,
    workers: Vec<Worker>,
    plan_faults: Vec<PlanFaults>,
    index: JobIndex,
    stats: Stats,
    revision: u64,
    now: Time,
}

impl TryFrom<State> for Scheduler {
    type Error = StateError;

    fn try_from(state: State) -> Result<Self, StateError> {
        state.config.check()?;
        let (workers, configured) = (state.workers.len(), state.config.workers.len());
        if workers != configured || state.plan_faults.len() != configured {
            return Err(StateError::Workers {
                workers,
                configured,
            });
        }
        for (number, worker) in (0..).zip(&state.workers) {
            let same = worker.config == state.config.workers[usize::from(number)];
            let numbered = worker.number == number && worker.queue.worker == number;
            let found = if same && numbered {
                fault(worker, &state.index)
            } else {
                Some("it is not the one of the configuration")
            };
            if let Some(what) = found {
                return Err(StateError::Worker {
                    worker: number,
                    what,
                });
            }
        }
        let held = state.workers.iter().map(|worker| worker.queue.len()).sum();
        let live = state.index.len();
        if live != held || state.index.count() != held {
            return Err(StateError::Jobs { live, held });
        }
        Ok(Self {
            config: state.config,
            workers: state.workers,
            plan_faults: state.plan_faults,
            index: state.index,
            stats: state.stats,
            outputs: alloc::collections::VecDeque::new(),
            revision: state.revision,
            now: state.now,
        })
    }
}

/// What is wrong with a worker, if anything is.
fn fault(worker: &Worker, index: &JobIndex) -> Option<&'static str> {
    type Check = (fn(&Worker) -> bool, &'static str);
    let checks: [Check; 6] = [
        (tables_are_even, "its columns differ in length"),
        (partition_holds, "its rows are not sorted by what they do"),
        (memory_adds_up, "its blocks do not add up"),
        (tenants_add_up, "its tenants do not add up"),
        (counts_agree, "its counts are not those of its rows"),
        (
            step_is_sound,
            "its step is about jobs that it does not have",
        ),
    ];
    let places = |worker: &Worker| {
        let rows = (0..).zip(&worker.queue.jobs.id);
        let place = |row| Place {
            worker: worker.number,
            row,
        };
        rows.into_iter()
            .all(|(row, &id)| index.get(id) == Some(place(row)))
    };
    let found = checks.into_iter().find(|(holds, _)| !holds(worker));
    let found = found.map(|(_, what)| what);
    found.or_else(|| (!places(worker)).then_some("its jobs stand in other rows"))
}

fn tables_are_even(worker: &Worker) -> bool {
    let queue = &worker.queue;
    let rows = queue.jobs.len();
    let beside = [
        queue.hidden.len(),
        queue.window_left.len(),
        queue.predict_left.len(),
    ];
    queue.jobs.is_even()
        && queue.tenants.is_even()
        && beside.into_iter().all(|len| len == rows)
        && queue.histogram.len() == limits::HISTOGRAM_BINS
}

fn partition_holds(worker: &Worker) -> bool {
    let queue = &worker.queue;
    let (decoding, running) = (queue.decoding, queue.running);
    decoding <= running
        && running <= queue.len()
        && (0..queue.len()).all(|row| {
            let life = match queue.jobs.state[row] {
                state if row < decoding => state == Life::Decode.code(),
                state if row < running => state == Life::Prefill.code(),
                state => state == Life::New.code() || state > Life::Decode.code(),
            };
            let target = queue.hidden[row].prefill_target;
            let reads = row >= decoding && row < running;
            life && (!reads || queue.jobs.computed_tokens[row] <= target)
        })
}

fn memory_adds_up(worker: &Worker) -> bool {
    let (kv, jobs) = (&worker.kv, &worker.queue.jobs);
    let sum = |blocks: &[u32]| blocks.iter().map(|&b| u64::from(b)).sum::<u64>();
    let config = &worker.config;
    (kv.block_size_tokens, kv.gpu_total, kv.cpu_total)
        == (
            config.block_size_tokens,
            config.gpu_blocks,
            config.cpu_blocks,
        )
        && sum(&jobs.gpu_blocks) + u64::from(kv.gpu_free) == u64::from(kv.gpu_total)
        && sum(&jobs.cpu_blocks) + u64::from(kv.cpu_free) == u64::from(kv.cpu_total)
}

fn tenants_add_up(worker: &Worker) -> bool {
    let queue = &worker.queue;
    let mut counts = alloc::vec![(0u32, 0u32); queue.tenants.len()];
    for (row, &tenant) in queue.jobs.tenant.iter().enumerate() {
        let Some((waiting, running)) = counts.get_mut(tenant as usize) else {
            return false;
        };
        *(if row < queue.running {
            running
        } else {
            waiting
        }) += 1;
    }
    let known = queue.tenants.waiting.iter().zip(&queue.tenants.running);
    known.eq(counts.iter().map(|(waiting, running)| (waiting, running)))
}

fn counts_agree(worker: &Worker) -> bool {
    let queue = &worker.queue;
    let kv: u64 = (0..queue.decoding)
        .map(|row| u64::from(queue.context_tokens(row)))
        .sum();
    let waiting = queue.hidden[queue.running..].iter();
    let unplanned = waiting.filter(|job| job.rank == UNRANKED).count();
    let predicting = queue.hidden.iter().filter(|job| job.predicting).count();
    let paused = (0..queue.len()).filter(|&row| queue.state(row) == Life::Paused.code());
    (kv, unplanned, predicting) == (queue.decode_kv_tokens, queue.unplanned, queue.predicting)
        && paused.count() == queue.resident.len()
}

fn step_is_sound(worker: &Worker) -> bool {
    let (step, queue) = (&worker.step, &worker.queue);
    step.prefill.iter().all(|chunk| {
        let row = queue.jobs.id.iter().position(|&id| id == chunk.job);
        // One that is not there any more was cancelled; its chunk is passed over.
        row.is_none_or(|row| {
            let after = u64::from(queue.jobs.computed_tokens[row]) + u64::from(chunk.tokens);
            row < queue.decoding
                || row >= queue.running
                || after <= u64::from(queue.hidden[row].prefill_target)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Batching, Boundary, CostHint, Placement, WorkerConfig};
    use crate::message::{Input, Output};
    use crate::plan::Plan;
    use crate::time::Span;
    use crate::{NO_DEADLINE, Request};

    /// One worker with jobs that decode, jobs that read their prompts and jobs that wait.
    fn busy() -> State {
        let worker = WorkerConfig {
            max_num_seqs: 4,
            max_batched_tokens: 30,
            block_size_tokens: 8,
            gpu_blocks: 60,
            cpu_blocks: 0,
            watermark_blocks: 0,
            batching: Batching::Mixed,
            cost: CostHint::default(),
        };
        let config = Config {
            boundary: Boundary::Slot,
            placement: Placement::Jobs,
            window_tokens: 50,
            repredict_tokens: 0,
            prediction_wait: Span::ZERO,
            decision_deadline: NO_DEADLINE,
            max_wait: Span::ZERO,
            jobs_max: 100,
            seed: 0,
            workers: alloc::vec![worker],
        };
        let mut scheduler = Scheduler::new(config).expect("something can run");
        let tell = |scheduler: &mut Scheduler, input: Input<'_>| {
            scheduler.handle(Time::from_us(5), input);
            while let Some(output) = scheduler.poll_output() {
                if let Output::Decide { worker, revision } = output {
                    let plan = Plan::default();
                    scheduler.handle(
                        Time::from_us(5),
                        Input::Decided {
                            worker,
                            revision,
                            plan,
                        },
                    );
                }
            }
        };
        for id in 1..=6 {
            let request = Request::new(id, 12, 40);
            tell(&mut scheduler, Input::Arrive(request));
        }
        let done = Input::StepDone {
            worker: 0,
            iterations: 1,
            finished: &[],
        };
        tell(&mut scheduler, done.clone());
        tell(&mut scheduler, done);
        State {
            config: scheduler.config,
            workers: scheduler.workers,
            plan_faults: scheduler.plan_faults,
            index: scheduler.index,
            stats: scheduler.stats,
            revision: scheduler.revision,
            now: scheduler.now,
        }
    }

    #[test]
    fn a_state_whose_books_do_not_add_up_is_refused() {
        let state = busy();
        let queue = &state.workers[0].queue;
        assert!(queue.decoding > 0 && queue.running > queue.decoding);
        assert!(queue.len() > queue.running);
        assert!(Scheduler::try_from(state).is_ok());
        type Spoil = (fn(&mut State), &'static str);
        let spoils: [Spoil; 15] = [
            (|s| s.config.window_tokens = 0, "window_tokens"),
            (|s| s.workers.clear(), "0 workers"),
            (|s| s.plan_faults.clear(), "1 workers"),
            (|s| s.workers[0].number = 1, "configuration"),
            (|s| s.workers[0].config.gpu_blocks += 1, "configuration"),
            (|s| s.workers[0].queue.window_left.truncate(1), "length"),
            (|s| s.workers[0].queue.jobs.flags.truncate(1), "length"),
            (|s| s.workers[0].queue.decoding += 1, "sorted"),
            (|s| s.workers[0].queue.running = 99, "sorted"),
            (|s| s.workers[0].kv.gpu_free += 1, "blocks"),
            (|s| s.workers[0].queue.tenants.waiting[0] += 1, "tenants"),
            (|s| s.workers[0].queue.jobs.tenant[0] = 9, "tenants"),
            (|s| s.workers[0].queue.unplanned += 1, "counts"),
            (|s| s.workers[0].queue.jobs.id.swap(0, 1), "other rows"),
            (
                |s| s.index.insert(50, Place { worker: 0, row: 0 }),
                "live jobs",
            ),
        ];
        for (spoil, expected) in spoils {
            let mut state = busy();
            spoil(&mut state);
            let error = Scheduler::try_from(state).expect_err(expected);
            let text = alloc::format!("{error}");
            assert!(text.contains(expected), "{text}");
        }
    }
}
