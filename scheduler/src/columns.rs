//! Tables in columns: the memory layout that a snapshot lends to a policy without gathering.

use alloc::vec::Vec;

use crate::snapshot::Snapshot;

/// One column of a snapshot, borrowed from the core's own tables.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ColumnRef<'a> {
    /// Counts, tokens, blocks, small codes.
    U32s(&'a [u32]),
    /// Ids, times in microseconds, policy state.
    U64s(&'a [u64]),
    /// Predictions, scores, weights.
    F32s(&'a [f32]),
}

impl ColumnRef<'_> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::U32s(v) => v.len(),
            Self::U64s(v) => v.len(),
            Self::F32s(v) => v.len(),
        }
    }

    /// Whether the table has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Lends a vector as the column type that its element has in the contract.
pub(crate) trait AsColumn {
    fn as_column(&self) -> ColumnRef<'_>;
}

impl AsColumn for Vec<u32> {
    fn as_column(&self) -> ColumnRef<'_> {
        ColumnRef::U32s(self)
    }
}

impl AsColumn for Vec<u64> {
    fn as_column(&self) -> ColumnRef<'_> {
        ColumnRef::U64s(self)
    }
}

impl AsColumn for Vec<f32> {
    fn as_column(&self) -> ColumnRef<'_> {
        ColumnRef::F32s(self)
    }
}

