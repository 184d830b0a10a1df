//! The rule on small snapshots, against the obvious way to write it, and what it promises.

use elis_policy_sdk::{Column, Header, Plan, Policy, Snapshot, flags};
use proptest::prelude::*;

use super::Tether;

const SECOND_US: u64 = 1_000_000;

#[derive(Debug, Clone, Copy, Default)]
struct Job {
    id: u64,
    arrival_us: u64,
    flags: u32,
    prompt: u32,
    computed: u32,
    generated: u32,
    remaining: f32,
    predicted_at: u32,
    sigma: f32,
    fair_us: u64,
    worst_us: u64,
}

fn decide(policy: &mut Tether, header: &Header, jobs: &[Job], histogram: &[u32]) -> Plan {
    let u64s = |field: fn(&Job) -> u64| jobs.iter().map(field).collect::<Vec<_>>();
    let u32s = |field: fn(&Job) -> u32| jobs.iter().map(field).collect::<Vec<_>>();
    let f32s = |field: fn(&Job) -> f32| jobs.iter().map(field).collect::<Vec<_>>();
    let columns = [
        Column::U64s(&u64s(|job| job.id)),
        Column::U64s(&u64s(|job| job.arrival_us)),
        Column::U32s(&u32s(|job| job.flags)),
        Column::U32s(&u32s(|job| job.prompt)),
        Column::U32s(&u32s(|job| job.computed)),
        Column::U32s(&u32s(|job| job.generated)),
        Column::F32s(&f32s(|job| job.remaining)),
        Column::U32s(&u32s(|job| job.predicted_at)),
        Column::F32s(&f32s(|job| job.sigma)),
        Column::U64s(&u64s(|job| job.fair_us)),
        Column::U64s(&u64s(|job| job.worst_us)),
        Column::U32s(histogram),
    ];
    policy.decide(&Snapshot::new(header, &columns))
}

/// Without a margin, so that the arithmetic of the tests is plain.
fn exact() -> Tether {
    Tether {
        late: 0.0,
        ..Tether::default()
    }
}

fn run(header: &Header, jobs: &[Job]) -> Vec<u64> {
    decide(&mut exact(), header, jobs, &[]).run
}

/// One slot, a second for each token, nothing else costs anything.
fn header(now_us: u64) -> Header {
    Header {
        max_num_seqs: 1,
        plan_max: 1_000,
        now_us,
        iteration_base_us: SECOND_US as f32,
        ..Header::default()
    }
}

/// A job that arrived at second `id` and would have taken ten minutes by arrival.
fn job(id: u64, remaining: f32) -> Job {
    Job {
        id,
        arrival_us: id * SECOND_US,
        remaining,
        fair_us: 600 * SECOND_US,
        ..Job::default()
    }
}

#[test]
fn while_nobody_would_be_late_the_least_work_runs_first() {
    let jobs = [job(1, 80.0), job(2, 20.0), job(3, f32::NAN), job(4, 20.0)];
    assert_eq!(run(&header(10 * SECOND_US), &jobs), [2, 4, 1, 3]);
}

#[test]
fn who_would_be_late_goes_before_all_that_came_later() {
    let late = Job {
        fair_us: 85 * SECOND_US,
        ..job(2, 80.0)
    };
    // Its own 80 s and 10 s of age are more than 85 s; the job before it shares its urgency.
    let jobs = [job(1, 5.0), late, job(3, 1.0)];
    assert_eq!(run(&header(12 * SECOND_US), &jobs), [1, 2, 3]);
    let mut patient = Tether::default();
    patient.configure("late = 0.2").unwrap();
    let plan = decide(&mut patient, &header(12 * SECOND_US), &jobs, &[]);
    assert_eq!(plan.run, [3, 1, 2]);
}

#[test]
fn others_of_the_busy_period_that_arrival_order_served_worse_lend_their_time() {
    let late = Job {
        fair_us: 85 * SECOND_US,
        ..job(2, 80.0)
    };
    let other = Job {
        worst_us: 100 * SECOND_US,
        ..job(3, 1.0)
    };
    assert_eq!(run(&header(12 * SECOND_US), &[late, other]), [3, 2]);
}

