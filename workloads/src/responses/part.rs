//! Which responses a predictor may learn from, and which only judge it.

use sha2::{Digest as _, Sha256};

/// What a prompt is for, 60 : 20 : 20 (ELIS, arXiv 2505.09142, section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Weights are fitted to it.
    Train,
    /// It says when to stop.
    Validation,
    /// It is only ever reported on.
    Test,
}

impl Part {
    /// The part of whatever any model said to a prompt. It depends on the prompt alone, so that no
    /// order of files and no other data moves a prompt from one part to another.
    #[must_use]
    pub fn of_prompt(prompt: &str) -> Self {
        Self::of_digest(&Sha256::digest(prompt.as_bytes()).into())
    }

    /// The part of what has this SHA-256.
    #[must_use]
    pub fn of_digest(digest: &[u8; 32]) -> Self {
        Self::of_hash(u16::from_le_bytes([digest[0], digest[1]]))
    }

    /// The part of what has a SHA-256 that begins with these two bytes, the lower one first.
    #[must_use]
    pub fn of_hash(hash: u16) -> Self {
        match hash % 100 {
            0..60 => Self::Train,
            60..80 => Self::Validation,
            _ => Self::Test,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_the_sizes_that_they_say() {
        let mut counts = [0; 3];
        for i in 0..2000 {
            counts[Part::of_prompt(&i.to_string()) as usize] += 1;
        }
        assert!((1100..1300).contains(&counts[0]), "{counts:?}");
        assert!((330..470).contains(&counts[1]), "{counts:?}");
    }
}
