//! The core under random and hostile drivers: whatever clients, policies, predictors and workers
//! do, the books add up, the budgets hold and no request is lost.

mod draw;
mod engine;
mod guards;
mod invariants;
pub(crate) mod world;

use elis_scheduler::Span;
use elis_scheduler::plan::PolicyExit;
use proptest::prelude::*;

use draw::{Op, Setup};
use world::World;

/// Plays one sequence of operations and settles what is left.
fn play(setup: &Setup, ops: &[(u16, Op)]) -> World {
    let mut world = World::new(setup.config(), setup.interest);
    play_on(&mut world, ops);
    world.settle();
    world
}

fn play_on(world: &mut World, ops: &[(u16, Op)]) {
    for (pause_us, op) in ops {
        world.pass(Span::from_us(u64::from(*pause_us)));
        perform(world, op);
    }
}

fn perform(world: &mut World, op: &Op) {
    let workers = world.up.len() as u16;
    match op {
        Op::Arrive {
            prompt_tokens,
            output_tokens,
            tenant,
        } => {
            world.arrive(*prompt_tokens, *output_tokens, *tenant);
        }
        Op::Cancel { pick } => {
            let live: Vec<u64> = world.live.iter().copied().collect();
            // One in a while asks for a job that is not there.
            let job = live.get(pick % (live.len() + 1)).copied();
            world.cancel(job.unwrap_or(0));
        }
        Op::Answer { pick, plan } => {
            world.answer(*pick, |world, worker| plan.plan(world, worker));
        }
        Op::Fail { pick } => world.fail(*pick, PolicyExit::ALL[pick % PolicyExit::ALL.len()]),
        Op::AnswerLate { pick, plan } => {
            let plan = plan.plan(world, *pick as u16 % workers);
            world.answer_late(*pick, plan);
        }
        Op::Predict {
            pick,
            remaining_tokens,
        } => world.predict(*pick, *remaining_tokens),
        Op::EndStep { worker, early } => {
            world.end_step(worker % workers, *early);
        }
        Op::EndNothing { worker } => world.end_nothing(worker % workers),
        Op::Lose { worker } => world.lose(worker % workers),
        Op::Back { worker } => world.back(worker % workers),
        Op::Install { worker, interest } => {
            world.install(worker.map(|worker| worker % workers), *interest);
        }
        Op::Tick => {
            world.tick();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1500,
        // A case that fails is worth a test of its own, with a name.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_books_add_up_whatever_happens(
        setup in draw::setup(),
        ops in prop::collection::vec((0u16..3_000, draw::op()), 1..160),
    ) {
        let world = play(&setup, &ops);
        prop_assert!(world.live.is_empty(), "lost: {:?}", world.live);
        prop_assert_eq!(world.scheduler.load(), (0, 0, 0));
    }

    #[test]
    fn the_same_inputs_give_the_same_outputs(
        setup in draw::setup(),
        ops in prop::collection::vec((0u16..3_000, draw::op()), 1..80),
    ) {
        let (first, second) = (play(&setup, &ops), play(&setup, &ops));
        // As text, since a missing prediction is not equal to itself.
        prop_assert_eq!(format!("{:?}", first.log), format!("{:?}", second.log));
        prop_assert_eq!(first.scheduler.stats(), second.scheduler.stats());
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        // Each has a thread that writes.
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_record_from_any_moment_on_reproduces_the_rest(
        setup in draw::setup(),
        ops in prop::collection::vec((0u16..3_000, draw::op()), 1..160),
        from in any::<prop::sample::Index>(),
    ) {
        let (before, after) = ops.split_at(from.index(ops.len()));
        let mut world = World::new(setup.config(), setup.interest);
        play_on(&mut world, before);
        world.record();
        play_on(&mut world, after);
        world.settle();
        let replayed = world.replay();
        prop_assert_eq!((replayed.segments, replayed.proven_inputs), (1, replayed.inputs));
    }
}