/// Declares a table: a row type, the same fields as columns, and the moves of whole rows.
macro_rules! table {
    (
        $(#[$row_doc:meta])* row $Row:ident;
        $(#[$table_doc:meta])* table $Table:ident;
        $( $(#[$doc:meta])* $field:ident : $ty:ty = $name:literal; )*
    ) => {
        $(#[$row_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Default)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize))]
        pub struct $Row { $( $(#[$doc])* pub $field: $ty, )* }

        $(#[$table_doc])*
        #[derive(Debug, Clone, Default)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        pub struct $Table { $( $(#[$doc])* pub $field: alloc::vec::Vec<$ty>, )* }

        impl $Table {
            /// The columns by their names in the contract.
            const COLUMNS: &'static [(&'static str, fn(&Self) -> ColumnRef<'_>)] =
                &[ $( ($name, |table| table.$field.as_column()), )* ];

            /// Number of rows.
            pub fn len(&self) -> usize {
                self.first_column().len()
            }

            /// Whether there are no rows.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Whether all columns have as many rows; they always have, unless they were read.
            #[cfg(feature = "serde")]
            pub(crate) fn is_even(&self) -> bool {
                Self::COLUMNS.iter().all(|(_, column)| column(self).len() == self.len())
            }

            fn first_column(&self) -> ColumnRef<'_> {
                (Self::COLUMNS[0].1)(self)
            }

            /// Appends a row.
            pub fn push(&mut self, row: $Row) {
                $( self.$field.push(row.$field); )*
            }

            /// Copies a row out.
            pub fn row(&self, i: usize) -> $Row {
                $Row { $( $field: self.$field[i], )* }
            }

            /// Exchanges two rows.
            pub fn swap(&mut self, i: usize, j: usize) {
                if i != j {
                    $( self.$field.swap(i, j); )*
                }
            }

            /// Removes the last row.
            pub fn pop(&mut self) {
                $( self.$field.pop(); )*
            }
        }
    };
}

table! {
    /// One job as the contract sees it; every field is described in `wit/policy.wit`.
    row JobRow;
    /// The jobs of one worker. Rows `0..decoding` decode, `decoding..running` prefill, the rest
    /// waits; see `queue.rs`.
    table JobTable;
    /// Names the job; grows with arrival.
    id: u64 = "job-id";
    /// A [`crate::job::State`] as its code.
    state: u32 = "job-state";
    /// Bits of [`crate::job::flags`].
    flags: u32 = "job-flags";
    /// The user's class, lower sooner.
    priority: u32 = "job-priority";
    /// Row of the tenant table.
    tenant: u32 = "job-tenant";
    /// The agentic program that a call belongs to, 0 none.
    program: u64 = "job-program";
    /// Model or adapter, 0 the worker's own.
    model: u32 = "job-model";
    /// When the request arrived.
    arrival_us: u64 = "job-arrival-us";
    /// Since when it has been without a slot, 0 while it has one.
    queued_since_us: u64 = "job-queued-since-us";
    /// When it last ended a step in a slot.
    last_run_us: u64 = "job-last-run-us";
    /// When it gave its first token.
    first_token_us: u64 = "job-first-token-us";
    /// The worker's iteration count when it last ran.
    last_run_iteration: u64 = "job-last-run-iteration";
    /// How often it was given a slot.
    runs: u32 = "job-runs";
    /// Time spent in a slot so far.
    service_us: u64 = "job-service-us";
    /// How often it lost its slot before it finished.
    preemptions: u32 = "job-preemptions";
    /// Length of the prompt.
    prompt_tokens: u32 = "job-prompt-tokens";
    /// Prompt tokens found in a prefix cache.
    cached_tokens: u32 = "job-cached-tokens";
    /// Tokens whose KV is present.
    computed_tokens: u32 = "job-computed-tokens";
    /// Tokens generated so far.
    generated_tokens: u32 = "job-generated-tokens";
    /// The request's own limit.
    max_new_tokens: u32 = "job-max-new-tokens";
    /// KV blocks on the device.
    gpu_blocks: u32 = "job-gpu-blocks";
    /// KV blocks in host memory.
    cpu_blocks: u32 = "job-cpu-blocks";
    /// The first prediction of the whole response.
    predicted_total_tokens: f32 = "job-predicted-total-tokens";
    /// The latest prediction of what is still to come.
    predicted_remaining_tokens: f32 = "job-predicted-remaining-tokens";
    /// `generated_tokens` when that was predicted.
    predicted_at_tokens: u32 = "job-predicted-at-tokens";
    /// Standard deviation of the latest prediction.
    predicted_sigma_tokens: f32 = "job-predicted-sigma-tokens";
    /// 90th percentile of the remaining tokens.
    predicted_p90_tokens: f32 = "job-predicted-p90-tokens";
    /// Where the prediction comes from, 0 none.
    prediction_source: u32 = "job-prediction-source";
    /// A rank given once, lower sooner; without a ranker the first prediction of the whole.
    rank_score: f32 = "job-rank-score";
    /// When the first token is due, 0 never.
    ttft_deadline_us: u64 = "job-ttft-deadline-us";
    /// When the response is due, 0 never.
    deadline_us: u64 = "job-deadline-us";
    /// The longest gap between tokens promised, 0 none.
    tbt_slo_us: u32 = "job-tbt-slo-us";
    /// Tokens that have reached the client.
    delivered_tokens: u32 = "job-delivered-tokens";
    /// The speed at which the client reads, 0 unknown.
    expected_tokens_per_s: f32 = "job-expected-tokens-per-s";
    /// First word of the policy's own state.
    state_a: u64 = "job-state-a";
    /// Second word of the policy's own state.
    state_b: u64 = "job-state-b";
}

table! {
    /// One tenant on one worker.
    row TenantRow;
    /// The tenants that have sent anything to this worker; service is never reset.
    table TenantTable;
    /// Its share, 1 where none was given.
    weight: f32 = "tenant-weight";
    /// Prompt tokens served so far.
    input_tokens: u64 = "tenant-input-tokens";
    /// Output tokens served so far.
    output_tokens: u64 = "tenant-output-tokens";
    /// Jobs without a slot.
    waiting: u32 = "tenant-waiting";
    /// Jobs with a slot.
    running: u32 = "tenant-running";
    /// 1 if nothing waited at the last decision and something does now.
    backlogged_edge: u32 = "tenant-backlogged-edge";
}

/// The histogram's name in the contract.
const LENGTH_HISTOGRAM: &str = "length-histogram";

/// A column that a policy can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column(Source);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Job(u16),
    Tenant(u16),
    LengthHistogram,
}

impl Column {
    /// The column of that name, if the contract has one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::all().find(|column| column.name() == name)
    }

    /// Every column of the contract, in its order.
    pub fn all() -> impl Iterator<Item = Self> {
        let jobs = (0..JobTable::COLUMNS.len() as u16).map(|i| Self(Source::Job(i)));
        let tenants = (0..TenantTable::COLUMNS.len() as u16).map(|i| Self(Source::Tenant(i)));
        jobs.chain(tenants).chain([Self(Source::LengthHistogram)])
    }

    /// Whether it has a row for each job.
    pub fn is_of_jobs(self) -> bool {
        matches!(self.0, Source::Job(_))
    }

    /// Its name in the contract.
    pub fn name(self) -> &'static str {
        match self.0 {
            Source::Job(i) => JobTable::COLUMNS[usize::from(i)].0,
            Source::Tenant(i) => TenantTable::COLUMNS[usize::from(i)].0,
            Source::LengthHistogram => LENGTH_HISTOGRAM,
        }
    }
}

impl<'a> Snapshot<'a> {
    /// Lends one column.
    pub fn column(&self, column: Column) -> ColumnRef<'a> {
        match column.0 {
            Source::Job(i) => (JobTable::COLUMNS[usize::from(i)].1)(self.jobs),
            Source::Tenant(i) => (TenantTable::COLUMNS[usize::from(i)].1)(self.tenants),
            Source::LengthHistogram => ColumnRef::U32s(self.length_histogram),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_found_by_its_own_name_only() {
        for column in Column::all() {
            assert_eq!(Column::parse(column.name()), Some(column));
        }
        assert_eq!(Column::parse("job-colour"), None);
    }

    #[test]
    fn a_swapped_row_takes_all_its_fields_along() {
        let mut table = JobTable::default();
        let row = |id| JobRow {
            id,
            rank_score: id as f32,
            state_b: id + 7,
            ..JobRow::default()
        };
        table.push(row(1));
        table.push(row(2));
        table.swap(0, 1);
        assert_eq!(table.row(0), row(2));
        table.pop();
        assert_eq!((table.len(), table.row(0)), (1, row(2)));
    }
}
