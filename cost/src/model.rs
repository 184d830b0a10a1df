//! How long an iteration takes on a modelled GPU, from what is in it.

use serde::{Deserialize, Serialize};

/// What one iteration computes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Load {
    /// Sequences that decode.
    pub decode_seqs: u32,
    /// Their context at the start of the iteration, together, in tokens.
    pub decode_kv_tokens: u64,
    /// Prompt tokens that are read.
    pub prefill_tokens: u64,
    /// Prompts of which a chunk is read, and the tokens that they had before it.
    pub prefill_chunks: u64,
    /// Tokens of context before these chunks, together.
    pub prefill_context_tokens: u64,
    /// The squares of the chunks' lengths, summed: attention of the chunks to themselves.
    pub prefill_square_tokens: f64,
    /// For each chunk of n tokens after c tokens of context 2nc, summed: attention to what came
    /// before. A prompt costs the same square in one piece and in chunks.
    pub prefill_cross_tokens: f64,
}

impl Load {
    /// Adds a chunk of `n` prompt tokens that has `context` tokens before it.
    pub fn add_chunk(&mut self, n: u32, context: u32) {
        self.prefill_tokens += u64::from(n);
        self.prefill_chunks += 1;
        self.prefill_context_tokens += u64::from(context);
        self.prefill_square_tokens += f64::from(n) * f64::from(n);
        self.prefill_cross_tokens += 2.0 * f64::from(n) * f64::from(context);
    }
}

/// A cost model, all coefficients in microseconds. The forms and most of the numbers come from
/// fits to measured kernels; every profile names its source.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "kebab-case", deny_unknown_fields)]
pub enum CostModel {
    /// One pass over weights for everything in the iteration:
    /// `base + max(weights, per_token * (b + p)) + per_seq * b + per_kv_token * k +
    /// per_square_token * s`.
    OnePass {
        /// Launches, norms, whatever does not depend on the batch.
        base_us: f64,
        /// Reading the weights, which bounds small batches.
        weights_us: f64,
        /// Computing one token, which bounds large ones.
        per_token_us: f64,
        /// For each sequence that decodes.
        per_seq_us: f64,
        /// For each KV token that a decode reads.
        per_kv_token_us: f64,
        /// Attention inside prompts.
        per_square_token_us: f64,
    },
    /// Linear in everything: `base + per_seq * b + per_kv_token * k + per_prefill_token * p`.
    Linear {
        /// An iteration over nothing.
        base_us: f64,
        /// For each sequence that decodes.
        per_seq_us: f64,
        /// For each KV token that a decode reads.
        per_kv_token_us: f64,
        /// For each prompt token.
        per_prefill_token_us: f64,
    },
    /// Decodes and prompts fitted apart, with a floor under prompts:
    /// `base + per_seq * b + per_kv_token * k` and
    /// `max(floor, prefill_base + per_prefill_token * p) + per_square * s`.
    /// In an iteration with both, the weights are read once: the larger of the two bases counts.
    Phases {
        /// An iteration of decodes over nothing.
        base_us: f64,
        /// For each sequence that decodes.
        per_seq_us: f64,
        /// For each KV token that a decode reads.
        per_kv_token_us: f64,
        /// The shortest prefill.
        prefill_floor_us: f64,
        /// A prefill of nothing.
        prefill_base_us: f64,
        /// For each prompt token.
        per_prefill_token_us: f64,
        /// Attention of chunks to themselves.
        per_square_token_us: f64,
        /// Attention of chunks to what came before them.
        per_cross_token_us: f64,
    },
    /// NVIDIA AISimulate's built-in polynomials, where a pass takes prefill plus decode:
    /// `q2 * p² + q1 * p + q0` for p prompt tokens, and
    /// `max(minimum, u2 * u² + u1 * u + u0)` for a KV memory in use to the share u.
    SumOfPolynomials {
        /// Prefill, highest power first.
        prefill_us: [f64; 3],
        /// Decode, highest power first.
        decode_us: [f64; 3],
        /// The shortest decode.
        decode_minimum_us: f64,
        /// KV tokens of which u is the share.
        kv_capacity_tokens: f64,
    },
}

/// The time of a decode-only iteration as a function of its KV tokens, nanoseconds:
/// `max(minimum, constant + linear * kv + square * kv²)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecodeCurve {
    /// Without KV tokens.
    pub constant: f64,
    /// For each KV token.
    pub linear: f64,
    /// For each KV token squared.
    pub square: f64,
    /// The shortest.
    pub minimum: f64,
}

