//! What `fair` does: tenants take turns, and inside a tenant nothing changes.

use elis_policy_sdk::{Header, Policy, state};
use proptest::prelude::*;

use super::{Job, SECOND_US, Tenant, Tether, decide_of, exact, header, job};

/// Two tenants that wait.
const WAITING: [Tenant; 2] = [(1.0, 0, 0, 1, 0); 2];

fn fair() -> Tether {
    let mut policy = exact();
    policy.configure("fair = true").unwrap();
    policy
}

/// An instance that has been there since before anybody was served.
fn opened() -> Tether {
    let mut policy = fair();
    run(&mut policy, &[], &[]);
    policy
}

fn run(policy: &mut Tether, jobs: &[Job], tenants: &[Tenant]) -> Vec<u64> {
    let header = Header {
        max_num_seqs: 4,
        ..header(10 * SECOND_US)
    };
    decide_of(policy, &header, jobs, tenants, &[]).run
}

/// A job of a tenant, with a prompt.
fn of(tenant: u32, id: u64, remaining: f32) -> Job {
    Job {
        tenant,
        prompt: 100,
        ..job(id, remaining)
    }
}

#[test]
fn a_flood_takes_turns_with_everybody_else_and_has_its_shortest_first() {
    let jobs = [
        of(0, 1, 40.0),
        of(0, 2, 30.0),
        of(0, 3, 20.0),
        of(0, 4, 10.0),
        of(1, 5, 90.0),
        of(1, 6, 80.0),
    ];
    assert_eq!(run(&mut opened(), &jobs, &WAITING), [4, 6, 3, 5, 2, 1]);
    // Off, the flood has all slots.
    assert_eq!(run(&mut exact(), &jobs, &WAITING), [4, 3, 2, 1, 6, 5]);
}

#[test]
fn who_was_served_less_for_its_weight_is_next() {
    let jobs = [of(0, 1, 5.0), of(1, 2, 5.0)];
    let served = [(1.0, 100, 50, 1, 0), (1.0, 190, 0, 1, 0)];
    assert_eq!(run(&mut opened(), &jobs, &served), [2, 1]);
    let weighed = [(2.0, 100, 50, 1, 0), (1.0, 190, 0, 1, 0)];
    assert_eq!(run(&mut opened(), &jobs, &weighed), [1, 2]);
}

#[test]
fn a_slot_is_lost_to_jobs_of_ones_own_tenant_only() {
    let running = Job {
        state: state::DECODE,
        ..of(0, 1, 50.0)
    };
    let foreign = [running, of(1, 2, 1.0)];
    assert_eq!(run(&mut opened(), &foreign, &WAITING), [1, 2]);
    let own = [running, of(1, 2, 1.0), of(0, 3, 1.0)];
    assert_eq!(run(&mut opened(), &own, &WAITING), [3, 2, 1]);
}

#[test]
fn the_shares_go_to_the_next_version() {
    let jobs = [of(0, 1, 5.0), of(0, 2, 6.0), of(1, 3, 5.0)];
    let mut old = opened();
    run(&mut old, &jobs, &[(1.0, 900, 0, 2, 0), (1.0, 0, 0, 1, 1)]);
    let state = old.export_state();
    let mut heir = fair();
    heir.import_state(&state).unwrap();
    assert_eq!(heir.export_state(), state);
    let later = [(1.0, 900, 10, 2, 0), (1.0, 0, 0, 1, 0)];
    assert_eq!(run(&mut heir, &jobs, &later), run(&mut old, &jobs, &later));
    // Whoever does not share reads it too.
    exact().import_state(&state).unwrap();
    for cut in [8, 16, 24] {
        assert!(fair().import_state(&state[..cut]).is_err());
    }
}

proptest! {
    /// Each tenant's jobs come as an instance that knows only them would have them, now and later.
    #[test]
    fn a_tenant_is_on_its_own_tether(
        rows in prop::collection::vec((0u64..400, 0u32..3, 1u8..60, 1u8..8, 0u8..8), 0..40),
        max_num_seqs in 1u32..8,
    ) {
        let mut all = fair();
        let mut alone = [exact(), exact(), exact()];
        let tenants: [Tenant; 3] = [(1.0, 0, 0, 1, 0); 3];
        for (step, second) in [(0u8, 500), (1, 620), (2, 655)] {
            let has = |bits: u8| bits >> step & 1 == 1;
            let there = rows.iter().zip(1u64..).filter(|(row, _)| has(row.3));
            let jobs: Vec<Job> = there
                .map(|(&(arrival, tenant, remaining, _, slot), id)| Job {
                    id,
                    tenant,
                    arrival_us: arrival * SECOND_US,
                    state: if has(slot) { state::DECODE } else { state::PAUSED },
                    remaining: f32::from(remaining),
                    ..Job::default()
                })
                .collect();
            let header = Header { max_num_seqs, ..header(second * SECOND_US) };
            let run = decide_of(&mut all, &header, &jobs, &tenants, &[]).run;
            for (tenant, alone) in (0u32..).zip(&mut alone) {
                let own: Vec<Job> =
                    jobs.iter().copied().filter(|job| job.tenant == tenant).collect();
                if own.is_empty() {
                    // Nothing is remembered of a tenant that has left.
                    *alone = exact();
                }
                let expected = decide_of(alone, &header, &own, &tenants, &[]).run;
                let is_own = |id: &u64| own.iter().any(|job| job.id == *id);
                let given: Vec<u64> = run.iter().copied().filter(is_own).collect();
                prop_assert_eq!(&given[..], &expected[..given.len()]);
            }
        }
    }
}
