//! Arrival order: the trusted rule that stands in when a policy gives no usable plan.

use alloc::vec::Vec;

use crate::queue::Queue;

/// Jobs with a slot keep it; the others follow by arrival, then id.
pub(crate) fn arrival_order(queue: &Queue, plan_max: u32) -> Vec<u64> {
    let jobs = &queue.jobs;
    let key = |&row: &usize| (row >= queue.running, jobs.arrival_us[row], jobs.id[row]);
    let mut rows: Vec<usize> = (0..queue.len()).collect();
    let keep = (plan_max as usize).min(rows.len());
    if keep < rows.len() {
        rows.select_nth_unstable_by_key(keep, key);
        rows.truncate(keep);
    }
    rows.sort_unstable_by_key(key);
    rows.into_iter().map(|row| jobs.id[row]).collect()
}