#[test]
fn what_arrival_order_would_give_is_remembered_at_first_sight() {
    let fresh = Job {
        fair_us: 0,
        ..job(9, 5.0)
    };
    let old = Job {
        worst_us: 1_000 * SECOND_US,
        ..job(1, 30.0)
    };
    let plan = decide(
        &mut Tether::default(),
        &header(10 * SECOND_US),
        &[fresh, old],
        &[],
    );
    assert_eq!(plan.state_jobs, [9]);
    // One second of age, 30 before it, 5 of its own; the worst fades by one in a hundred.
    assert_eq!(plan.state_values, [36 * SECOND_US, 990 * SECOND_US]);
}

#[test]
fn reading_a_prompt_is_work_and_kv_is_not_given_away() {
    let header = Header {
        iteration_per_prefill_token_us: SECOND_US as f32,
        ..header(10 * SECOND_US)
    };
    let long_prompt = Job {
        prompt: 30,
        ..job(1, 1.0)
    };
    assert_eq!(run(&header, &[long_prompt, job(2, 20.0)]), [2, 1]);
    let has_kv = Job {
        computed: 30,
        generated: 1,
        ..long_prompt
    };
    assert_eq!(run(&header, &[has_kv, job(2, 0.5)]), [1, 2]);
}

#[test]
fn a_prediction_counts_by_what_it_knows() {
    // All recent responses had about 32 tokens, so that a guess with a large error says nothing.
    let guess = Job {
        sigma: 1e9,
        ..job(1, 500.0)
    };
    let sure = job(2, 100.0);
    let with = |histogram: &[u32]| {
        let jobs = [guess, sure];
        decide(&mut Tether::default(), &header(0), &jobs, histogram).run
    };
    assert_eq!(with(&[]), [2, 1]);
    assert_eq!(with(&[7]), [1, 2]);
}

#[test]
fn the_longest_slowdown_comes_before_the_tether() {
    let late = Job {
        fair_us: SECOND_US,
        ..job(1, 80.0)
    };
    let slowed = Job {
        id: 2,
        ..job(2, 1.0)
    };
    let header = header(120 * SECOND_US);
    assert_eq!(run(&header, &[late, slowed]), [2, 1]);
    let mut off = exact();
    off.configure("max_slowdown = 0").unwrap();
    assert_eq!(decide(&mut off, &header, &[late, slowed], &[]).run, [1, 2]);
}

#[test]
fn options_out_of_range_are_refused() {
    let refused = |toml| Tether::default().configure(toml).unwrap_err();
    assert!(refused("late = -1").contains("`late`"));
    assert!(refused("max_slowdown = -1").contains("`max_slowdown`"));
    assert!(refused("slack = 1").contains("late, max_slowdown"));
}

