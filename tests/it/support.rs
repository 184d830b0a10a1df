//! What the tests share: where the data lies, native policies, ready-made options.

use std::path::PathBuf;

use elis_scheduler::plan::{Interest, Plan};
use elis_scheduler::snapshot::Snapshot;
use elis_sim::{Answer, Decider};

/// The real traces and measurements that the project is given, beside the checkout.
pub(crate) fn data(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")).join(path)
}

/// Leaves every decision to the core's own arrival order.
pub(crate) struct ArrivalOrder;

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
