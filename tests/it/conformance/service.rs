//! The theorems of the policies that go by service, tenants, budgets and deadlines; and that what
//! any policy remembers survives a change of instances.

use elis_policy_runtime::PolicyInstance;
use elis_predictor::{Latency, Oracle};
use elis_scheduler::config::{Boundary, Config, Placement};
use elis_scheduler::plan::Interest;
use elis_scheduler::snapshot::Snapshot;
use elis_scheduler::{NO_DEADLINE, Span};
use elis_sim::cost::CostModel;
use elis_sim::outcome::{Ending, RunOutcome};
use elis_sim::{Answer, Decider, Options, Profile, simulate};
use elis_workloads::Arrival;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::core_properties::world::World;
use crate::twins::native::native;
use crate::twins::queues::{self, Queue};
use crate::twins::{loaded, policies};

const MS: u64 = 1_000_000;

/// A worker of so many slots, whose iterations take a millisecond and so much for each token read.
fn worker(slots: u32, per_prefill_token_us: f64) -> Options {
    let mut profile = Profile::resolve("sim:llama2-7b-a100").unwrap();
    profile.max_num_seqs = slots;
    profile.cost = CostModel::Linear {
        base_us: 1_000.0,
        per_seq_us: 0.0,
        per_kv_token_us: 0.0,
        per_prefill_token_us,
    };
    Options::new(profile)
}

/// A request that arrives at a millisecond.
fn request(at_ms: u64, prompt_tokens: u32, output_tokens: u32) -> Arrival {
    Arrival::new(0, at_ms * MS, prompt_tokens, output_tokens)
}

fn serve(options: &Options, arrivals: &[Arrival], policy: &mut dyn Decider) -> RunOutcome {
    let mut arrivals = arrivals.to_vec();
    arrivals.sort_by_key(|arrival| arrival.arrival_ns);
    for (arrival, id) in arrivals.iter_mut().zip(0..) {
        arrival.id = id;
    }
    let mut oracle = Oracle::new("oracle", Latency::default());
    let outcome = simulate(options, &arrivals, policy, &mut oracle).unwrap();
    let faults = &outcome.summary.plan_faults;
    assert!(faults.is_empty(), "{faults:?}");
    outcome
}

/// A feedback queue as a textbook has it, a millisecond at a time on one slot: the highest level,
/// in it whoever ran last, then the earliest. Gives the millisecond in which each job is done.
fn feedback_queue(jobs: &[(u64, u32)]) -> Vec<u64> {
    let level = |mut used_ms: u32| {
        let mut level = 0;
        while used_ms > 10 << level {
            used_ms -= 10 << level;
            level += 1;
        }
        level
    };
    let mut served = vec![0; jobs.len()];
    let mut last_ms = vec![0; jobs.len()];
    let mut done_ms = vec![0; jobs.len()];
    let mut now_ms = 0;
    while done_ms.contains(&0) {
        let here = (0..jobs.len()).filter(|&job| jobs[job].0 <= now_ms && done_ms[job] == 0);
        let next = here.min_by_key(|&job| (level(served[job]), u64::MAX - last_ms[job], job));
        now_ms += 1;
        if let Some(job) = next {
            served[job] += 1;
            last_ms[job] = now_ms;
            if served[job] == jobs[job].1 {
                done_ms[job] = now_ms;
            }
        }
    }
    done_ms
}

/// What two tenants were served while both had jobs waiting, and how far that ever was apart.
struct Watch<'a> {
    inner: &'a mut dyn Decider,
    /// What both had been served when they last began to wait together.
    since: Option<[u64; 2]>,
    apart: u64,
}

impl<'a> Watch<'a> {
    fn new(inner: &'a mut dyn Decider) -> Self {
        Self {
            inner,
            since: None,
            apart: 0,
        }
    }
}

