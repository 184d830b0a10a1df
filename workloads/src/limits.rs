//! Caps on request lengths, as a server's configuration would set them.

use serde::{Deserialize, Serialize};

use crate::error::WorkloadError;

/// Caps; longer requests are clipped, not dropped, as `max_tokens` does in a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The longest prompt.
    pub max_prompt_tokens: Option<u32>,
    /// The longest response.
    pub max_output_tokens: Option<u32>,
    /// The longest prompt and response together, e.g. a model's context length.
    pub max_model_tokens: Option<u32>,
}

impl Limits {
    /// These limits, with the tighter one wherever `other` has one too.
    #[must_use]
    pub fn tighten(self, other: Self) -> Self {
        let tighter = |a: Option<u32>, b: Option<u32>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self {
            max_prompt_tokens: tighter(self.max_prompt_tokens, other.max_prompt_tokens),
            max_output_tokens: tighter(self.max_output_tokens, other.max_output_tokens),
            max_model_tokens: tighter(self.max_model_tokens, other.max_model_tokens),
        }
    }

    /// Checks that the caps leave room for one token of each kind.
    ///
    /// # Errors
    ///
    /// [`WorkloadError::OutOfRange`] for a cap that leaves none.
    pub fn check(&self) -> Result<(), WorkloadError> {
        let caps = [
            ("max_prompt_tokens", self.max_prompt_tokens, 1),
            ("max_output_tokens", self.max_output_tokens, 1),
            ("max_model_tokens", self.max_model_tokens, 2),
        ];
        for (what, cap, least) in caps {
            if let Some(given) = cap.filter(|c| *c < least) {
                return Err(WorkloadError::OutOfRange {
                    what: what.to_owned(),
                    given: given.to_string(),
                    expected: format!("{least} or more"),
                });
            }
        }
        Ok(())
    }

    /// The pair (prompt, output) in tokens, clipped. The prompt yields first only as far as one
    /// output token needs room; what remains of the model's length bounds the output.
    #[must_use]
    pub fn clip(&self, prompt_tokens: u32, output_tokens: u32) -> (u32, u32) {
        let mut prompt = prompt_tokens
            .min(self.max_prompt_tokens.unwrap_or(u32::MAX))
            .max(1);
        let mut output = output_tokens
            .min(self.max_output_tokens.unwrap_or(u32::MAX))
            .max(1);
        if let Some(model) = self.max_model_tokens {
            prompt = prompt.min(model.saturating_sub(1)).max(1);
            output = output.min(model.saturating_sub(prompt)).max(1);
        }
        (prompt, output)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn clipped_requests_fit_and_are_never_empty(
            prompt in 0_u32..10_000, output in 0_u32..10_000, cap in 2_u32..5000,
        ) {
            let limits = Limits { max_model_tokens: Some(cap), ..Limits::default() };
            let (p, o) = limits.clip(prompt, output);
            prop_assert!(p >= 1 && o >= 1 && p + o <= cap);
            prop_assert!(p <= prompt.max(1) && o <= output.max(1));
            if prompt + output <= cap && prompt > 0 && output > 0 {
                prop_assert_eq!((p, o), (prompt, output));
            }
        }
    }
}
