//! What a job still costs, from the snapshot alone.

use elis_policy_sdk::Header;
use elis_policy_sdk::lengths::Seen;

use crate::Jobs;

/// The most tokens that a prediction is believed to mean; keeps sums of all jobs inside 64 bits.
const TOKENS_MAX: f32 = 1e6;

/// What one job costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Work {
    /// Until it has finished, if every slot is taken.
    pub(crate) own_us: i64,
    /// What it has had already, were it alone in its slot.
    pub(crate) served_us: i64,
    /// Its place among others, lower sooner: the worker's time that it takes, less what its KV cost
    /// to make, which whoever takes its memory pays again. NaN without a prediction.
    pub(crate) index_us: f32,
    /// The whole response, what has been made of it and what is expected.
    pub(crate) response_tokens: f32,
}

impl Work {
    /// Of a row.
    pub(crate) fn of(jobs: &Jobs<'_>, row: usize, lengths: &Seen, h: &Header) -> Self {
        let generated = jobs.generated_tokens[row];
        let context = jobs.prompt_tokens[row].saturating_add(generated);
        let unread = context.saturating_sub(jobs.computed_tokens[row]);
        // The newest token has no KV until it is decoded, and that is not reading a prompt.
        let unread = unread.saturating_sub(u32::from(generated > 0));
        let tokens = expected_tokens(jobs, row, lengths);
        let slots = h.max_num_seqs.max(1) as f32;
        let context_mid = context as f32 + tokens.max(0.0) / 2.0;
        let token_us = h.iteration_base_us / slots
            + h.iteration_per_seq_us
            + h.iteration_per_kv_token_us * context_mid;
        let prefill_us = h.iteration_per_prefill_token_us;
        let read_us = unread as f32 * prefill_us;
        let sunk_us = jobs.computed_tokens[row] as f32 * prefill_us;
        let decode_us = tokens * token_us;
        Self {
            own_us: (read_us + decode_us.max(0.0) * slots) as i64,
            served_us: (sunk_us + generated as f32 * token_us * slots) as i64,
            index_us: read_us + decode_us - sunk_us,
            response_tokens: generated as f32 + tokens,
        }
    }
}

/// The tokens still to come: the prediction, counted down, as the lengths of others correct it. Of
/// the jobs that wait, those whose length was overestimated wait longest, so that the sum of bare
/// predictions is too high.
fn expected_tokens(jobs: &Jobs<'_>, row: usize, lengths: &Seen) -> f32 {
    let generated = jobs.generated_tokens[row];
    let then = jobs.predicted_at_tokens[row];
    let predicted = jobs.remaining_tokens[row].clamp(0.0, TOKENS_MAX);
    let sigma = jobs.sigma_tokens[row];
    lengths
        .remaining(then as f32 + predicted, sigma, generated as f32)
        .unwrap_or_else(|| predicted - generated.saturating_sub(then) as f32)
        .clamp(0.0, TOKENS_MAX)
}
