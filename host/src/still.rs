//! A snapshot that owns its tables: what the scheduler lent, kept for later.

use elis_scheduler::columns::{JobTable, TenantTable};
use elis_scheduler::plan::Plan;
use elis_scheduler::snapshot::{Header, Snapshot};

/// A queue as it stood at one boundary.
#[derive(Debug, Clone)]
pub struct Still {
    /// The jobs.
    pub jobs: JobTable,
    /// The tenants.
    pub tenants: TenantTable,
    /// Lengths of recent responses: count by bin of 64 tokens.
    pub histogram: Vec<u32>,
    /// The scalars.
    pub header: Header,
}

impl Still {
    /// Copies a snapshot.
    pub fn of(snapshot: &Snapshot<'_>) -> Self {
        Self {
            jobs: snapshot.jobs.clone(),
            tenants: snapshot.tenants.clone(),
            histogram: snapshot.length_histogram.to_vec(),
            header: snapshot.header,
        }
    }

    /// Lends it again.
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            header: self.header,
            jobs: &self.jobs,
            tenants: &self.tenants,
            length_histogram: &self.histogram,
        }
    }

    /// Ids that a plan names and nobody has, or that it wants to run twice.
    pub fn strangers(&self, plan: &Plan) -> usize {
        let mut known: std::collections::HashSet<u64> = self.jobs.id.iter().copied().collect();
        let lists = [
            &plan.preempt,
            &plan.victims,
            &plan.swap_in,
            &plan.reject,
            &plan.defer,
            &plan.repredict,
            &plan.state_jobs,
        ];
        let unknown: usize = lists
            .into_iter()
            .map(|list| list.iter().filter(|id| !known.contains(id)).count())
            .sum();
        // Each may run once: the second mention finds nobody.
        unknown + plan.run.iter().filter(|id| !known.remove(id)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_and_doubles_are_counted() {
        let plan = Plan {
            run: vec![1, 2, 2, 11],
            victims: vec![1, 99],
            ..Plan::default()
        };
        assert_eq!(crate::synthetic::queue(10).strangers(&plan), 3);
    }
}
