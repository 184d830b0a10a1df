//! The rule on small snapshots, and against the obvious way to write it.

use elis_policy_sdk::{Column, Header, Policy, Snapshot, state};
use proptest::prelude::*;

use super::Vtc;

#[derive(Debug, Clone, Copy)]
struct Job {
    id: u64,
    arrival_us: u64,
    state: u32,
    tenant: u32,
    prompt: u32,
    computed: u32,
    generated: u32,
}

/// A tenant as (weight, input, output, backlogged edge).
type Tenant = (f32, u64, u64, u32);

fn run(policy: &mut Vtc, jobs: &[Job], tenants: &[Tenant]) -> Vec<u64> {
    let header = Header {
        max_num_seqs: 4,
        plan_max: 1_000,
        ..Header::default()
    };
    let id: Vec<u64> = jobs.iter().map(|job| job.id).collect();
    let arrival: Vec<u64> = jobs.iter().map(|job| job.arrival_us).collect();
    let u32s = |of: fn(&Job) -> u32| jobs.iter().map(of).collect::<Vec<u32>>();
    let states = u32s(|job| job.state);
    let tenant = u32s(|job| job.tenant);
    let prompt = u32s(|job| job.prompt);
    let computed = u32s(|job| job.computed);
    let generated = u32s(|job| job.generated);
    let weight: Vec<f32> = tenants.iter().map(|tenant| tenant.0).collect();
    let input: Vec<u64> = tenants.iter().map(|tenant| tenant.1).collect();
    let output: Vec<u64> = tenants.iter().map(|tenant| tenant.2).collect();
    let waits = |tenant: u32| {
        let waits = |job: &&Job| job.tenant == tenant && !state::has_slot(job.state);
        jobs.iter().filter(waits).count() as u32
    };
    let waiting: Vec<u32> = (0..tenants.len() as u32).map(waits).collect();
    let edge: Vec<u32> = tenants.iter().map(|tenant| tenant.3).collect();
    let columns = [
        Column::U64s(&id),
        Column::U64s(&arrival),
        Column::U32s(&states),
        Column::U32s(&tenant),
        Column::U32s(&prompt),
        Column::U32s(&computed),
        Column::U32s(&generated),
        Column::F32s(&weight),
        Column::U64s(&input),
        Column::U64s(&output),
        Column::U32s(&waiting),
        Column::U32s(&edge),
    ];
    policy.decide(&Snapshot::new(&header, &columns)).run
}

fn new(id: u64, tenant: u32) -> Job {
    Job {
        id,
        arrival_us: id,
        state: state::NEW,
        tenant,
        prompt: 100,
        computed: 0,
        generated: 0,
    }
}

const IDLE: Tenant = (1.0, 0, 0, 0);

/// A policy that has been there since before anybody was served.
fn opened() -> Vtc {
    let mut policy = Vtc::default();
    run(&mut policy, &[], &[]);
    policy
}

#[test]
fn a_flood_takes_turns_with_everybody_else() {
    let jobs = [
        new(1, 0),
        new(2, 0),
        new(3, 0),
        new(4, 0),
        new(5, 1),
        new(6, 1),
    ];
    let order = run(&mut opened(), &jobs, &[IDLE; 2]);
    assert_eq!(order, [1, 5, 2, 6, 3, 4]);
}

#[test]
fn output_costs_twice_as_much_and_a_weight_makes_both_cheaper() {
    let jobs = [new(1, 0), new(2, 1)];
    let served = [(1.0, 100, 50, 0), (1.0, 199, 0, 0)];
    assert_eq!(run(&mut opened(), &jobs, &served), [2, 1]);
    let weighed = [(2.0, 100, 50, 0), (1.0, 199, 0, 0)];
    assert_eq!(run(&mut opened(), &jobs, &weighed), [1, 2]);
    let mut inputs_only = opened();
    inputs_only.configure("output_price = 0").unwrap();
    assert_eq!(run(&mut inputs_only, &jobs, &served), [1, 2]);
    assert!(inputs_only.configure("input_price = -1").is_err());
}

#[test]
fn a_prompt_is_paid_for_when_it_gets_its_slot_and_only_once() {
    let reading = Job {
        state: state::PREFILL,
        computed: 20,
        ..new(1, 0)
    };
    let evicted = Job {
        state: state::EVICTED,
        generated: 1,
        ..new(2, 0)
    };
    // 20 tokens are counted, 80 are still to be read: as much as the 100 of the other tenant.
    let jobs = [reading, new(3, 0), new(4, 1)];
    let served = [(1.0, 20, 0, 0), (1.0, 99, 0, 0)];
    assert_eq!(run(&mut opened(), &jobs, &served), [1, 4, 3]);
    // What was evicted has been paid for, so its tenant goes on with the next.
    let jobs = [evicted, new(3, 0), new(4, 1)];
    let served = [(1.0, 50, 0, 0), (1.0, 99, 0, 0)];
    assert_eq!(run(&mut opened(), &jobs, &served), [2, 3, 4]);
}