impl Decider for Watch<'_> {
    fn interest(&self) -> Interest {
        self.inner.interest()
    }

    fn decide(&mut self, snapshot: &Snapshot<'_>) -> Answer {
        let tenants = snapshot.tenants;
        if tenants.waiting.len() == 2 && !tenants.waiting.contains(&0) {
            let served = [0, 1].map(|t| tenants.input_tokens[t] + 2 * tenants.output_tokens[t]);
            let since = self.since.get_or_insert(served);
            let [one, other] = [0, 1].map(|t| served[t] - since[t]);
            self.apart = self.apart.max(one.abs_diff(other));
        } else {
            self.since = None;
        }
        self.inner.decide(snapshot)
    }
}

/// A core of one worker with eight slots, without windows or predictions.
fn per_step() -> Config {
    Config {
        boundary: Boundary::Slot,
        placement: Placement::Jobs,
        window_tokens: 1,
        repredict_tokens: 0,
        prediction_wait: Span::ZERO,
        decision_deadline: NO_DEADLINE,
        max_wait: Span::ZERO,
        jobs_max: 100,
        seed: 0,
        workers: vec![worker(8, 100.0).profile.worker_config()],
    }
}

const SLOTS: u32 = 4;
const PROMPT_MAX: u32 = 64;
const OUTPUT_MAX: u32 = 32;

/// Section 4.2 of VTC: `2 * max(w_p * longest prompt, w_q * tokens of a batch)`.
const BOUND: u64 = 2 * 2 * (SLOTS * (PROMPT_MAX + OUTPUT_MAX)) as u64;

/// Tenant 0 sends all it has at once, tenant 1 begins after a while.
fn flood(lengths: &[(u32, u32)], later: &[(u32, u32)], after_ms: u64) -> Vec<Arrival> {
    let first = lengths.iter().map(|&(p, o)| request(0, p, o));
    let second = later.iter().map(|&(p, o)| Arrival {
        tenant: 1,
        ..request(after_ms, p, o)
    });
    first.chain(second).collect()
}

