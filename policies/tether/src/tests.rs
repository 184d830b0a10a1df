//! The rule on small snapshots, against the obvious way to write it, and what it promises.

use std::collections::BTreeMap;

use elis_policy_sdk::{Column, Header, Plan, Policy, Snapshot, flags, state};
use proptest::prelude::*;

use super::Tether;

mod bound;
mod shares;

const SECOND_US: u64 = 1_000_000;

#[derive(Debug, Clone, Copy, Default)]
struct Job {
    id: u64,
    arrival_us: u64,
    state: u32,
    tenant: u32,
    flags: u32,
    prompt: u32,
    computed: u32,
    generated: u32,
    remaining: f32,
    predicted_at: u32,
    sigma: f32,
}

fn decide(policy: &mut Tether, header: &Header, jobs: &[Job], histogram: &[u32]) -> Plan {
    decide_of(policy, header, jobs, &[], histogram)
}

/// A tenant as (weight, input tokens, output tokens, jobs that wait, backlogged edge).
type Tenant = (f32, u64, u64, u32, u32);

fn decide_of(
    policy: &mut Tether,
    header: &Header,
    jobs: &[Job],
    tenants: &[Tenant],
    histogram: &[u32],
) -> Plan {
    let of = |field: fn(&Tenant) -> u64| tenants.iter().map(field).collect::<Vec<_>>();
    let counts = |field: fn(&Tenant) -> u32| tenants.iter().map(field).collect::<Vec<_>>();
    let weights: Vec<f32> = tenants.iter().map(|tenant| tenant.0).collect();
    let u64s = |field: fn(&Job) -> u64| jobs.iter().map(field).collect::<Vec<_>>();
    let u32s = |field: fn(&Job) -> u32| jobs.iter().map(field).collect::<Vec<_>>();
    let f32s = |field: fn(&Job) -> f32| jobs.iter().map(field).collect::<Vec<_>>();
    let columns = [
        Column::U64s(&u64s(|job| job.id)),
        Column::U64s(&u64s(|job| job.arrival_us)),
        Column::U32s(&u32s(|job| job.state)),
        Column::U32s(&u32s(|job| job.tenant)),
        Column::U32s(&u32s(|job| job.flags)),
        Column::U32s(&u32s(|job| job.prompt)),
        Column::U32s(&u32s(|job| job.computed)),
        Column::U32s(&u32s(|job| job.generated)),
        Column::F32s(&f32s(|job| job.remaining)),
        Column::U32s(&u32s(|job| job.predicted_at)),
        Column::F32s(&f32s(|job| job.sigma)),
        Column::F32s(&weights),
        Column::U64s(&of(|tenant| tenant.1)),
        Column::U64s(&of(|tenant| tenant.2)),
        Column::U32s(&counts(|tenant| tenant.3)),
        Column::U32s(&counts(|tenant| tenant.4)),
        Column::U32s(histogram),
    ];
    policy.decide(&Snapshot::new(header, &columns))
}

/// Without an allowance, so that the arithmetic of the tests is plain.
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

/// A job that arrived at second `id`.
fn job(id: u64, remaining: f32) -> Job {
    Job {
        id,
        arrival_us: id * SECOND_US,
        remaining,
        ..Job::default()
    }
}

#[test]
fn while_nobody_would_be_late_the_least_work_runs_first() {
    let jobs = [job(1, 80.0), job(2, 20.0), job(3, f32::NAN), job(4, 20.0)];
    assert_eq!(run(&header(10 * SECOND_US), &jobs), [2, 4, 1, 3]);
}

/// Job 1 of 80 tokens is overtaken by job 2 of 20, and then there is job 3 of one token.
fn overtaken(policy: &mut Tether, third: Job, histogram: &[u32]) -> Vec<u64> {
    let first = decide(
        policy,
        &header(10 * SECOND_US),
        &[job(1, 80.0), job(2, 20.0)],
        histogram,
    );
    assert_eq!(first.run, [2, 1]);
    let jobs = [job(1, 80.0), third];
    decide(policy, &header(30 * SECOND_US), &jobs, histogram).run
}

