//! Promises of the core that a random run seldom puts to the test, one by one.

use elis_scheduler::config::{Batching, Boundary, Config, CostHint, Placement, WorkerConfig};
use elis_scheduler::plan::{Interest, Plan};
use elis_scheduler::snapshot::Triggers;
use elis_scheduler::{NO_DEADLINE, Span};

use super::world::World;

const ASKED_ALWAYS: Interest = Interest {
    triggers: Triggers::ALL,
    preemptive: true,
    predictions: false,
    identity: 0,
};

fn config(workers: usize) -> Config {
    let worker = WorkerConfig {
        max_num_seqs: 2,
        max_batched_tokens: 64,
        block_size_tokens: 4,
        gpu_blocks: 10,
        cpu_blocks: 10,
        watermark_blocks: 0,
        batching: Batching::Mixed,
        cost: CostHint::default(),
    };
    Config {
        boundary: Boundary::Slot,
        placement: Placement::Jobs,
        window_tokens: 4,
        repredict_tokens: 0,
        prediction_wait: Span::ZERO,
        decision_deadline: NO_DEADLINE,
        max_wait: Span::ZERO,
        jobs_max: 100,
        seed: 0,
        workers: vec![worker; workers],
    }
}

fn nothing(world: &mut World) {
    world.answer(0, |_, _| Plan::default());
}

/// A plan that puts jobs off until long after the test.
fn defer(jobs: &[u64]) -> Plan {
    Plan {
        defer: jobs.to_vec(),
        defer_until_us: vec![3_600_000_000; jobs.len()],
        ..Plan::default()
    }
}

#[test]
fn a_policy_cannot_put_a_job_off_beyond_the_longest_wait() {
    let config = Config {
        max_wait: Span::from_ms(10),
        ..config(1)
    };
    let mut world = World::new(config, ASKED_ALWAYS);
    world.arrive(4, 4, 0);
    world.answer(0, |_, _| defer(&[1]));
    assert!(!world.engines[0].busy(), "it waits, as the plan wants");
    // The guard brings it back; that the policy puts it off once more must not matter.
    world.pass(Span::from_ms(11));
    world.answer(0, |_, _| defer(&[1]));
    assert!(world.engines[0].busy(), "it has waited long enough");
}

#[test]
fn a_large_job_past_its_wait_is_not_starved_of_memory_by_small_ones() {
    let config = Config {
        max_wait: Span::from_ms(10),
        ..config(1)
    };
    let mut world = World::new(config, ASKED_ALWAYS);
    // It needs nine of the ten blocks, and from now on two small jobs are always there.
    world.arrive(4, 12, 0);
    nothing(&mut world);
    world.arrive(33, 1, 0);
    for round in 0..200 {
        world.arrive(4, 6, 0);
        world.pass(Span::from_ms(1));
        // The policy wants the large one last, and lets everybody pass it.
        world.answer(0, |world, worker| {
            let jobs = world.scheduler.snapshot(worker).unwrap().jobs;
            let mut run = jobs.id.clone();
            run.sort_unstable_by_key(|&id| (id == 2, std::cmp::Reverse(id)));
            Plan {
                run,
                bypass: true,
                ..Plan::default()
            }
        });
        world.end_step(0, 1);
        if !world.live.contains(&2) {
            assert!(round >= 10, "it had to wait");
            return;
        }
    }
    panic!("it never ran: {:?}", world.scheduler.job(2));
}

#[test]
fn jobs_go_to_whichever_worker_comes_back() {
    let mut world = World::new(config(2), Interest::default());
    world.lose(0);
    world.lose(1);
    world.arrive(4, 4, 0);
    world.arrive(4, 4, 0);
    world.back(1);
    nothing(&mut world);
    while world.end_step(1, 1) {}
    assert!(world.live.is_empty(), "{:?} wait for ever", world.live);
}

#[test]
fn a_moved_job_is_still_put_off_and_then_runs() {
    let mut world = World::new(config(2), ASKED_ALWAYS);
    world.arrive(4, 4, 0);
    let until_us = 50_000;
    world.answer(0, |_, _| Plan {
        defer: vec![1],
        defer_until_us: vec![until_us],
        ..Plan::default()
    });
    world.lose(0);
    nothing(&mut world);
    assert!(!world.engines[1].busy(), "it is not its time");
    world.pass(Span::from_us(until_us + 1));
    nothing(&mut world);
    assert!(world.engines[1].busy());
}