/// Every job's finish, second by second on one slot, under the policy or by arrival.
fn serve(jobs: &[(u64, u16)], by_arrival: bool) -> Vec<u64> {
    let mut policy = Tether::default();
    policy.configure("late = 0\nmax_slowdown = 0").unwrap();
    let mut here: Vec<Job> = Vec::new();
    let mut finish = vec![0; jobs.len()];
    let mut to_come = jobs.iter().zip(1u64..).peekable();
    for second in 0.. {
        while let Some((&(at, length), id)) = to_come.next_if(|(job, _)| job.0 <= second) {
            here.push(Job {
                id,
                arrival_us: at * SECOND_US,
                remaining: f32::from(length),
                ..Job::default()
            });
        }
        if here.is_empty() && to_come.peek().is_none() {
            break;
        }
        if here.is_empty() {
            continue;
        }
        let plan = decide(&mut policy, &header(second * SECOND_US), &here, &[]);
        for (&id, values) in plan.state_jobs.iter().zip(plan.state_values.chunks(2)) {
            for job in here.iter_mut().filter(|job| job.id == id) {
                (job.fair_us, job.worst_us) = (values[0], values[1]);
            }
        }
        let next = if by_arrival { here[0].id } else { plan.run[0] };
        let at = here.iter().position(|job| job.id == next).unwrap();
        here[at].remaining -= 1.0;
        if here[at].remaining <= 0.0 {
            finish[next as usize - 1] = second + 1;
            here.remove(at);
        }
    }
    finish
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// With true lengths and one slot nobody takes longer than the longest by arrival, but for the
    /// second in which it is noticed. The sum may be larger, though: work that was put aside for a
    /// shorter job may have to come back before a still shorter one.
    #[test]
    fn the_longest_time_is_that_of_arrival_order(
        gaps in prop::collection::vec((0u64..12, 1u16..20), 1..40),
    ) {
        let mut at = 0;
        let jobs: Vec<(u64, u16)> = gaps
            .iter()
            .map(|&(gap, length)| {
                at += gap;
                (at, length)
            })
            .collect();
        let times = |by_arrival| -> Vec<u64> {
            serve(&jobs, by_arrival).iter().zip(&jobs).map(|(end, job)| end - job.0).collect()
        };
        let (ours, fcfs) = (times(false), times(true));
        prop_assert!(ours.iter().max() <= fcfs.iter().max().map(|most| most + 1).as_ref());
    }

    #[test]
    fn it_is_what_the_definition_says(
        rows in prop::collection::vec((0u64..400, 0u32..4, 0u8..60, 0u64..900, 0u64..300), 0..60),
        rotate in 0usize..100,
        max_num_seqs in 1u32..8,
    ) {
        let mut jobs: Vec<Job> = rows
            .iter()
            .zip(1u64..)
            .map(|(&(arrival, flags, remaining, fair, worst), id)| Job {
                id,
                // Half a second off, so that no slowdown is exactly the limit.
                arrival_us: arrival * SECOND_US + SECOND_US / 2,
                flags,
                remaining: f32::from(remaining),
                fair_us: fair * SECOND_US,
                worst_us: worst * SECOND_US,
                ..Job::default()
            })
            .collect();
        let header = Header { max_num_seqs, ..header(500 * SECOND_US) };
        let twin = twin(&jobs, &header);
        let middle = rotate.min(jobs.len());
        jobs.rotate_left(middle);
        prop_assert_eq!(run(&header, &jobs), twin);
    }
}

/// The rule by its definition, in whole seconds; each job looks at all others.
fn twin(jobs: &[Job], header: &Header) -> Vec<u64> {
    let slots = header.max_num_seqs as f32;
    let now = header.now_us;
    let ends = |job: &Job| {
        let before = jobs.iter().filter(|other| other.id < job.id);
        let ahead: u64 = before
            .map(|other| (other.remaining * (SECOND_US as f32 / slots)) as u64)
            .sum();
        let own = (job.remaining * (SECOND_US as f32 / slots) * slots) as u64;
        now - job.arrival_us + ahead + own
    };
    let mut worst = jobs.iter().map(|job| job.worst_us).max().unwrap_or(0);
    for fresh in jobs.iter().filter(|job| job.fair_us == 0) {
        worst = ends(fresh).max((worst as f64 * 0.99) as u64);
    }
    let late = |job: &&Job| job.fair_us != 0 && ends(job) > job.fair_us.max(worst);
    let key = |job: &Job| {
        let group = jobs
            .iter()
            .filter(|other| other.id < job.id)
            .filter(late)
            .count();
        let own = job.remaining.max(1e-6);
        let slowed = (now - job.arrival_us) as f32 / 1e6 + job.remaining > 100.0 * own;
        let class = match (job.flags & flags::LOCKED != 0, slowed) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2 + group,
        };
        let remaining = if class == 0 { 0 } else { job.remaining as u64 };
        (class, remaining, job.arrival_us, job.id)
    };
    let mut order: Vec<&Job> = jobs.iter().collect();
    order.sort_by_key(|job| key(job));
    let count = header.max_num_seqs as usize + super::LOOKAHEAD as usize;
    order.iter().take(count).map(|job| job.id).collect()
}