#[test]
fn who_was_overtaken_too_long_goes_before_all_that_came_later() {
    // By arrival it would have taken 89 s, the other two 108. Overtaken for 20 s it takes 109.
    assert_eq!(overtaken(&mut exact(), job(3, 1.0), &[]), [1, 3]);
    let mut patient = Tether::default();
    patient.configure("late = 0.1").unwrap();
    assert_eq!(overtaken(&mut patient, job(3, 1.0), &[]), [3, 1]);
}

#[test]
fn nobody_loses_a_slot_because_another_is_late() {
    let running = Job {
        state: state::DECODE,
        ..job(3, 1.0)
    };
    assert_eq!(overtaken(&mut exact(), running, &[]), [3, 1]);
}

#[test]
fn a_giant_may_take_ten_times_its_own_time() {
    // Nearly all responses have about 32 tokens; one of 800 is more than ten times that.
    let serve = |long: f32, histogram: &[u32]| {
        let mut policy = exact();
        let jobs = [job(1, long), job(2, 200.0)];
        decide(&mut policy, &header(10 * SECOND_US), &jobs, histogram);
        let fresh = Job {
            arrival_us: 209 * SECOND_US,
            ..job(3, 1.0)
        };
        let jobs = [job(1, long), fresh];
        decide(&mut policy, &header(210 * SECOND_US), &jobs, histogram).run
    };
    assert_eq!(serve(800.0, &[]), [1, 3]);
    assert_eq!(serve(800.0, &[400]), [3, 1]);
    assert_eq!(serve(300.0, &[400]), [1, 3]);
}

#[test]
fn where_kv_is_short_nobody_loses_a_slot() {
    let with = |gpu_blocks_free| {
        let header = Header {
            gpu_blocks_total: 100,
            gpu_blocks_free,
            ..header(10 * SECOND_US)
        };
        let running = Job {
            state: state::DECODE,
            ..job(1, 80.0)
        };
        run(&header, &[running, job(2, 1.0)])
    };
    assert_eq!(with(50), [2, 1]);
    assert_eq!(with(5), [1, 2]);
}

#[test]
fn the_memory_goes_to_the_next_version() {
    let mut old = exact();
    let jobs = [job(1, 80.0), job(2, 20.0)];
    decide(&mut old, &header(10 * SECOND_US), &jobs, &[]);
    let mut heir = exact();
    heir.import_state(&old.export_state()).unwrap();
    let later = [job(1, 80.0), job(3, 1.0)];
    let now = header(30 * SECOND_US);
    assert_eq!(decide(&mut heir, &now, &later, &[]).run, [1, 3]);
    assert_eq!(decide(&mut exact(), &now, &later, &[]).run, [3, 1]);
    assert!(heir.import_state(b"nonsense").is_err());
    let cut = &old.export_state()[..48];
    assert!(heir.import_state(cut).is_err());
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
    // All recent responses had about 32 tokens, so that a guess with a large error says little.
    let guess = Job {
        sigma: 1_000.0,
        ..job(1, 500.0)
    };
    let sure = job(2, 100.0);
    let with = |seen: u32| {
        let mut histogram = [0; 64];
        histogram[0] = seen;
        let jobs = [guess, sure];
        decide(&mut Tether::default(), &header(0), &jobs, &histogram).run
    };
    assert_eq!(with(0), [2, 1]);
    assert_eq!(with(7_000), [1, 2]);
}

#[test]
fn the_longest_slowdown_comes_before_the_tether() {
    let slowed = job(1, 2.0);
    let fresh = Job {
        arrival_us: 400 * SECOND_US,
        ..job(2, 1.0)
    };
    let header = header(400 * SECOND_US);
    assert_eq!(run(&header, &[slowed, fresh]), [1, 2]);
    let mut off = exact();
    off.configure("max_slowdown = 0").unwrap();
    assert_eq!(decide(&mut off, &header, &[slowed, fresh], &[]).run, [2, 1]);
}

#[test]
fn options_out_of_range_are_refused() {
    let refused = |toml| Tether::default().configure(toml).unwrap_err();
    assert!(refused("late = -1").contains("`late`"));
    assert!(refused("max_slowdown = -1").contains("`max_slowdown`"));
    assert!(refused("true_slowdown = -1").contains("`true_slowdown`"));
    assert!(refused("fair = 1").contains("`fair`"));
    assert!(refused("slack = 1").contains("late, max_slowdown, true_slowdown, fair"));
}

