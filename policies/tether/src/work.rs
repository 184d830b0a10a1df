//! What a job still costs, in time of the whole worker, from the snapshot alone.

use elis_policy_sdk::Header;

use crate::Jobs;

/// Tokens of one bin of the column `length-histogram`.
const BIN_TOKENS: f32 = 64.0;

/// The most tokens that a prediction is believed to mean; keeps sums of all jobs inside 64 bits.
const TOKENS_MAX: f32 = 1e6;

/// Mean and variance of the lengths of recent responses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lengths {
    mean_tokens: f32,
    variance: f32,
}

impl Lengths {
    /// Of the host's histogram; `None` as long as nothing has finished.
    pub(crate) fn of(histogram: &[u32]) -> Option<Self> {
        let count: u32 = histogram.iter().sum();
        if count == 0 {
            return None;
        }
        let middles = (0..).map(|bin| (bin as f32 + 0.5) * BIN_TOKENS);
        let mean = |power: fn(f32) -> f32| {
            let sum: f32 = histogram
                .iter()
                .zip(middles.clone())
                .map(|(&n, tokens)| n as f32 * power(tokens))
                .sum();
            sum / count as f32
        };
        let mean_tokens = mean(|tokens| tokens);
        let variance = (mean(|tokens| tokens * tokens) - mean_tokens * mean_tokens).max(0.0);
        Some(Self {
            mean_tokens,
            variance,
        })
    }
}

/// What one job costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Work {
    /// Until it has finished, if every slot is taken.
    pub(crate) own_us: u64,
    /// The part of the worker's time that it takes for that.
    pub(crate) machine_us: u64,
    /// What it has had already, were it alone in its slot.
    pub(crate) served_us: u64,
    /// Its place among others, lower sooner: `machine_us` less what its KV cost to make, which
    /// whoever takes its memory pays again. NaN without a prediction.
    pub(crate) index_us: f32,
}

impl Work {
    /// Of a row.
    pub(crate) fn of(jobs: &Jobs<'_>, row: usize, lengths: Option<Lengths>, h: &Header) -> Self {
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
            own_us: (read_us + decode_us.max(0.0) * slots) as u64,
            machine_us: (read_us + decode_us.max(0.0)) as u64,
            served_us: (sunk_us + generated as f32 * token_us * slots) as u64,
            index_us: read_us + decode_us - sunk_us,
        }
    }
}

/// The tokens still to come: the prediction, counted down, and drawn towards the mean of all
/// lengths by as much as its own error says. Of the jobs that wait, those whose length was
/// overestimated wait longest, so that the sum of bare predictions is too high.
fn expected_tokens(jobs: &Jobs<'_>, row: usize, lengths: Option<Lengths>) -> f32 {
    let generated = jobs.generated_tokens[row];
    let since = generated.saturating_sub(jobs.predicted_at_tokens[row]);
    let predicted = jobs.remaining_tokens[row] - since as f32;
    if predicted.is_nan() {
        return f32::NAN;
    }
    let predicted = predicted.clamp(0.0, TOKENS_MAX);
    let sigma = jobs.sigma_tokens[row];
    match lengths {
        Some(all) if sigma > 0.0 && sigma.is_finite() => {
            let trust = all.variance / (all.variance + sigma * sigma);
            let mean = (all.mean_tokens - generated as f32).max(0.0);
            mean + trust * (predicted - mean)
        }
        _ => predicted,
    }
}