fn apart(policy: &str, arrivals: &[Arrival]) -> u64 {
    let mut policy = native(policy);
    let mut watch = Watch::new(&mut *policy);
    serve(&worker(SLOTS, 0.0), arrivals, &mut watch);
    watch.apart
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn fastserve_is_a_feedback_queue(
        jobs in vec((0u64..400, 1u32..120), 1..12),
    ) {
        let mut jobs = jobs;
        jobs.sort_unstable();
        // Of two that come at the same moment an idle worker has heard of one only.
        jobs.dedup_by_key(|job| job.0);
        let arrivals: Vec<Arrival> = jobs.iter().map(|&(at, n)| request(at, 1, n)).collect();
        let outcome = serve(&worker(1, 0.0), &arrivals, &mut *native("fastserve"));
        let done: Vec<u64> = outcome.requests.iter().map(|r| r.finish_ns / MS).collect();
        prop_assert_eq!(done, feedback_queue(&jobs));
    }

    #[test]
    fn vtc_keeps_tenants_that_wait_together(
        lengths in vec((1..=PROMPT_MAX, 1..=OUTPUT_MAX), 60..150),
        later in vec((1..=PROMPT_MAX, 1..=OUTPUT_MAX), 40..100),
        after_ms in 0u64..200,
    ) {
        let apart = apart("vtc", &flood(&lengths, &later, after_ms));
        prop_assert!(apart <= BOUND, "{} of {}", apart, BOUND);
    }

    #[test]
    fn sarathi_never_makes_a_decode_wait(
        jobs in vec((0u64..60, 1u32..3_000, 2u32..30), 1..25),
    ) {
        let arrivals: Vec<Arrival> = jobs.iter().map(|&(at, p, n)| request(at, p, n)).collect();
        let outcome = serve(&worker(8, 100.0), &arrivals, &mut *native("sarathi"));
        for request in &outcome.requests {
            let gaps = u64::from(request.output_tokens) - 1;
            let gap_ns = (request.finish_ns - request.first_token_ns) / gaps;
            // An iteration of 512 tokens takes 1 ms and 0.1 ms for each.
            prop_assert!(gap_ns <= 52_200_000, "{:?}", request);
        }
    }

    #[test]
    fn sarathi_deals_out_its_budget_decodes_first(
        jobs in vec((0u64..8, 1u32..900, 1u32..30), 1..30),
    ) {
        let mut policy = native("sarathi");
        let mut world = World::new(per_step(), policy.interest());
        let mut jobs = jobs.into_iter();
        loop {
            let next = jobs.next();
            let under_way = world.scheduler.step(0).map(|step| step.id);
            if let Some((_, prompt, output)) = next {
                world.arrive(prompt, output, 0);
            }
            world.answer(0, |world, worker| {
                policy.decide(&world.scheduler.snapshot(worker).unwrap()).plan.unwrap()
            });
            let step = world.scheduler.step(0).unwrap();
            prop_assert!(step.batched_tokens() <= 512, "{:?}", step);
            let snapshot = world.scheduler.snapshot(0).unwrap();
            let states = snapshot.jobs.state.iter();
            let decodes = states.clone().filter(|&&state| state == 2).count() as u32;
            prop_assert_eq!(step.decode_seqs, decodes, "every one of them");
            // What they leave of slots and budget goes to prompts that were there when it began.
            let all_read = states.clone().all(|&state| state >= 2);
            let full = decodes >= snapshot.header.max_num_seqs || Some(step.id) == under_way;
            prop_assert!(full || all_read || !step.prefill.is_empty(), "{:?}", step);
            let iterations = next.map_or(1, |(iterations, ..)| iterations as u32 + 1);
            if !world.end_step(0, iterations) && next.is_none() {
                break;
            }
        }
        prop_assert!(world.live.is_empty());
    }

    #[test]
    fn edf_meets_every_deadline_that_one_job_at_a_time_has(
        jobs in vec((2u32..40, 4u64..40), 1..20),
    ) {
        // A job that is never due would hold the slot all the time.
        let mut arrivals = vec![request(0, 1, 2_000)];
        let mut at_ms = 5;
        for &(tokens, spare_ms) in &jobs {
            let due_ms = u64::from(tokens) + spare_ms;
            arrivals.push(Arrival { deadline_ns: due_ms * MS, ..request(at_ms, 1, tokens) });
            at_ms += due_ms + 1;
        }
        let options = Options { window_tokens: 1, ..worker(1, 0.0) };
        let late = |policy: &str| {
            let outcome = serve(&options, &arrivals, &mut *native(policy));
            let due = outcome.requests.iter().zip(&arrivals).filter(|(_, a)| a.deadline_ns > 0);
            due.filter(|(r, a)| r.finish_ns > a.arrival_ns + a.deadline_ns).count()
        };
        prop_assert_eq!(late("edf"), 0);
        prop_assert_eq!(late("fcfs"), jobs.len(), "they all wait for the first");
    }

    #[test]
    fn an_heir_in_the_sandbox_goes_on_where_its_predecessor_was(
        before in vec(queues::queue(0..30), 1..4),
        queue in queues::queue(0..30),
    ) {
        for name in policies() {
            let policy = loaded(&name);
            let start = || PolicyInstance::start(&policy, "").unwrap();
            let (mut veteran, mut heir) = (start(), start());
            for earlier in &before {
                drop(veteran.decide(&earlier.snapshot()));
            }
            heir.import_state(&veteran.export_state().unwrap()).unwrap();
            let [one, other] = [veteran, heir].map(|mut p| p.decide(&queue.snapshot()).plan);
            prop_assert_eq!(one, other, "{}", name);
        }
    }
}

#[test]
fn by_arrival_neither_bound_holds() {
    let flood = flood(&[(64, 32); 150], &[(64, 32); 100], 0);
    // All are equally long, so that isrtf goes by arrival; and it is asked often, unlike fcfs.
    let watched = apart("isrtf", &flood);
    assert!(watched > 2 * BOUND, "{watched} of {BOUND}");
    let arrivals = [request(0, 10, 20), request(1, 3_000, 2)];
    let outcome = serve(&worker(8, 100.0), &arrivals, &mut *native("fcfs"));
    let first = &outcome.requests[0];
    let gap_ns = (first.finish_ns - first.first_token_ns) / 19;
    assert!(
        gap_ns > 15 * MS,
        "300 ms of prompt are spread over its tokens"
    );
}

