//! Virtual token counters of tenants (VTC, arXiv 2401.00588): what each has been served, by its
//! weight, on each worker, with the lifts that give nobody credit for having been idle.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::{Snapshot, state, words};

/// What a token costs a tenant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// Of a prompt.
    pub input: f64,
    /// Of a response.
    pub output: f64,
}

impl Prices {
    /// VTC's, section 3.1 and the authors' code: a token of a response costs as much as two read.
    pub const VTC: Self = Self {
        input: 1.0,
        output: 2.0,
    };
}

/// The tenant columns of a snapshot, all of the same length.
#[derive(Debug, Clone, Copy)]
pub struct Tenants<'a> {
    /// The column `tenant-weight`.
    pub weight: &'a [f32],
    /// The column `tenant-input-tokens`.
    pub input_tokens: &'a [u64],
    /// The column `tenant-output-tokens`.
    pub output_tokens: &'a [u64],
    /// The column `tenant-waiting`.
    pub waiting: &'a [u32],
    /// The column `tenant-backlogged-edge`.
    pub backlogged_edge: &'a [u32],
}

/// One tenant on one worker.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Counter {
    /// What it has been charged; never negative.
    charged: f64,
    /// The host's counts as they were then; these only grow.
    input_tokens: u64,
    output_tokens: u64,
}

/// One worker's tenants.
#[derive(Debug, Clone, Default, PartialEq)]
struct Book {
    counters: Vec<Counter>,
    /// The tenant whose job was the last of the queue in the last plan: where the queue has run
    /// empty since, the last to have left it.
    last: Option<u32>,
}

/// The counters of all tenants on all workers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counters(BTreeMap<u32, Book>);

impl Counters {
    /// Charges every tenant what it has been served since the last decision, then lifts those whose
    /// queue was empty until now. Gives the counters by tenant. On a worker that is seen for the
    /// first time all begin alike, whatever they were served before anybody kept a book.
    pub fn update(&mut self, worker: u32, tenants: &Tenants<'_>, prices: Prices) -> Vec<f64> {
        let first = !self.0.contains_key(&worker);
        let book = self.0.entry(worker).or_default();
        let known = tenants.len().max(book.counters.len());
        book.counters.resize(known, Counter::default());
        for (row, counter) in book.counters.iter_mut().enumerate().take(tenants.len()) {
            if !first {
                counter.charged += tenants.cost_since(row, counter, prices);
            }
            counter.input_tokens = tenants.input_tokens[row];
            counter.output_tokens = tenants.output_tokens[row];
        }
        book.lift(tenants);
        book.counters
            .iter()
            .map(|counter| counter.charged)
            .collect()
    }

    /// Notes the tenant of the last job that waits in the plan that is about to be given.
    pub fn note_last(&mut self, worker: u32, tenant: Option<u32>) {
        self.0.entry(worker).or_default().last = tenant;
    }

    /// The counters as bytes, for another version of the policy.
    pub fn export(&self) -> Vec<u8> {
        let book = |(&worker, book): (&u32, &Book)| {
            let last = book.last.map_or(u64::MAX, u64::from);
            let mut words = vec![u64::from(worker), last, book.counters.len() as u64];
            for counter in &book.counters {
                words.extend([
                    counter.charged.to_bits(),
                    counter.input_tokens,
                    counter.output_tokens,
                ]);
            }
            words
        };
        words::to_bytes(self.0.iter().flat_map(book))
    }

    /// The counters again; nothing is empty.
    ///
    /// # Errors
    ///
    /// The bytes are not what [`Counters::export`] gives.
    pub fn import(state: &[u8]) -> Result<Self, String> {
        let words = words::from_bytes(state)?;
        let mut rest = words.as_slice();
        let mut books = BTreeMap::new();
        while let [worker, last, tenants, tail @ ..] = rest {
            let (worker, tenants) = (u32::try_from(*worker), usize::try_from(*tenants));
            let (Ok(worker), Ok(tenants)) = (worker, tenants) else {
                return Err(foreign());
            };
            let (counters, after) = tenants
                .checked_mul(3)
                .and_then(|words| tail.split_at_checked(words))
                .ok_or_else(foreign)?;
            let counters: Option<Vec<Counter>> =
                counters.as_chunks().0.iter().map(Counter::read).collect();
            let book = Book {
                counters: counters.ok_or_else(foreign)?,
                last: u32::try_from(*last).ok(),
            };
            books.insert(worker, book);
            rest = after;
        }
        if rest.is_empty() {
            Ok(Self(books))
        } else {
            Err(foreign())
        }
    }
}

/// Prompt tokens of a job that its tenant is charged for when it gets a slot, and that the host's
/// counts do not hold yet; from the columns `job-state`, `job-prompt-tokens`, `job-computed-tokens`
/// and `job-generated-tokens`.
pub const fn uncounted_tokens(job_state: u32, prompt: u32, computed: u32, generated: u32) -> u32 {
    match job_state {
        state::NEW => prompt,
        state::PREFILL if generated == 0 => prompt.saturating_sub(computed),
        _ => 0,
    }
}

