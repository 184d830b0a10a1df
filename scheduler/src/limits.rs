//! Every bound of the core, with its unit and its reason.

use crate::time::Span;

/// Jobs that one scheduler holds at once; beyond it a request is refused. A snapshot of this many
/// jobs costs a policy about a millisecond.
pub const JOBS_MAX: usize = 1 << 20;

/// Tenants that one scheduler tells apart.
pub const TENANTS_MAX: u32 = 1 << 16;

/// Workers of one scheduler.
pub const WORKERS_MAX: usize = 1 << 12;

/// Entries of `plan.run` that are read: several batches, so that a policy whose order does not
/// change is asked once for many freed slots.
pub const PLAN_MAX: u32 = 1_024;

/// Tokens of one bin of the length histogram.
pub const HISTOGRAM_BIN_TOKENS: u32 = 64;

/// Bins of the length histogram; the last holds everything longer.
pub const HISTOGRAM_BINS: usize = 64;

/// Responses that the length histogram remembers before it halves its counts.
pub const HISTOGRAM_RESPONSES_MAX: u32 = 4_096;

/// How long after its arrival a plan may put a job off; then it may run like any other. Without an
/// end a policy could keep a request for ever, and no client waits this long for its first token.
pub const DEFER_MAX: Span = Span::from_ms(600_000);

/// Plan entries below which a slot is not searched for a job that fits, when the plan allows jobs
/// to bypass each other: it bounds one admission walk.
pub const BYPASS_MAX: usize = 256;

const _: () = assert!(JOBS_MAX <= u32::MAX as usize, "rows are u32");
const _: () = assert!(
    WORKERS_MAX <= u16::MAX as usize,
    "workers are u16 in the index"
);