#[test]
fn a_tenant_gets_its_weight() {
    let served = |weight: f32| {
        let mut queue = Queue::of(&[]);
        let mut policy = native("vtc");
        drop(policy.decide(&queue.snapshot()));
        // Both have been served alike; the one that counts for more is the one that is short of it.
        queue = Queue::of(&[(1, f32::NAN), (2, f32::NAN)]);
        queue.jobs.tenant[1] = 1;
        queue.tenants.waiting[..2].fill(1);
        queue.tenants.input_tokens[..2].fill(100);
        queue.tenants.weight[1] = weight;
        policy.decide(&queue.snapshot()).plan.unwrap().run
    };
    assert_eq!(served(1.0), [1, 2]);
    assert_eq!(served(2.0), [2, 1]);
}

#[test]
fn a_weight_reaches_the_policy_through_the_simulator() {
    let share = |weights: &[f32]| {
        let options = Options {
            tenant_weights: weights.to_vec(),
            ..worker(SLOTS, 0.0)
        };
        let flood = flood(&[(8, 20); 120], &[(8, 20); 120], 0);
        let outcome = serve(&options, &flood, &mut *native("vtc"));
        let finishes = |tenant: u32| {
            let own = outcome.requests.iter().filter(move |r| r.tenant == tenant);
            own.map(|r| r.finish_ns)
        };
        let end_ns = finishes(1).max().unwrap();
        finishes(0).filter(|&at_ns| at_ns <= end_ns).count()
    };
    // What tenant 0 gets done until tenant 1 is done with 120.
    assert!((112..=120).contains(&share(&[])), "{}", share(&[]));
    let third = share(&[1.0, 3.0]);
    assert!((36..=44).contains(&third), "{third}");
}

#[test]
fn edf_refuses_what_cannot_be_ready_where_it_is_told_to() {
    let due = |at_ms, tokens, due_ms| Arrival {
        deadline_ns: due_ms * MS,
        ..request(at_ms, 1, tokens)
    };
    // The second would need 50 ms and has 30.
    let arrivals = [due(0, 100, 300), due(10, 50, 30), due(20, 40, 200)];
    let options = Options {
        window_tokens: 1,
        ..worker(1, 0.0)
    };
    let mut strict = native("edf");
    strict.configure("hopeless = \"reject\"");
    let strict = serve(&options, &arrivals, &mut *strict);
    let endings: Vec<Ending> = strict.requests.iter().map(|r| r.ending).collect();
    assert_eq!(
        endings,
        [Ending::Completed, Ending::Rejected, Ending::Completed]
    );
    let kind = serve(&options, &arrivals, &mut *native("edf"));
    assert_eq!(kind.summary.completed, 3);
    assert_eq!(kind.requests[1].finish_ns, 190 * MS, "after all others");
}

#[test]
fn counters_are_what_vtc_hands_over() {
    let mut queue = Queue::of(&[(1, f32::NAN), (2, f32::NAN)]);
    queue.jobs.tenant[1] = 1;
    queue.tenants.waiting[..2].fill(1);
    let policy = loaded("vtc");
    let start = || PolicyInstance::start(&policy, "").unwrap();
    let mut veteran = start();
    drop(veteran.decide(&queue.snapshot()));
    queue.tenants.input_tokens[0] = 100;
    drop(veteran.decide(&queue.snapshot()));
    let state = veteran.export_state();
    let mut heir = start();
    heir.import_state(&state.unwrap()).unwrap();
    let run = |instance: &mut PolicyInstance| instance.decide(&queue.snapshot()).plan.unwrap().run;
    assert_eq!(run(&mut heir), [2, 1], "tenant 0 has had its share");
    assert_eq!(run(&mut start()), [1, 2], "which a stranger does not know");
    assert!(start().import_state(b"nonsense").is_err());
}