#[test]
fn a_batch_that_was_cancelled_makes_room_for_the_next() {
    let config = Config {
        boundary: Boundary::Batch,
        ..config(1)
    };
    let mut world = World::new(config, Interest::default());
    world.arrive(4, 20, 0);
    nothing(&mut world);
    world.arrive(4, 4, 0);
    world.end_step(0, 1);
    world.cancel(1);
    world.end_step(0, 1);
    nothing(&mut world);
    while world.end_step(0, 1) {}
    assert!(world.live.is_empty());
}

#[test]
fn a_cancelled_job_ends_though_its_slot_or_its_worker_is_taken() {
    let mut world = World::new(config(2), ASKED_ALWAYS);
    world.arrive(4, 20, 0);
    nothing(&mut world);
    world.cancel(1);
    world.lose(0);
    assert!(world.live.is_empty(), "its worker is gone");
    world.arrive(4, 20, 0);
    nothing(&mut world);
    world.end_step(1, 1);
    world.arrive(4, 20, 0);
    world.end_step(1, 1);
    world.cancel(2);
    world.answer(0, |_, _| Plan {
        run: vec![3],
        preempt: vec![2],
        preempt_modes: vec![elis_scheduler::plan::Preemption::Pause],
        ..Plan::default()
    });
    assert_eq!(world.live.len(), 1, "it ended while the policy thought");
}

#[test]
fn nobody_waits_for_the_prediction_of_a_cancelled_job() {
    let config = Config {
        prediction_wait: NO_DEADLINE,
        ..config(1)
    };
    let interest = Interest {
        predictions: true,
        ..ASKED_ALWAYS
    };
    let mut world = World::new(config, interest);
    world.arrive(4, 4, 0);
    world.arrive(4, 4, 0);
    world.predict(0, 4.0);
    world.cancel(2);
    nothing(&mut world);
    assert!(world.engines[0].busy());
}

#[test]
fn the_first_prediction_of_the_whole_is_a_jobs_rank_for_good() {
    let predicted = Interest {
        predictions: true,
        ..ASKED_ALWAYS
    };
    let config = Config {
        repredict_tokens: 4,
        ..config(1)
    };
    let mut world = World::new(config, predicted);
    world.arrive(4, 12, 0);
    assert!(world.scheduler.job(1).unwrap().rank_score.is_nan());
    world.predict(0, 30.0);
    assert_eq!(world.scheduler.job(1).unwrap().rank_score, 30.0);
    nothing(&mut world);
    while world.scheduler.job(1).unwrap().generated_tokens < 6 {
        assert!(world.end_step(0, 100), "it is asked about after 4 tokens");
        nothing(&mut world);
    }
    world.predict(0, 5.0);
    let job = world.scheduler.job(1).unwrap();
    assert_eq!(job.predicted_remaining_tokens, 5.0);
    assert_eq!(job.rank_score, 30.0);
}

#[test]
fn a_tenant_that_comes_while_the_policy_thinks_is_new_at_the_next_decision() {
    let mut world = World::new(config(1), ASKED_ALWAYS);
    world.arrive(4, 20, 0);
    world.arrive(4, 20, 1);
    world.answer(0, |_, _| Plan {
        run: vec![1],
        max_num_seqs: 1,
        ..Plan::default()
    });
    let edges = |world: &World| {
        let snapshot = world.scheduler.snapshot(0).unwrap();
        snapshot.tenants.backlogged_edge.clone()
    };
    assert_eq!(edges(&world), [0, 1]);
    world.end_step(0, 1);
    nothing(&mut world);
    assert_eq!(edges(&world), [0, 0]);
}

#[test]
fn a_prompt_that_is_read_again_is_no_new_service() {
    let config = Config {
        window_tokens: 1,
        ..config(1)
    };
    let mut world = World::new(config, ASKED_ALWAYS);
    world.arrive(8, 6, 0);
    nothing(&mut world);
    world.end_step(0, 1);
    world.arrive(4, 2, 0);
    world.end_step(0, 1);
    world.answer(0, |_, _| Plan {
        run: vec![2],
        preempt: vec![1],
        preempt_modes: vec![elis_scheduler::plan::Preemption::Recompute],
        ..Plan::default()
    });
    assert_eq!(world.scheduler.stats().recomputed_tokens, 9);
    while !world.live.is_empty() {
        world.end_step(0, 1);
        nothing(&mut world);
    }
    let snapshot = world.scheduler.snapshot(0).unwrap();
    assert_eq!(snapshot.tenants.input_tokens, [8 + 4]);
    assert_eq!(snapshot.tenants.output_tokens, [6 + 2]);
}