impl DecodeCurve {
    /// The time over so many KV tokens.
    pub fn ns(&self, kv_tokens: u64) -> u64 {
        let kv = kv_tokens as f64;
        let ns = (self.square * kv + self.linear) * kv + self.constant;
        // Both are positive, so adding a half and cutting rounds to the nearest.
        (ns.max(self.minimum) + 0.5) as u64
    }
}

impl CostModel {
    /// Time of one iteration, nanoseconds.
    pub fn iteration_ns(&self, load: &Load) -> u64 {
        if load.prefill_tokens == 0 {
            return self
                .decode_curve(load.decode_seqs)
                .ns(load.decode_kv_tokens);
        }
        let (b, k) = (f64::from(load.decode_seqs), load.decode_kv_tokens as f64);
        let (p, s) = (load.prefill_tokens as f64, load.prefill_square_tokens);
        let x = load.prefill_cross_tokens;
        let us = match *self {
            Self::OnePass { .. } | Self::Linear { .. } => self.one_pass_us(b, k, p, s + x),
            Self::Phases {
                base_us,
                per_seq_us,
                per_kv_token_us,
                prefill_floor_us,
                prefill_base_us,
                per_prefill_token_us,
                per_square_token_us,
                per_cross_token_us,
            } => {
                let prefill = prefill_base_us + per_prefill_token_us * (p + b);
                let floor = prefill_floor_us.max(if b > 0.0 { base_us } else { 0.0 });
                let attention =
                    per_kv_token_us * k + per_square_token_us * s + per_cross_token_us * x;
                prefill.max(floor + per_seq_us * b) + attention
            }
            Self::SumOfPolynomials { prefill_us, .. } => {
                return self.sum_of_phases_ns(load, prefill_us);
            }
        };
        (us * 1e3 + 0.5) as u64
    }

    /// AISimulate's pass. It charges prompts by their mean length, cut to a whole number, and
    /// rounds each phase by itself; only with the same rule are the same figures reproduced.
    fn sum_of_phases_ns(&self, load: &Load, [q2, q1, q0]: [f64; 3]) -> u64 {
        let n = load.prefill_chunks.max(1);
        let mean = (load.prefill_context_tokens + load.prefill_tokens) / n;
        let p = (n * (mean - load.prefill_context_tokens / n)) as f64;
        let prefill_ns = (((q2 * p + q1) * p + q0) * 1e3 + 0.5) as u64;
        if load.decode_seqs == 0 {
            return prefill_ns;
        }
        prefill_ns
            + self
                .decode_curve(load.decode_seqs)
                .ns(load.decode_kv_tokens)
    }

    fn one_pass_us(&self, b: f64, k: f64, p: f64, s: f64) -> f64 {
        match *self {
            Self::OnePass {
                base_us,
                weights_us,
                per_token_us,
                per_seq_us,
                per_kv_token_us,
                per_square_token_us,
            } => {
                let gemm = weights_us.max(per_token_us * (b + p));
                base_us + gemm + per_seq_us * b + per_kv_token_us * k + per_square_token_us * s
            }
            Self::Linear {
                base_us,
                per_seq_us,
                per_kv_token_us,
                per_prefill_token_us,
            } => base_us + per_seq_us * b + per_kv_token_us * k + per_prefill_token_us * p,
            Self::Phases {
                base_us,
                per_seq_us,
                per_kv_token_us,
                ..
            } => base_us + per_seq_us * b + per_kv_token_us * k,
            Self::SumOfPolynomials {
                decode_us: [_, _, u0],
                ..
            } => u0,
        }
    }

    /// The decode-only iteration of `seqs` sequences.
    pub fn decode_curve(&self, seqs: u32) -> DecodeCurve {
        let b = f64::from(seqs);
        if let Self::SumOfPolynomials {
            decode_us: [u2, u1, u0],
            decode_minimum_us,
            kv_capacity_tokens,
            ..
        } = *self
        {
            return DecodeCurve {
                constant: u0 * 1e3,
                linear: u1 * 1e3 / kv_capacity_tokens,
                square: u2 * 1e3 / (kv_capacity_tokens * kv_capacity_tokens),
                minimum: decode_minimum_us * 1e3,
            };
        }
        let constant = self.one_pass_us(b, 0.0, 0.0, 0.0);
        let linear = self.one_pass_us(b, 1.0, 0.0, 0.0) - constant;
        DecodeCurve {
            constant: constant * 1e3,
            linear: linear * 1e3,
            square: 0.0,
            minimum: 1.0,
        }
    }

