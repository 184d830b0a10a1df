//! What kind of model it is: sizes, rotary positions, the tokens it knows.

use elis_ragged::{Heads, KvLayout, Pairing};

use crate::error::LoadError;

/// The sizes of a Llama-family decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `llama`, `qwen2` or `qwen3`, as GGUF names it.
    pub architecture: String,
    /// Decoder layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values, each shared by `heads / kv_heads` heads of queries.
    pub kv_heads: usize,
    /// Numbers in a query, key or value.
    pub dim: usize,
    /// Width inside the feed-forward layers.
    pub inner: usize,
    /// Tokens that the model knows.
    pub vocabulary: usize,
    /// Tokens of prompt and response together that it was made for.
    pub context_tokens: usize,
    /// Epsilon of the norms.
    pub epsilon: f32,
    /// Base of the rotary frequencies.
    pub rope_base: f64,
    /// What each rotary frequency is divided by; empty where nothing is.
    pub rope_divisors: Vec<f64>,
    /// Which elements of a head turn together.
    pub pairing: Pairing,
}

impl Config {
    /// Checks that the sizes fit together and are of this world.
    ///
    /// # Errors
    ///
    /// [`LoadError::Config`].
    pub fn check(&self) -> Result<(), LoadError> {
        let within = |name: &'static str, value: usize, most: usize| {
            if (1..=most).contains(&value) {
                Ok(())
            } else {
                Err(LoadError::Config(format!(
                    "{name} is {value}, expected 1 to {most}"
                )))
            }
        };
        within("the number of layers", self.layers, 1024)?;
        within("the width", self.width, 1 << 16)?;
        within("the number of heads", self.heads, 1024)?;
        within("the number of KV heads", self.kv_heads, 1024)?;
        within("the dimension of a head", self.dim, 1024)?;
        within("the feed-forward width", self.inner, 1 << 20)?;
        within("the vocabulary", self.vocabulary, 1 << 22)?;
        within("the context length", self.context_tokens, 1 << 24)?;
        let wrong = |what: String| Err(LoadError::Config(what));
        if !self.heads.is_multiple_of(self.kv_heads) {
            return wrong(format!(
                "{} heads cannot share {} KV heads evenly",
                self.heads, self.kv_heads
            ));
        }
        if !self.dim.is_multiple_of(2) {
            return wrong(format!("a head has {} numbers, an odd count", self.dim));
        }
        if !(self.epsilon > 0.0 && self.rope_base > 0.0 && self.rope_base.is_finite()) {
            return wrong("the norm's epsilon and the rotary base must be positive".to_owned());
        }
        let divisors = self.rope_divisors.len();
        if divisors != 0 && divisors != self.dim / 2 {
            return wrong(format!(
                "{divisors} rotary divisors, expected {}",
                self.dim / 2
            ));
        }
        Ok(())
    }

    /// The heads of queries.
    pub fn query_heads(&self) -> Heads {
        Heads {
            count: self.heads,
            dim: self.dim,
        }
    }

    /// How keys and values lie in a block.
    pub fn kv_layout(&self) -> KvLayout {
        KvLayout {
            layers: self.layers,
            heads: self.kv_heads,
            dim: self.dim,
        }
    }

    /// Radians that each pair of a head turns by from one position to the next.
    pub fn rope_frequencies(&self) -> Vec<f64> {
        let pairs = self.dim / 2;
        let frequency = |i: usize| {
            let divisor = self.rope_divisors.get(i).copied().unwrap_or(1.0);
            self.rope_base.powf(-(i as f64) / pairs as f64) / divisor
        };
        (0..pairs).map(frequency).collect()
    }

    /// Numbers in all weights.
    pub fn parameters(&self) -> u64 {
        let (width, dim) = (self.width as u64, self.dim as u64);
        let attention = 2 * width * dim * (self.heads + self.kv_heads) as u64;
        let layer = attention + 3 * width * self.inner as u64 + 2 * width;
        layer * self.layers as u64 + width * self.vocabulary as u64 + width
    }
}

/// The divisors of Llama 3's long contexts (Dubey et al., 2024; the formula is that of the
/// published model code): long waves are stretched by `factor`, short ones are left, those between
/// are blended.
pub(crate) fn llama3_divisors(
    (base, dim): (f64, usize),
    factor: f64,
    (low, high): (f64, f64),
    original_tokens: f64,
) -> Vec<f64> {
    let divisor = |i: usize| {
        let frequency = base.powf(-2.0 * i as f64 / dim as f64);
        let wave = std::f64::consts::TAU / frequency;
        if wave < original_tokens / high {
            1.0
        } else if wave > original_tokens / low {
            factor
        } else {
            let smooth = (original_tokens / wave - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    };
    (0..dim / 2).map(divisor).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A model of toy size.
    pub(crate) fn toy() -> Config {
        Config {
            architecture: "llama".to_owned(),
            layers: 2,
            width: 24,
            heads: 4,
            kv_heads: 2,
            dim: 8,
            inner: 40,
            vocabulary: 50,
            context_tokens: 256,
            epsilon: 1e-5,
            rope_base: 10_000.0,
            rope_divisors: Vec::new(),
            pairing: Pairing::Neighbours,
        }
    }

    #[test]
    fn impossible_sizes_are_named() {
        toy().check().unwrap();
        let wrong = |change: fn(&mut Config), named: &str| {
            let mut config = toy();
            change(&mut config);
            let text = config.check().unwrap_err().to_string();
            assert!(text.contains(named), "{text}");
        };
        wrong(|c| c.kv_heads = 3, "evenly");
        wrong(|c| c.layers = 0, "layers");
        wrong(|c| c.dim = 7, "odd");
        wrong(|c| c.vocabulary = usize::MAX, "vocabulary");
        wrong(|c| c.rope_base = f64::NAN, "positive");
        wrong(|c| c.rope_divisors = vec![1.0], "divisors");
    }

    #[test]
    fn llama3_leaves_short_waves_and_stretches_long_ones() {
        let divisors = llama3_divisors((500_000.0, 128), 8.0, (1.0, 4.0), 8192.0);
        assert_eq!((divisors[0], divisors[63]), (1.0, 8.0));
        assert!(divisors.windows(2).all(|pair| pair[0] <= pair[1]));
    }
}
