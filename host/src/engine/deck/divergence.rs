//! How differently two policies decide on the same snapshot.

use std::collections::HashMap;

use elis_scheduler::plan::Plan;

use crate::still::Still;

/// Two plans beside each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Divergence {
    /// Kendall's tau-b of the orders of the jobs that both name; none below two of them.
    pub(crate) tau: Option<f64>,
    /// Whether other jobs would get the worker's slots.
    pub(crate) differs: bool,
}

impl Divergence {
    pub(crate) fn between(still: &Still, live: &Plan, shadow: &Plan) -> Self {
        let (live, shadow) = (order(still, live), order(still, shadow));
        let slots = still.header.max_num_seqs as usize;
        Self {
            tau: tau(&live, &shadow),
            differs: chosen(&live, slots) != chosen(&shadow, slots),
        }
    }
}

/// The order that a plan stands for: an empty one leaves it to arrival.
fn order(still: &Still, plan: &Plan) -> Vec<u64> {
    if !plan.run.is_empty() {
        return plan.run.clone();
    }
    let jobs = still.jobs.arrival_us.iter().zip(&still.jobs.id);
    let mut jobs: Vec<_> = jobs.map(|(&arrival_us, &id)| (arrival_us, id)).collect();
    jobs.sort_unstable();
    let most = still.header.plan_max as usize;
    jobs.into_iter().take(most).map(|(_, id)| id).collect()
}

fn chosen(order: &[u64], slots: usize) -> Vec<u64> {
    let mut chosen: Vec<u64> = order.iter().copied().take(slots).collect();
    chosen.sort_unstable();
    chosen
}

fn tau(live: &[u64], shadow: &[u64]) -> Option<f64> {
    let places: HashMap<u64, u32> = live.iter().copied().zip(0..).collect();
    let (xs, ys): (Vec<u32>, Vec<u32>) = (0..)
        .zip(shadow)
        .filter_map(|(place, id)| Some((*places.get(id)?, place)))
        .unzip();
    let order = |a: &u32, b: &u32| a.cmp(b);
    let (tau, _) = kendalls::tau_b_with_comparator(&xs, &ys, order).ok()?;
    tau.is_finite().then_some(tau)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::queue;

    fn plan(run: &[u64]) -> Plan {
        Plan {
            run: run.to_vec(),
            ..Plan::default()
        }
    }

    #[test]
    fn the_same_order_is_one_and_the_opposite_minus_one() {
        let mut still = queue(4);
        still.header.max_num_seqs = 2;
        let between = |a: &[u64], b: &[u64]| Divergence::between(&still, &plan(a), &plan(b));
        let same = between(&[1, 2, 3, 4], &[1, 2, 3, 4]);
        assert_eq!((same.tau, same.differs), (Some(1.0), false));
        let back = between(&[1, 2, 3, 4], &[4, 3, 2, 1]);
        assert_eq!((back.tau, back.differs), (Some(-1.0), true));
        let turned = between(&[1, 2, 3, 4], &[2, 1, 3, 4]);
        assert!(turned.tau.unwrap() > 0.6);
        assert!(!turned.differs, "the same two run");
        assert_eq!(between(&[1, 2], &[3, 4]).tau, None, "nobody in common");
        let empty = between(&[], &[1, 2, 3, 4]);
        assert_eq!((empty.tau, empty.differs), (Some(1.0), false), "by arrival");
    }
}