#[test]
fn who_was_idle_has_no_credit() {
    let mut policy = opened();
    let jobs = [new(1, 0), new(2, 0)];
    run(&mut policy, &jobs, &[(1.0, 900, 0, 0), IDLE]);
    // Tenant 1 joins at the counter of tenant 0 and takes turns with it from here on.
    let jobs = [new(1, 0), new(2, 0), new(3, 1), new(4, 1), new(5, 1)];
    let joined = [(1.0, 900, 0, 0), (1.0, 0, 0, 1)];
    assert_eq!(run(&mut policy, &jobs, &joined), [1, 3, 2, 4, 5]);
    // Without the lift it would go first until it has caught up.
    let fresh = run(&mut opened(), &jobs, &[(1.0, 900, 0, 0), IDLE]);
    assert_eq!(fresh, [3, 4, 5, 1, 2]);
}

#[test]
fn after_an_empty_queue_the_last_that_left_is_the_measure() {
    let mut policy = opened();
    run(&mut policy, &[new(1, 0)], &[(1.0, 900, 0, 0), IDLE]);
    // It got its slot, and two others come at once: one that was never there and itself.
    let reading = Job {
        state: state::DECODE,
        computed: 100,
        generated: 1,
        ..new(1, 0)
    };
    let jobs = [reading, new(2, 0), new(3, 1), new(4, 1)];
    let joined = [(1.0, 900, 0, 1), (1.0, 0, 0, 1)];
    assert_eq!(run(&mut policy, &jobs, &joined), [1, 2, 3, 4]);
}

#[test]
fn the_counters_go_to_the_next_version() {
    let mut old = opened();
    let jobs = [new(1, 0), new(2, 0), new(3, 1)];
    run(&mut old, &jobs[..2], &[(1.0, 900, 0, 0), IDLE]);
    run(&mut old, &jobs, &[(1.0, 900, 0, 0), (1.0, 0, 0, 1)]);
    let mut heir = Vtc::default();
    heir.import_state(&old.export_state()).unwrap();
    let later = [(1.0, 901, 0, 0), (1.0, 0, 0, 0)];
    assert_eq!(run(&mut heir, &jobs, &later), run(&mut old, &jobs, &later));
    assert!(heir.import_state(b"nonsense").is_err());
}

/// Jobs one by one, each time to the tenant with the least counter, straight from the paper.
fn twin(jobs: &[Job], tenants: &[Tenant]) -> Vec<u64> {
    let cost = |job: &Job| f64::from(job.prompt) / f64::from(tenants[job.tenant as usize].0);
    let charged = |tenant: &Tenant| (tenant.1 + 2 * tenant.2) as f64 / f64::from(tenant.0);
    let mut charged: Vec<f64> = tenants.iter().map(charged).collect();
    let mut left = jobs.to_vec();
    let mut order = Vec::new();
    while order.len() < 20 && !left.is_empty() {
        let oldest = |job: &&Job| (job.arrival_us, job.id);
        let heads = (0..tenants.len() as u32).filter_map(|tenant| {
            left.iter()
                .filter(|j| j.tenant == tenant)
                .min_by_key(oldest)
        });
        let least = heads.min_by(|a, b| {
            let counter = |job: &Job| charged[job.tenant as usize];
            counter(a)
                .total_cmp(&counter(b))
                .then(oldest(a).cmp(&oldest(b)))
        });
        let next = *least.unwrap();
        charged[next.tenant as usize] += cost(&next);
        left.retain(|job| job.id != next.id);
        order.push(next.id);
    }
    order
}

proptest! {
    #[test]
    fn it_serves_the_least_counter_over_and_over(
        rows in prop::collection::vec((0u64..4, 0u32..3, 1u32..300), 0..40),
        tenants in prop::collection::vec((1u8..5, 0u64..500, 0u64..500), 3),
        rotate in 0usize..100,
    ) {
        let jobs: Vec<Job> = rows
            .iter()
            .zip(1..)
            .map(|(&(arrival_us, tenant, prompt), id)| Job { arrival_us, prompt, ..new(id, tenant) })
            .collect();
        let tenants: Vec<Tenant> =
            tenants.iter().map(|&(weight, i, o)| (f32::from(weight), i, o, 0)).collect();
        let mut turned = jobs.clone();
        turned.rotate_left(rotate.min(jobs.len()));
        prop_assert_eq!(run(&mut opened(), &turned, &tenants), twin(&jobs, &tenants));
    }
}
