//! What holds between any two inputs, as far as a driver and a policy can see it.

use elis_scheduler::columns::{JobRow, JobTable, TenantTable};
use elis_scheduler::job::{State, flags};
use elis_scheduler::snapshot::{Header, Snapshot};
use elis_scheduler::{Span, Time};

use super::world::World;

pub(crate) fn check(world: &World) {
    let mut jobs = 0;
    for worker in 0..world.up.len() as u16 {
        let snapshot = world.scheduler.snapshot(worker).expect("it is in range");
        jobs += snapshot.jobs.len();
        check_memory(&snapshot);
        check_partition(&snapshot.header, snapshot.jobs);
        check_tenants(snapshot.jobs, snapshot.tenants);
        for row in 0..snapshot.jobs.len() {
            check_job(world, worker, &snapshot.jobs.row(row), &snapshot.header);
        }
        check_progress(world, worker, &snapshot);
    }
    assert_eq!(jobs, world.live.len(), "jobs are lost or doubled");
    assert_eq!(jobs, world.scheduler.jobs());
}

/// All blocks are with a job or free.
fn check_memory(snapshot: &Snapshot<'_>) {
    let header = &snapshot.header;
    let gpu: u32 = snapshot.jobs.gpu_blocks.iter().sum();
    let cpu: u32 = snapshot.jobs.cpu_blocks.iter().sum();
    assert_eq!(gpu, header.gpu_blocks_total - header.gpu_blocks_free);
    assert_eq!(cpu, header.cpu_blocks_total - header.cpu_blocks_free);
}

/// Rows are sorted by what they do: decode, prefill, wait.
fn check_partition(header: &Header, jobs: &JobTable) {
    assert_eq!((header.running + header.waiting) as usize, jobs.len());
    assert!(header.running <= header.max_num_seqs);
    let (slots, rest) = jobs.state.split_at(header.running as usize);
    let decode = |state: &u32| *state == State::Decode.code();
    let prefill = |state: &u32| *state == State::Prefill.code();
    assert!(slots.iter().skip_while(|s| decode(s)).all(prefill));
    assert!(!rest.iter().any(|state| decode(state) || prefill(state)));
}

fn check_tenants(jobs: &JobTable, tenants: &TenantTable) {
    for tenant in 0..tenants.len() {
        let of = |row: &usize| jobs.tenant[*row] as usize == tenant;
        let all = (0..jobs.len()).filter(of).count();
        let waiting = (0..jobs.len()).filter(of);
        let waiting = waiting.filter(|&row| jobs.queued_since_us[row] > 0).count();
        assert_eq!(tenants.waiting[tenant] as usize, waiting);
        assert_eq!(tenants.running[tenant] as usize, all - waiting);
    }
}

/// A job's state, its memory and its tokens say the same, to the core and to the engine.
fn check_job(world: &World, worker: u16, job: &JobRow, header: &Header) {
    assert!(world.live.contains(&job.id), "a dead job is held: {job:?}");
    let truth = &world.truths[&job.id];
    assert_eq!(job.generated_tokens, truth.generated);
    assert_eq!(world.scheduler.job(job.id).map(|row| row.id), Some(job.id));
    let states = [
        State::New,
        State::Prefill,
        State::Decode,
        State::Paused,
        State::Swapped,
        State::Evicted,
    ];
    let state = states[job.state as usize];
    let has_slot = matches!(state, State::Prefill | State::Decode);
    assert_eq!(job.queued_since_us == 0, has_slot, "{job:?}");
    assert!(has_slot || job.flags & flags::LOCKED == 0, "{job:?}");
    let context = job.prompt_tokens + job.generated_tokens;
    let fits = |blocks: u32| job.computed_tokens <= blocks * header.block_size_tokens;
    let sound = match state {
        State::New => {
            (
                job.runs,
                job.computed_tokens,
                job.gpu_blocks,
                job.cpu_blocks,
            ) == (0, 0, 0, 0)
        }
        State::Prefill => job.computed_tokens < context && fits(job.gpu_blocks),
        State::Decode => job.computed_tokens + 1 == context && fits(job.gpu_blocks),
        State::Paused => job.cpu_blocks == 0 && fits(job.gpu_blocks),
        State::Swapped => job.gpu_blocks == 0 && fits(job.cpu_blocks),
        State::Evicted => (job.computed_tokens, job.gpu_blocks, job.cpu_blocks) == (0, 0, 0),
    };
    assert!(sound, "{state:?}: {job:?}");
    // While a step runs, the engine has what the core knows; between steps it lags behind.
    if world.engines[usize::from(worker)].busy() {
        let (kv, host, slot) = world.engines[usize::from(worker)].holds(job.id);
        let (here, there) = match state {
            State::Swapped => (0, job.computed_tokens),
            _ => (job.computed_tokens, 0),
        };
        assert_eq!((kv, host, slot), (here, there, has_slot), "{job:?}");
    }
}

/// A worker idles only where nobody may run.
fn check_progress(world: &World, worker: u16, snapshot: &Snapshot<'_>) {
    let config = world.scheduler.config();
    let (jobs, running) = (snapshot.jobs, snapshot.header.running as usize);
    let busy = world.engines[usize::from(worker)].busy();
    let asked = world.is_asked(worker);
    let predicted = jobs.id.iter().any(|&id| world.predicts(id));
    let awaits = config.prediction_wait > Span::ZERO && predicted;
    if world.up[usize::from(worker)] && !busy && !asked && !awaits {
        assert_eq!(running, 0, "jobs have slots and nothing happens");
        let free = jobs.id.iter().find(|&&id| !world.defers(id));
        assert_eq!(free, None, "job {free:?} may run and nothing happens");
    }
}

/// The policy is told of everybody who has waited too long.
pub(crate) fn check_guard(world: &World, worker: u16) {
    let config = world.scheduler.config();
    // Where predictions are waited for, time passes between the boundary and the question.
    if config.max_wait == Span::ZERO || config.prediction_wait > Span::ZERO {
        return;
    }
    let snapshot = world.scheduler.snapshot(worker).expect("it is in range");
    let jobs = snapshot.jobs;
    for row in snapshot.header.running as usize..jobs.len() {
        let due = Time::from_us(jobs.queued_since_us[row]) + config.max_wait;
        let overdue = jobs.flags[row] & flags::OVERDUE != 0;
        assert_eq!(overdue, due <= world.now, "{:?}", jobs.row(row));
    }
}
