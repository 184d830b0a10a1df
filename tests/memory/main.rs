//! A long run needs no more memory than a short one: what is served is forgotten. A binary of its
//! own, since it counts every allocation of its process.

#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use elis_predictor::NoPrediction;
use elis_scheduler::plan::{Interest, Plan};
use elis_scheduler::snapshot::Snapshot;
use elis_sim::{Answer, Decider, Options, Profile, simulate};
use elis_workloads::Arrival;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, with the bytes in use counted.
struct Counting;

#[expect(unsafe_code, reason = "that is what an allocator is")]
// SAFETY: every call goes to the system's allocator as it came; only numbers are kept beside.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`, which is also that of the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `at` came from `alloc` above with this layout, so from the system's allocator.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Leaves every decision to the core's own arrival order.
struct ArrivalOrder;

impl Decider for ArrivalOrder {
    fn interest(&self) -> Interest {
        Interest::default()
    }

    fn decide(&mut self, _: &Snapshot<'_>) -> Answer {
        Answer {
            plan: Ok(Plan::default()),
            fuel: 0,
            wall_ns: 0,
        }
    }
}

/// Requests that come a little slower than one worker serves them.
fn arrivals(count: u64) -> Vec<Arrival> {
    let arrival = |id: u64| Arrival {
        tenant: (id % 5) as u32,
        ..Arrival::new(
            id,
            id * 60_000_000,
            20 + (id * 7 % 60) as u32,
            5 + (id * 13 % 40) as u32,
        )
    };
    (0..count).map(arrival).collect()
}

/// The most that a run of so many requests had in use at once, beyond its workload.
fn peak_bytes(requests: u64, records: bool) -> usize {
    let arrivals = arrivals(requests);
    let options = Options {
        records,
        ..Options::new(Profile::resolve("sim:llama2-13b-a100").unwrap())
    };
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let outcome = simulate(&options, &arrivals, &mut ArrivalOrder, &mut NoPrediction).unwrap();
    let peak = PEAK.load(Ordering::Relaxed) - before;
    assert_eq!(outcome.summary.completed, requests);
    let waiting = outcome.timeline.iter().map(|point| point.waiting).max();
    assert!(
        waiting < Some(100),
        "the rate is not sustainable: {waiting:?}"
    );
    peak
}

/// One test only: another one beside it would allocate too.
#[test]
fn a_run_ten_times_as_long_needs_no_more_memory() {
    let (short, long) = (peak_bytes(20_000, false), peak_bytes(200_000, false));
    assert!(
        long < short + short / 4,
        "{short} bytes for 20,000, {long} for 200,000"
    );
    // With a record of each request it must grow, or nothing was counted.
    let recorded = peak_bytes(20_000, true);
    assert!(
        recorded > short + 20_000 * 64,
        "{recorded} bytes with records"
    );
}