/// The head of a tenant's queue. Counters are never negative, so their bits sort as they do.
type Head<K> = Reverse<(u64, K, u32)>;

fn head<K>(charged: f64, key: K, tenant: u32) -> Head<K> {
    Reverse((charged.to_bits(), key, tenant))
}

/// The first `count` of those that wait as free slots would go to them, each with its tenant: over
/// and over the next of the tenant that has been charged least, who pays its `cost` with it. Ties
/// go to the smaller key. A queue is in the order in which its tenant wants its jobs to run.
pub fn turns<K: Copy + Ord>(
    count: usize,
    mut queues: BTreeMap<u32, impl Iterator<Item = K>>,
    charged: &[f64],
    cost: impl Fn(u32, K) -> f64,
) -> Vec<(K, u32)> {
    let mut heads = BinaryHeap::new();
    for (&tenant, queue) in &mut queues {
        let charged = charged.get(tenant as usize).copied().unwrap_or_default();
        heads.extend(queue.next().map(|key| head(charged, key, tenant)));
    }
    let mut order = Vec::new();
    while order.len() < count
        && let Some(Reverse((charged, key, tenant))) = heads.pop()
    {
        order.push((key, tenant));
        let charged = f64::from_bits(charged) + cost(tenant, key);
        let next = queues.get_mut(&tenant).and_then(Iterator::next);
        heads.extend(next.map(|key| head(charged, key, tenant)));
    }
    order
}

fn foreign() -> String {
    "the state is not that of token counters; start without one".to_owned()
}

/// A share that can be divided by.
fn weight(given: f32) -> f64 {
    if given.is_finite() && given > 0.0 {
        f64::from(given)
    } else {
        1.0
    }
}

impl<'a> Tenants<'a> {
    /// The columns by their names in the contract, in the order of the fields.
    pub const NAMES: &'static [&'static str] = &[
        "tenant-weight",
        "tenant-input-tokens",
        "tenant-output-tokens",
        "tenant-waiting",
        "tenant-backlogged-edge",
    ];

    /// Takes the columns from a snapshot, behind the first `declared` ones.
    pub fn after(snapshot: &Snapshot<'a>, declared: usize) -> Self {
        Self {
            weight: snapshot.column(declared),
            input_tokens: snapshot.column(declared + 1),
            output_tokens: snapshot.column(declared + 2),
            waiting: snapshot.column(declared + 3),
            backlogged_edge: snapshot.column(declared + 4),
        }
    }

    /// What so many tokens at that price cost a tenant.
    pub fn cost(&self, tenant: u32, tokens: u32, price: f64) -> f64 {
        let given = self.weight.get(tenant as usize).copied().unwrap_or(1.0);
        f64::from(tokens) * price / weight(given)
    }

    fn len(&self) -> usize {
        let columns = [
            self.weight.len(),
            self.input_tokens.len(),
            self.output_tokens.len(),
            self.waiting.len(),
            self.backlogged_edge.len(),
        ];
        columns.into_iter().min().unwrap_or(0)
    }

    /// What a tenant owes for all that it was served beyond what its counter holds.
    fn cost_since(&self, row: usize, counter: &Counter, prices: Prices) -> f64 {
        let more = |now: u64, then: u64| now.saturating_sub(then) as f64;
        let inputs = more(self.input_tokens[row], counter.input_tokens);
        let outputs = more(self.output_tokens[row], counter.output_tokens);
        (inputs * prices.input + outputs * prices.output) / weight(self.weight[row])
    }

    fn waits(&self, row: usize) -> bool {
        self.waiting[row] > 0
    }
}

impl Counter {
    fn read(words: &[u64; 3]) -> Option<Self> {
        let charged = f64::from_bits(words[0]);
        (charged.is_finite() && charged >= 0.0).then_some(Self {
            charged,
            input_tokens: words[1],
            output_tokens: words[2],
        })
    }
}

impl Book {
    /// A tenant that joins the queue starts no lower than the least of those that waited before it;
    /// where nobody did, no lower than the last that left.
    fn lift(&mut self, tenants: &Tenants<'_>) {
        let joins = |row: &usize| tenants.waits(*row) && tenants.backlogged_edge[*row] != 0;
        let charged = |row: usize| self.counters[row].charged;
        let stayed = (0..tenants.len()).filter(|row| tenants.waits(*row) && !joins(row));
        let last = || {
            let row = self.last.map_or(usize::MAX, |tenant| tenant as usize);
            self.counters.get(row).map(|counter| counter.charged)
        };
        let floor = stayed.map(charged).min_by(f64::total_cmp).or_else(last);
        let Some(floor) = floor else { return };
        for row in (0..tenants.len()).filter(joins) {
            let counter = &mut self.counters[row];
            counter.charged = counter.charged.max(floor);
        }
    }
}

#[cfg(test)]
mod tests;
