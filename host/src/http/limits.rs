//! How long a response may be.

use crate::engine::GenerateError;

use super::error::ApiError;
use super::params::Prompt;

/// What bounds a response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The most tokens of prompt and response together.
    pub(super) context_tokens: u32,
    /// The most that a request may ask for, if the operator says so.
    pub(super) response_tokens_max: Option<u32>,
    /// For refusals that pass.
    pub(super) retry_after_s: u64,
}

impl Limits {
    /// The length of the longest response to a prompt, as asked for or by default.
    pub(super) fn response_tokens(
        self,
        prompt: &Prompt,
        asked: Option<u32>,
        default_tokens: Option<u32>,
    ) -> Result<u32, ApiError> {
        if asked == Some(0) {
            return Err(ApiError::field(
                "max_tokens",
                "max_tokens must be at least 1",
            ));
        }
        let most = self.response_tokens_max.unwrap_or(u32::MAX);
        if let Some(asked) = asked.filter(|&asked| asked > most) {
            let message = format!("max_tokens is {asked}, and this server gives at most {most}");
            return Err(ApiError::field("max_tokens", message));
        }
        let prompt_tokens = u32::try_from(prompt.tokens.len()).unwrap_or(u32::MAX);
        let room = self.context_tokens.saturating_sub(prompt_tokens);
        let wanted = asked.unwrap_or_else(|| default_tokens.unwrap_or(most).min(room).min(most));
        if wanted == 0 || wanted > room {
            let error = GenerateError::TooLong {
                prompt_tokens: prompt.tokens.len(),
                max_new_tokens: wanted.max(1),
                limit_tokens: self.context_tokens,
            };
            return Err(ApiError::of_engine(
                &error,
                prompt.param,
                self.retry_after_s,
            ));
        }
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(prompt: usize, asked: Option<u32>, default: Option<u32>) -> Option<u32> {
        let limits = Limits {
            context_tokens: 100,
            response_tokens_max: Some(50),
            retry_after_s: 1,
        };
        let prompt = Prompt {
            text: String::new(),
            tokens: vec![0; prompt],
            param: "prompt",
        };
        limits.response_tokens(&prompt, asked, default).ok()
    }

    #[test]
    fn what_is_asked_for_must_fit_and_a_default_makes_itself_fit() {
        assert_eq!(tokens(10, Some(50), None), Some(50));
        assert_eq!(tokens(10, Some(51), None), None);
        assert_eq!(tokens(10, Some(0), None), None);
        assert_eq!(tokens(60, Some(40), None), Some(40));
        assert_eq!(tokens(60, Some(41), None), None);
        assert_eq!(tokens(10, None, None), Some(50));
        assert_eq!(tokens(60, None, None), Some(40));
        assert_eq!(tokens(60, None, Some(16)), Some(16));
        assert_eq!(tokens(95, None, Some(16)), Some(5));
        assert_eq!(tokens(100, None, Some(16)), None);
        assert_eq!(tokens(200, None, None), None);
    }
}
