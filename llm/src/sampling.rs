//! How the next token is chosen.

/// What a client says of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// 0 takes the likeliest token; higher is more random.
    pub temperature: f32,
    /// Only the likeliest tokens that together have this probability; 1 for all.
    pub top_p: f32,
    /// Only so many of the likeliest; 0 for all.
    pub top_k: usize,
    /// Above 1, tokens that were there before become less likely (Keskar et al., 2019); 1 for none.
    pub repetition_penalty: f32,
    /// The same seed gives the same response.
    pub seed: u64,
}

impl Default for Sampling {
    /// The likeliest token, always.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            repetition_penalty: 1.0,
            seed: 0,
        }
    }
}