#[test]
fn tokens_of_a_plan_are_for_one_iteration_and_for_prompts_that_go_on_too() {
    let config = Config {
        workers: vec![WorkerConfig {
            gpu_blocks: 100,
            ..config(1).workers[0]
        }],
        ..config(1)
    };
    let mut world = World::new(config, ASKED_ALWAYS);
    let chunks = |world: &World| {
        let prefill = &world.scheduler.step(0).unwrap().prefill;
        let chunk = |chunk: &elis_scheduler::PrefillChunk| (chunk.job, chunk.tokens);
        prefill.iter().map(chunk).collect::<Vec<_>>()
    };
    let plan = |run: &[u64], tokens: &[u32]| Plan {
        run: run.to_vec(),
        run_tokens: tokens.to_vec(),
        ..Plan::default()
    };
    world.arrive(100, 4, 0);
    world.answer(0, |_, _| plan(&[1], &[10]));
    assert_eq!(chunks(&world), [(1, 10)]);
    world.arrive(40, 4, 0);
    world.end_step(0, 1);
    world.answer(0, |_, _| plan(&[1, 2], &[5, 7]));
    assert_eq!(chunks(&world), [(1, 5), (2, 7)]);
    // Nothing is asked now, and the host divides its 64 tokens as it likes.
    world.end_step(0, 1);
    assert_eq!(chunks(&world), [(1, 64)]);
}

/// A plan that writes two words beside each of these jobs.
fn words(jobs: &[u64]) -> Plan {
    Plan {
        state_jobs: jobs.to_vec(),
        state_values: jobs.iter().flat_map(|&job| [job + 10, job + 20]).collect(),
        ..Plan::default()
    }
}

#[test]
fn words_are_those_of_whoever_wrote_them_and_begin_at_0_for_another() {
    let mut world = World::new(config(1), ASKED_ALWAYS);
    world.arrive(4, 20, 0);
    world.arrive(4, 20, 0);
    world.arrive(4, 20, 0);
    world.answer(0, |_, _| words(&[1, 3]));
    let known = |world: &World| {
        let jobs = world.scheduler.snapshot(0).unwrap().jobs;
        let row = |job| jobs.id.iter().position(|&id| id == job).unwrap();
        [1, 3].map(|job| (jobs.state_a[row(job)], jobs.state_b[row(job)]))
    };
    world.install(None, ASKED_ALWAYS);
    assert_eq!(
        known(&world),
        [(11, 21), (13, 23)],
        "loaded anew it reads its own"
    );
    let another = Interest {
        identity: 7,
        ..ASKED_ALWAYS
    };
    world.install(None, another);
    assert_eq!(known(&world), [(0, 0), (0, 0)]);
}

#[test]
fn each_worker_has_a_policy_of_its_own() {
    let mut world = World::new(config(2), Interest::default());
    let canary = Interest {
        predictions: true,
        identity: 7,
        ..ASKED_ALWAYS
    };
    world.install(Some(1), canary);
    world.arrive(4, 20, 0);
    world.arrive(4, 20, 0);
    assert!(!world.predicts(1) && world.predicts(2));
    while world.is_asked(0) || world.is_asked(1) {
        world.answer(0, |world, worker| {
            let id = world.scheduler.snapshot(worker).unwrap().jobs.id.clone();
            let mut plan = words(&id);
            plan.run = vec![99];
            plan
        });
    }
    assert_eq!(world.scheduler.job(2).unwrap().state_a, 12);
    let faults = |worker| {
        world
            .scheduler
            .plan_faults(worker)
            .unwrap()
            .iter()
            .sum::<u64>()
    };
    let all = world.scheduler.stats().faults.iter().sum::<u64>();
    assert!(faults(1) > 0 && faults(0) + faults(1) == all);
    // Whose worker is lost comes to another policy, which reads no words of the first.
    world.lose(1);
    assert_eq!(world.scheduler.job(2).unwrap().state_a, 0);
    world.install(Some(1), Interest::default());
    world.back(1);
    world.settle();
    assert!(world.live.is_empty());
}

#[test]
fn whom_a_policy_put_off_the_next_one_need_not() {
    let mut world = World::new(config(1), ASKED_ALWAYS);
    world.arrive(4, 4, 0);
    world.answer(0, |_, _| defer(&[1]));
    assert!(!world.engines[0].busy());
    world.install(None, ASKED_ALWAYS);
    nothing(&mut world);
    assert!(world.engines[0].busy(), "it runs under arrival order");
}
