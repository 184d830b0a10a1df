//! What every policy must do: a total order over the jobs it is shown, whatever the order of the
//! rows, the same each time, inside its budget, and not lost when the policy is swapped.

use std::collections::BTreeSet;

use elis_scheduler::plan::{Interest, Plan};
use elis_scheduler::snapshot::Snapshot;
use elis_sim::{Answer, Decider};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::twins::native::{Twin, native};
use crate::twins::queues::{self, Queue};
use crate::twins::{MODES, loaded, options, policies, run, stream};

fn plan(name: &str, queue: &Queue) -> Plan {
    native(name).decide(&queue.snapshot()).plan.unwrap()
}

/// The policy, replaced by a new instance before each decision.
struct Swapped {
    name: String,
    policy: Box<dyn Twin>,
}

impl Swapped {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            policy: native(name),
        }
    }
}

impl Decider for Swapped {
    fn interest(&self) -> Interest {
        self.policy.interest()
    }

    fn decide(&mut self, snapshot: &Snapshot<'_>) -> Answer {
        let mut next = native(&self.name);
        next.import_state(&self.policy.export_state());
        self.policy = next;
        self.policy.decide(snapshot)
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_policy_keeps_the_contract(queue in queues::queue(0..120), seed in any::<u64>()) {
        let known: BTreeSet<u64> = queue.jobs.id.iter().copied().collect();
        for name in policies() {
            let first = plan(&name, &queue);
            prop_assert!(first.run.len() <= queue.header.plan_max as usize, "{}", name);
            let lists = [&first.run, &first.victims, &first.preempt, &first.reject];
            for list in lists.into_iter().chain([&first.swap_in, &first.state_jobs]) {
                let each: BTreeSet<u64> = list.iter().copied().collect();
                prop_assert_eq!(each.len(), list.len(), "{} names a job twice", name);
                prop_assert!(each.is_subset(&known), "{} makes up jobs", name);
            }
            let somebody = !known.is_empty() && queue.header.plan_max > 0;
            prop_assert_eq!(!first.run.is_empty(), somebody, "{} runs nobody", name);
            prop_assert_eq!(&first, &plan(&name, &queue), "{} wavers", name);
            prop_assert_eq!(&first, &plan(&name, &queue.permuted(seed)), "{}: rows", name);
        }
    }

    #[test]
    fn what_is_handed_over_is_all_that_it_remembers(
        before in vec(queues::queue(0..40), 1..4),
        queue in queues::queue(0..40),
    ) {
        for name in policies() {
            let mut veteran = native(&name);
            for earlier in &before {
                drop(veteran.decide(&earlier.snapshot()));
            }
            let mut heir = native(&name);
            heir.import_state(&veteran.export_state());
            let later = veteran.decide(&queue.snapshot()).plan;
            prop_assert_eq!(later, heir.decide(&queue.snapshot()).plan, "{} remembers", name);
        }
    }
}

#[test]
fn without_any_prediction_every_policy_goes_by_arrival() {
    let jobs: Vec<(u64, f32)> = (1..50).map(|id| (id, f32::NAN)).collect();
    let queue = Queue::of(&jobs).permuted(9);
    for name in policies() {
        let run = plan(&name, &queue).run;
        assert!(run.is_sorted() && run[0] == 1, "{name}: {run:?}");
        assert!(run.len() >= queue.header.max_num_seqs as usize, "{name}");
    }
}

#[test]
fn fresh_instances_decide_alike() {
    let jobs: Vec<(u64, f32)> = (1..50).map(|id| (id, (id * 37 % 101) as f32)).collect();
    let queue = Queue::of(&jobs);
    for name in policies() {
        let policy = loaded(&name);
        let [one, other] = [0; 2].map(|_| policy.start("").unwrap().decide(&queue.snapshot()));
        assert_eq!(one.plan, other.plan, "{name}");
        assert_eq!(one.fuel_used, other.fuel_used, "{name}");
    }
}

#[test]
fn a_policy_that_is_swapped_for_itself_goes_on_as_it_was() {
    let workload = stream(150);
    for name in policies() {
        let (boundary, batching) = MODES[0];
        let options = options(boundary, batching);
        let kept = run(&options, &workload, &mut *native(&name));
        let swapped = run(&options, &workload, &mut Swapped::new(&name));
        assert_eq!(kept.decisions, swapped.decisions, "{name}");
    }
}

#[test]
fn ten_thousand_jobs_are_within_the_budget() {
    let jobs: Vec<(u64, f32)> = (1..=10_000)
        .map(|id| (id, (id * 37 % 1_009) as f32))
        .collect();
    let unknown: Vec<(u64, f32)> = jobs.iter().map(|&(id, _)| (id, f32::NAN)).collect();
    for name in policies() {
        for queue in [Queue::of(&jobs), Queue::of(&unknown)] {
            // The default budget, which ends a loop within 0.1 s.
            let answer = loaded(&name).start("").unwrap().decide(&queue.snapshot());
            assert!(answer.plan.is_ok(), "{name}: {:?}", answer.plan);
            assert!(
                answer.fuel_used < 25_000_000,
                "{name}: {}",
                answer.fuel_used
            );
        }
    }
}