/// A job as it will come: at that second, with so many tokens, of which so many are predicted.
#[derive(Debug, Clone, Copy)]
struct Coming {
    at: u64,
    length: u16,
    predicted: f32,
}

/// When every job came and ended, second by second on one slot, under the policy or by arrival.
/// While there are `room` jobs, the next one stays away.
fn serve(config: &str, jobs: &[Coming], room: usize, by_arrival: bool) -> Vec<(u64, u64)> {
    let mut policy = Tether::default();
    policy.configure(config).unwrap();
    let mut here: Vec<Job> = Vec::new();
    let mut times = vec![(0, 0); jobs.len()];
    let mut to_come = jobs.iter().zip(1u64..).peekable();
    for second in 0.. {
        while here.len() < room
            && let Some((coming, id)) = to_come.next_if(|(job, _)| job.at <= second)
        {
            times[id as usize - 1].0 = second;
            here.push(Job {
                id,
                arrival_us: second * SECOND_US,
                remaining: coming.predicted,
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
        let next = if by_arrival { here[0].id } else { plan.run[0] };
        for job in &mut here {
            job.state = if job.id == next {
                state::DECODE
            } else {
                state::PAUSED
            };
        }
        let at = here.iter().position(|job| job.id == next).unwrap();
        here[at].generated += 1;
        if here[at].generated == u32::from(jobs[next as usize - 1].length) {
            times[next as usize - 1].1 = second + 1;
            here.remove(at);
        }
    }
    times
}

/// The longest of [`the_longest_time_is_that_of_arrival_order`].
const LONGEST: u16 = 20;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// With true lengths and one slot nobody takes longer than the longest by arrival, but for the
    /// job that has the slot when it is noticed. The sum may be larger, though: work that was put
    /// aside for a shorter job may have to come back before a still shorter one.
    #[test]
    fn the_longest_time_is_that_of_arrival_order(
        gaps in prop::collection::vec((0u64..12, 1u16..LONGEST), 1..40),
    ) {
        let mut at = 0;
        let jobs: Vec<Coming> = gaps
            .iter()
            .map(|&(gap, length)| {
                at += gap;
                Coming { at, length, predicted: f32::from(length) }
            })
            .collect();
        let times = |by_arrival| -> Vec<u64> {
            let times = serve("late = 0\nmax_slowdown = 0", &jobs, usize::MAX, by_arrival);
            times.iter().map(|(came, ended)| ended - came).collect()
        };
        let (ours, fcfs) = (times(false), times(true));
        let longest = fcfs.iter().max().map(|most| most + u64::from(LONGEST));
        prop_assert!(ours.iter().max() <= longest.as_ref());
    }

    #[test]
    fn it_is_what_the_definition_says(
        rows in prop::collection::vec((0u64..400, 0u32..4, 0u8..60, 1u8..8, 0u8..8), 0..60),
        rotate in 0usize..100,
        max_num_seqs in 1u32..8,
    ) {
        let (mut policy, mut twin) = (exact(), Twin::default());
        for (step, second) in [(0u8, 500), (1, 620), (2, 655)] {
            let has = |bits: u8| bits >> step & 1 == 1;
            let there = rows.iter().zip(1u64..).filter(|(row, _)| has(row.3));
            let mut jobs: Vec<Job> = there
                .map(|(&(arrival, flags, remaining, _, slot), id)| Job {
                    id,
                    // Half a second off, so that no slowdown is exactly the limit.
                    arrival_us: arrival * SECOND_US + SECOND_US / 2,
                    state: if has(slot) { state::DECODE } else { state::PAUSED },
                    flags,
                    remaining: f32::from(remaining),
                    ..Job::default()
                })
                .collect();
            let header = Header { max_num_seqs, ..header(second * SECOND_US) };
            let expected = twin.decide(&jobs, &header);
            let middle = rotate.min(jobs.len());
            jobs.rotate_left(middle);
            prop_assert_eq!(decide(&mut policy, &header, &jobs, &[]).run, expected);
        }
    }
}

/// The rule by its definition; each job looks at all others, which stand in arrival order.
#[derive(Default)]
struct Twin {
    now_us: i64,
    slots: usize,
    /// How far each job was behind at the last decision, and its time in arrival order.
    last: BTreeMap<u64, (i64, i64)>,
    recent: Vec<i64>,
}

impl Twin {
    /// How far each job is behind now.
    fn behind(&mut self, jobs: &[Job], header: &Header) -> Vec<i64> {
        let passed = header.now_us as i64 - self.now_us;
        self.now_us = header.now_us as i64;
        let has_slot = |job: &&Job| state::has_slot(job.state);
        let gone: Vec<u64> = self.last.keys().copied().collect();
        let gone = gone
            .into_iter()
            .filter(|id| jobs.iter().all(|job| job.id != *id));
        let gone: Vec<u64> = gone.collect();
        self.recent.extend(gone.iter().map(|id| self.last[id].1));
        self.recent.drain(..self.recent.len().saturating_sub(100));
        let ran: Vec<u64> = gone
            .into_iter()
            .chain(jobs.iter().filter(has_slot).map(|job| job.id))
            .collect();
        let waits = |job: &Job| self.last.contains_key(&job.id) && !has_slot(&job);
        let max = header.max_num_seqs as usize;
        self.slots = if jobs.iter().any(waits) {
            ran.len().clamp(1, max)
        } else {
            max
        };
        let share = passed / ran.len().max(1) as i64;
        let behind = |(before, job): (usize, &Job)| {
            let Some(&(behind, _)) = self.last.get(&job.id) else {
                return 0;
            };
            let earlier = ran.iter().filter(|id| **id < job.id).count();
            behind
                + match (before < self.slots, has_slot(&job)) {
                    (true, true) => 0,
                    (true, false) => passed,
                    (false, true) => -share * earlier as i64,
                    (false, false) => share * (ran.len() - earlier) as i64,
                }
        };
        jobs.iter().enumerate().map(behind).collect()
    }

    /// When each ends by arrival from now on.
    fn ends(&self, jobs: &[Job], header: &Header) -> Vec<i64> {
        let mut free = vec![0; self.slots];
        let ends = |job: &Job| {
            let first = free.iter_mut().min().unwrap();
            let slots = header.max_num_seqs as f32;
            *first += (job.remaining * (SECOND_US as f32 / slots) * slots) as i64;
            *first + (header.now_us - job.arrival_us) as i64
        };
        jobs.iter().map(ends).collect()
    }

    fn decide(&mut self, jobs: &[Job], header: &Header) -> Vec<u64> {
        let behind = self.behind(jobs, header);
        let ends = self.ends(jobs, header);
        let fair: Vec<i64> = ends
            .iter()
            .zip(&behind)
            .map(|(end, behind)| end - behind)
            .collect();
        let mut all = [&self.recent[..], &fair[..]].concat();
        all.sort_unstable();
        let common = (all.len() as f64 - 1.0) * 0.95;
        let late = |at: usize| ends[at] > fair[at].max(all[common as usize]);
        let key = |at: usize| {
            let job = &jobs[at];
            let group = if state::has_slot(job.state) {
                0
            } else {
                (0..at).filter(|at| late(*at)).count()
            };
            let age = (header.now_us - job.arrival_us) as f32 / 1e6;
            let slowed = age + job.remaining > 100.0 * job.remaining.max(1e-6);
            let class = match (job.flags & flags::LOCKED != 0, slowed) {
                (true, _) => 0,
                (false, true) => 1,
                (false, false) => 2 + group,
            };
            let remaining = if class == 0 { 0 } else { job.remaining as u64 };
            (class, remaining, job.arrival_us, job.id)
        };
        let mut order: Vec<usize> = (0..jobs.len()).collect();
        order.sort_by_key(|at| key(*at));
        let count = header.max_num_seqs as usize + super::LOOKAHEAD as usize;
        self.last = jobs
            .iter()
            .zip(behind.into_iter().zip(fair))
            .map(|(job, times)| (job.id, times))
            .collect();
        order.iter().take(count).map(|at| jobs[*at].id).collect()
    }
}
