//! Which worker's queue an arriving job joins.

use alloc::vec::Vec;

use crate::config::Placement;
use crate::queue::Queue;
use crate::worker::Worker;

/// What the jobs of one worker still need, in tokens.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    /// Jobs with a prediction, and the tokens of response that these are still to give.
    predicted: usize,
    response_tokens: f64,
    /// Jobs without one.
    unpredicted: usize,
    /// Tokens of context without KV, of all jobs.
    unread_tokens: u64,
}

impl Load {
    fn of(queue: &Queue) -> Self {
        let jobs = &queue.jobs;
        let mut load = Self::default();
        for row in 0..queue.len() {
            let generated = jobs.generated_tokens[row];
            let context = jobs.prompt_tokens[row].saturating_add(generated);
            load.unread_tokens += u64::from(context.saturating_sub(jobs.computed_tokens[row]));
            let remaining = jobs.predicted_remaining_tokens[row];
            if remaining.is_nan() {
                load.unpredicted += 1;
                continue;
            }
            // What it has given since it was predicted is done.
            let since = generated.saturating_sub(jobs.predicted_at_tokens[row]);
            load.predicted += 1;
            load.response_tokens += (f64::from(remaining) - f64::from(since)).max(0.0);
        }
        load
    }

    /// The time that a worker needs for it with full batches, in microseconds, by what policies are
    /// told of its speed; in tokens of response where they are told nothing. A job without a
    /// prediction counts as the mean of those that have one.
    fn work(&self, worker: &Worker, mean_tokens: f64) -> f64 {
        let cost = &worker.config.cost;
        let seqs = f64::from(worker.config.max_num_seqs.max(1));
        let token_us = f64::from(cost.iteration_base_us) / seqs + f64::from(cost.per_seq_us);
        let tokens = self.response_tokens + self.unpredicted as f64 * mean_tokens;
        if token_us > 0.0 {
            tokens * token_us + self.unread_tokens as f64 * f64::from(cost.per_prefill_token_us)
        } else {
            tokens
        }
    }
}

/// The worker for the next job: of those that are up, if any is, the one with the least load by the
/// rule, then the fewest jobs, then the first.
pub(crate) fn place(rule: Placement, workers: &[Worker]) -> u16 {
    let work = match rule {
        Placement::Jobs => alloc::vec![0.0; workers.len()],
        Placement::Work => works(workers),
    };
    let jobs = |worker: &Worker| (worker.queue.len(), worker.number);
    let least = workers
        .iter()
        .zip(&work)
        .min_by(|(a, a_work), (b, b_work)| {
            let down = (!a.is_up()).cmp(&!b.is_up());
            let work = a_work.total_cmp(b_work);
            down.then(work).then_with(|| jobs(a).cmp(&jobs(b)))
        });
    least.map_or(0, |(worker, _)| worker.number)
}

/// The work of each worker's jobs, all zero where no job has a prediction.
fn works(workers: &[Worker]) -> Vec<f64> {
    let loads: Vec<Load> = workers.iter().map(|w| Load::of(&w.queue)).collect();
    let predicted: usize = loads.iter().map(|load| load.predicted).sum();
    let tokens: f64 = loads.iter().map(|load| load.response_tokens).sum();
    let mean_tokens = tokens / predicted as f64;
    let work = |(worker, load): (&Worker, &Load)| match predicted {
        0 => 0.0,
        _ => load.work(worker, mean_tokens),
    };
    workers.iter().zip(&loads).map(work).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Batching, Boundary, Config, CostHint, WorkerConfig};
    use crate::message::{Input, Predicted};
    use crate::time::{Span, Time};
    use crate::{NO_DEADLINE, Request, Scheduler};

    /// Two workers without a policy; nothing ever runs, since nobody answers.
    fn two(placement: Placement, cost: CostHint) -> Scheduler {
        let worker = WorkerConfig {
            max_num_seqs: 4,
            max_batched_tokens: 64,
            block_size_tokens: 16,
            gpu_blocks: 1_000,
            cpu_blocks: 0,
            watermark_blocks: 0,
            batching: Batching::Mixed,
            cost,
        };
        let config = Config {
            boundary: Boundary::Slot,
            placement,
            window_tokens: 50,
            repredict_tokens: 0,
            prediction_wait: Span::ZERO,
            decision_deadline: NO_DEADLINE,
            max_wait: Span::ZERO,
            jobs_max: 100,
            seed: 0,
            workers: alloc::vec![worker; 2],
        };
        Scheduler::new(config).expect("something can run")
    }

    /// A request of so many prompt tokens, with a prediction or without; gives its worker.
    fn arrive(scheduler: &mut Scheduler, prompt_tokens: u32, predicted: Option<f32>) -> u16 {
        let job = scheduler.jobs() as u64 + 1;
        let mut tell = |input: Input<'_>| {
            scheduler.handle(Time::from_us(5), input);
            while scheduler.poll_output().is_some() {}
        };
        tell(Input::Arrive(Request::new(job, prompt_tokens, 500)));
        if let Some(remaining_tokens) = predicted {
            tell(Input::Predicted(Predicted {
                job,
                at_tokens: 0,
                remaining_tokens,
                sigma_tokens: 0.0,
                p90_tokens: remaining_tokens,
                source: 1,
            }));
        }
        scheduler.worker_of(job).expect("it is there")
    }

    #[test]
    fn jobs_are_counted_or_weighed() {
        let placed = |rule| {
            let mut scheduler = two(rule, CostHint::default());
            let predicted = [100.0, 10.0, 10.0, 10.0, 90.0];
            predicted.map(|tokens| arrive(&mut scheduler, 8, Some(tokens)))
        };
        assert_eq!(placed(Placement::Jobs), [0, 1, 0, 1, 0]);
        assert_eq!(placed(Placement::Work), [0, 1, 1, 1, 1]);
    }

    #[test]
    fn without_any_prediction_jobs_are_counted_and_a_missing_one_is_the_mean() {
        let mut scheduler = two(Placement::Work, CostHint::default());
        let unknown = [None; 3].map(|none| arrive(&mut scheduler, 8, none));
        assert_eq!(unknown, [0, 1, 0]);
        // Worker 1 has 300 of its own and the mean, 300, for the first; worker 0 has it twice.
        assert_eq!(arrive(&mut scheduler, 8, Some(300.0)), 1);
        assert_eq!(arrive(&mut scheduler, 8, Some(1.0)), 0);
        // The mean is 150.5 now: 302 and 450.5.
        assert_eq!(arrive(&mut scheduler, 8, None), 0);
    }

    #[test]
    fn prompts_count_at_the_speed_of_the_worker() {
        let cost = CostHint {
            iteration_base_us: 4_000.0,
            per_prefill_token_us: 100.0,
            ..CostHint::default()
        };
        // A token takes a millisecond of the worker, ten prompt tokens as long.
        let mut scheduler = two(Placement::Work, cost);
        assert_eq!(arrive(&mut scheduler, 400, Some(5.0)), 0);
        assert_eq!(arrive(&mut scheduler, 10, Some(30.0)), 1);
        assert_eq!(arrive(&mut scheduler, 10, Some(30.0)), 1);
        assert_eq!(arrive(&mut scheduler, 10, Some(5.0)), 0);
    }
}