    /// The linear summary that policies see, microseconds: base, per sequence, per KV token, per
    /// prompt token.
    pub fn hint_us(&self) -> [f32; 4] {
        let one = |b: f64, k: f64, p: f64| {
            let load = Load {
                decode_seqs: b as u32,
                decode_kv_tokens: k as u64,
                prefill_tokens: p as u64,
                prefill_square_tokens: p * p,
                prefill_chunks: 1,
                ..Load::default()
            };
            self.iteration_ns(&load) as f64 / 1e3
        };
        let base = one(1.0, 0.0, 0.0);
        let per_seq = (one(33.0, 0.0, 0.0) - base) / 32.0;
        let per_kv = (one(1.0, 16_384.0, 0.0) - base) / 16_384.0;
        let per_prefill = (one(0.0, 0.0, 2_048.0) - one(0.0, 0.0, 1_024.0)) / 1_024.0;
        [
            base as f32,
            per_seq as f32,
            per_kv as f32,
            per_prefill as f32,
        ]
    }

    /// The time that a request takes alone: its prompt in chunks, then its tokens one by one.
    pub fn isolated_ns(&self, prompt_tokens: u32, output_tokens: u32, chunk_tokens: u32) -> u64 {
        let mut total = 0;
        let mut done = 0;
        while done < prompt_tokens {
            let n = chunk_tokens.max(1).min(prompt_tokens - done);
            let mut load = Load::default();
            load.add_chunk(n, done);
            total += self.iteration_ns(&load);
            done += n;
        }
        // The prompt gave the first token. The curve is linear or nearly so in the context, so that
        // the mean of its ends times the count is its sum.
        let decodes = u64::from(output_tokens.saturating_sub(1));
        let curve = self.decode_curve(1);
        let first = curve.ns(u64::from(prompt_tokens) + 1);
        let last = curve.ns(u64::from(prompt_tokens) + decodes.max(1));
        total + (first + last) * decodes / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINEAR: CostModel = CostModel::Linear {
        base_us: 10_000.0,
        per_seq_us: 20.0,
        per_kv_token_us: 0.5,
        per_prefill_token_us: 50.0,
    };

    #[test]
    fn an_iteration_adds_up_its_parts() {
        let load = Load {
            decode_seqs: 3,
            decode_kv_tokens: 1_000,
            ..Load::default()
        };
        assert_eq!(LINEAR.iteration_ns(&load), 10_560_000);
        let load = Load {
            prefill_tokens: 100,
            ..load
        };
        assert_eq!(LINEAR.iteration_ns(&load), 15_560_000);
    }

    #[test]
    fn alone_is_the_sum_of_its_iterations() {
        let mut by_hand = LINEAR.iteration_ns(&Load {
            prefill_tokens: 7,
            ..Load::default()
        });
        for i in 1..40 {
            let kv = 7 + i;
            let load = Load {
                decode_seqs: 1,
                decode_kv_tokens: kv,
                ..Load::default()
            };
            by_hand += LINEAR.iteration_ns(&load);
        }
        assert_eq!(LINEAR.isolated_ns(7, 40, 512), by_hand);
    }

    #[test]
    fn small_batches_are_bound_by_the_weights() {
        let model = CostModel::OnePass {
            base_us: 100.0,
            weights_us: 1_000.0,
            per_token_us: 10.0,
            per_seq_us: 0.0,
            per_kv_token_us: 0.0,
            per_square_token_us: 0.0,
        };
        let decode = |decode_seqs| {
            model.iteration_ns(&Load {
                decode_seqs,
                ..Load::default()
            })
        };
        assert_eq!(decode(1), decode(100));
        assert_eq!(decode(200), 2_100_000);
    }

    #[test]
    fn chunks_cost_the_attention_of_the_whole() {
        let squares = |chunks: &[(u32, u32)]| {
            let mut load = Load::default();
            chunks
                .iter()
                .for_each(|&(n, context)| load.add_chunk(n, context));
            load.prefill_square_tokens + load.prefill_cross_tokens
        };
        let whole = squares(&[(300, 0)]);
        let chunks = squares(&[(100, 0), (120, 100), (80, 220)]);
        assert!((whole - chunks).abs() < 1e-9);
    }
}
