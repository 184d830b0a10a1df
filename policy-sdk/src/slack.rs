//! How long a job still takes by the cost coefficients of the header, and what that leaves of the
//! time until it is due.

use crate::Header;

/// The cost model of a worker, for a job that has it to itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    base_us: f64,
    per_seq_us: f64,
    per_kv_token_us: f64,
    per_prefill_token_us: f64,
}

/// What is still to be done for a job.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Tokens whose KV has to be computed before it can go on.
    pub unread_tokens: u32,
    /// Tokens of context that every further token reads.
    pub context_tokens: u32,
    /// Tokens still to come.
    pub remaining_tokens: f32,
}

impl Work {
    /// From the columns of the same names; `remaining_tokens` is [`remaining_tokens`] or a guess.
    pub fn of(prompt: u32, generated: u32, computed: u32, remaining_tokens: f32) -> Self {
        let context_tokens = prompt.saturating_add(generated);
        // The latest token of a response gets its KV while the next one is made.
        let has_kv = computed.saturating_add(u32::from(generated > 0));
        Self {
            unread_tokens: context_tokens.saturating_sub(has_kv),
            context_tokens,
            remaining_tokens,
        }
    }
}

impl Pace {
    /// The worker's, as the host tells it.
    pub fn of(header: &Header) -> Self {
        Self {
            base_us: f64::from(header.iteration_base_us),
            per_seq_us: f64::from(header.iteration_per_seq_us),
            per_kv_token_us: f64::from(header.iteration_per_kv_token_us),
            per_prefill_token_us: f64::from(header.iteration_per_prefill_token_us),
        }
    }

    /// Time to read a prompt, or the rest of one; nothing for none.
    pub fn prefill_us(self, tokens: u32) -> u64 {
        if tokens == 0 {
            return 0;
        }
        (self.base_us + f64::from(tokens) * self.per_prefill_token_us) as u64
    }

    /// Time for further tokens over a context: ALISE's `n * (alpha * s + beta)`.
    pub fn decode_us(self, context_tokens: u32, tokens: f32) -> u64 {
        let kv_us = self.per_kv_token_us * f64::from(context_tokens);
        (f64::from(tokens) * (self.base_us + self.per_seq_us + kv_us)) as u64
    }

    /// Time for all that is left of a job.
    pub fn work_us(self, work: Work) -> u64 {
        let decode_us = self.decode_us(work.context_tokens, work.remaining_tokens);
        self.prefill_us(work.unread_tokens)
            .saturating_add(decode_us)
    }
}

/// A prediction less what was generated since it was made, at least 0; NaN where there is none.
pub fn remaining_tokens(predicted: f32, predicted_at: u32, generated: u32) -> f32 {
    let left = predicted - generated.saturating_sub(predicted_at) as f32;
    // Not `max`, which hides a NaN.
    if left < 0.0 { 0.0 } else { left }
}

/// The time that is left after `work_us` of work until something is due; negative if it is too late.
pub fn slack_us(due_us: u64, now_us: u64, work_us: u64) -> i64 {
    let slack = i128::from(due_us) - i128::from(now_us) - i128::from(work_us);
    slack.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace::of(&Header {
            iteration_base_us: 10_000.0,
            iteration_per_seq_us: 1_000.0,
            iteration_per_kv_token_us: 2.0,
            iteration_per_prefill_token_us: 50.0,
            ..Header::default()
        })
    }

    #[test]
    fn a_job_takes_its_prompt_and_then_its_tokens() {
        let fresh = Work::of(100, 0, 0, 10.0);
        assert_eq!(fresh.unread_tokens, 100);
        assert_eq!(pace().work_us(fresh), 15_000 + 10 * 11_200);
        let decodes = Work::of(100, 5, 104, 10.0);
        assert_eq!(decodes.unread_tokens, 0);
        assert_eq!(pace().work_us(decodes), 10 * 11_210);
        let evicted = Work::of(100, 5, 0, 0.0);
        assert_eq!(pace().work_us(evicted), 10_000 + 104 * 50);
    }

    #[test]
    fn a_prediction_ages_and_a_missing_one_stays_missing() {
        assert_eq!(remaining_tokens(60.0, 50, 90), 20.0);
        assert_eq!(remaining_tokens(10.0, 0, 90), 0.0);
        assert!(remaining_tokens(f32::NAN, 0, 90).is_nan());
    }

    #[test]
    fn slack_is_exact_and_never_wraps() {
        assert_eq!(slack_us(1_000, 400, 500), 100);
        assert_eq!(slack_us(1_000, 900, 500), -400);
        assert_eq!(slack_us(0, u64::MAX, u64::MAX), i64::MIN);
        assert_eq!(slack_us(u64::MAX, 0, 0), i64::MAX);
    }
}
