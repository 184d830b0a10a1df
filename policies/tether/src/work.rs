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
    /// The least that it can need alone on the worker: what it has had, the rest of its prompt and
    /// one token more. Nothing in it is predicted.
    pub(crate) least_us: f32,
    /// Its place among others, lower sooner: the worker's time that it takes, less what its KV cost
    /// to make, which whoever takes its memory pays again. NaN without a prediction.
    pub(crate) index_us: f32,
    /// The whole response, what has been made of it and what is expected.
    pub(crate) response_tokens: f32,
}

impl Work {
    /// Of a row; beside each of its tokens the worker reads prompts of others for so long.
    pub(crate) fn of(
        jobs: &Jobs<'_>,
        row: usize,
        lengths: &Seen,
        h: &Header,
        reading_us: f32,
    ) -> Self {
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
        let alone_us = h.iteration_base_us
            + h.iteration_per_seq_us
            + h.iteration_per_kv_token_us * jobs.prompt_tokens[row] as f32;
        Self {
            own_us: (read_us + (decode_us + tokens * reading_us).max(0.0) * slots) as i64,
            served_us: (sunk_us + generated as f32 * (token_us + reading_us) * slots) as i64,
            least_us: read_us + sunk_us + generated.saturating_add(1) as f32 * alone_us,
            index_us: read_us + decode_us - sunk_us,
            response_tokens: generated as f32 + tokens,
        }
    }
}

/// How long the worker reads prompts for each token that it makes, over all jobs: the mean prompt
/// of those present for each mean response. 0 while no response is known.
pub(crate) fn reading_us(jobs: &Jobs<'_>, lengths: &Seen, h: &Header) -> f32 {
    let Some(response_tokens) = lengths.mean() else {
        return 0.0;
    };
    let prompts: u64 = jobs.prompt_tokens.iter().map(|&n| u64::from(n)).sum();
    let prompt_tokens = prompts as f32 / jobs.len().max(1) as f32;
    h.iteration_per_prefill_token_us * prompt_tokens / response_tokens
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_read_their_prompts_beside_each_token() {
        let header = Header {
            max_num_seqs: 4,
            iteration_base_us: 40.0,
            iteration_per_prefill_token_us: 16.0,
            ..Header::default()
        };
        let jobs = Jobs {
            id: &[1, 2],
            arrival_us: &[0, 0],
            state: &[2, 2],
            tenant: &[0, 0],
            flags: &[0, 0],
            prompt_tokens: &[100, 300],
            computed_tokens: &[100, 300],
            generated_tokens: &[0, 0],
            remaining_tokens: &[10.0, 10.0],
            predicted_at_tokens: &[0, 0],
            sigma_tokens: &[0.0, 0.0],
        };
        // 200 tokens of prompt for 32 of response.
        let seen = Seen::of(&[5]);
        assert_eq!(reading_us(&jobs, &seen, &header), 100.0);
        assert_eq!(reading_us(&jobs, &Seen::of(&[0]), &header), 0.0);
        let own_us = |reading_us| Work::of(&jobs, 0, &seen, &header, reading_us).own_us;
        assert_eq!((own_us(0.0), own_us(100.0)), (400, 4_400));
    }
}
