//! Properties of the kernels: the same on every processor, close to doubles, blind to neighbours.

use proptest::prelude::*;

use crate::{
    BLOCK, BLOCK_TOKENS, Block, Chunk, Cpu, Format, Heads, KvLayout, KvPool, Linear, Precision,
    Queries, Ragged, Scratch, bidirectional, causal,
};

/// Numbers in -1..1 that look random and are the same each time.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// `x * wT + bias` in doubles.
fn reference(x: &[f32], w: &[f32], bias: &[f32], k: usize) -> Vec<f64> {
    let rows = x.chunks_exact(k);
    let outputs = rows.flat_map(|x| {
        w.chunks_exact(k).zip(bias).map(move |(w, &bias)| {
            let products = x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w));
            products.sum::<f64>() + f64::from(bias)
        })
    });
    outputs.collect()
}

fn forward(linear: &Linear, x: &[f32], rows: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; rows * linear.shape().0];
    linear.forward(x, &mut out, &mut Scratch::default());
    out
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn floats_are_close_to_doubles(
        rows in 0usize..40, n in 1usize..100, k in 1usize..700, seed: u64,
    ) {
        let (x, w) = (numbers(seed, rows * k), numbers(seed ^ 1, n * k));
        let bias = numbers(seed ^ 2, n);
        let truth = reference(&x, &w, &bias, k);
        for cpu in Cpu::all() {
            let linear = Linear::new(cpu, Precision::F32, (n, k), &w, &bias);
            for (got, truth) in forward(&linear, &x, rows).iter().zip(&truth) {
                prop_assert!((f64::from(*got) - truth).abs() < 1e-4, "{}", cpu.name());
            }
        }
    }

    #[test]
    fn integers_have_the_same_bits_on_every_processor(
        rows in 0usize..110, n in 1usize..80, k in 1usize..200, seed: u64, tiny: bool,
    ) {
        let mut x = numbers(seed, rows * k);
        if tiny {
            x.iter_mut().for_each(|x| *x *= 1e-38);
        }
        let (w, bias) = (numbers(seed ^ 1, n * k), numbers(seed ^ 2, n));
        let run = |cpu| {
            let linear = Linear::new(cpu, Precision::Q8, (n, k), &w, &bias);
            forward(&linear, &x, rows)
        };
        let portable = run(Cpu::portable());
        for cpu in Cpu::all() {
            prop_assert_eq!(bits(&run(cpu)), bits(&portable), "{}", cpu.name());
        }
        if !tiny {
            for (got, truth) in portable.iter().zip(reference(&x, &w, &bias, k)) {
                let allowed = 0.02 * (k as f64).sqrt() + 1e-3;
                prop_assert!((f64::from(*got) - truth).abs() < allowed);
            }
        }
    }

    #[test]
    fn blocks_with_minima_mean_what_they_say(
        rows in 1usize..14, n in 1usize..50, blocks in 1usize..5, seed: u64, halves: bool,
    ) {
        let k = blocks * BLOCK;
        let block = |output: usize, i: usize| {
            let parts = numbers(seed ^ (output * 64 + i) as u64, BLOCK + 2);
            let mut codes = [0; BLOCK];
            for (code, part) in codes.iter_mut().zip(&parts[2..]) {
                *code = ((part + 1.0) * 7.5) as u8;
            }
            // Half floats are kept in another way.
            let kept = |value| if halves { half::f16::from_f32(value).to_f32() } else { value };
            Block { codes, scale: kept(parts[0].abs() * 0.1), min: kept(parts[1]) }
        };
        let mut w = Vec::new();
        for output in 0..n {
            for Block { codes, scale, min } in (0..blocks).map(|i| block(output, i)) {
                w.extend(codes.iter().map(|&code| f32::from(code) * scale + min));
            }
        }
        let (x, bias) = (numbers(seed, rows * k), vec![0.25; n]);
        let truth = reference(&x, &w, &bias, k);
        let run = |cpu| {
            let linear = Linear::from_blocks(cpu, (n, k), Format::Min, &bias, block);
            forward(&linear, &x, rows)
        };
        let portable = run(Cpu::portable());
        for cpu in Cpu::all() {
            prop_assert_eq!(bits(&run(cpu)), bits(&portable), "{}", cpu.name());
        }
        for (got, truth) in portable.iter().zip(truth) {
            prop_assert!((f64::from(*got) - truth).abs() < 0.03 * (k as f64).sqrt());
        }
    }

    #[test]
    fn attention_sees_its_own_sequence_and_all_of_it(
        lengths in prop::collection::vec(0usize..90, 1..5), dim in 1usize..70, seed: u64,
    ) {
        let heads = Heads { count: 2, dim };
        let layout = Ragged::from_lengths(lengths);
        let qkv = numbers(seed, layout.rows() * 6 * dim);
        let truth = attention_reference(&layout, heads, &qkv);
        for cpu in Cpu::all() {
            let mut out = vec![f32::NAN; layout.rows() * 2 * dim];
            bidirectional(cpu, &layout, heads, &qkv, &mut out, &mut Scratch::default());
            for (got, truth) in out.iter().zip(&truth) {
                prop_assert!((f64::from(*got) - truth).abs() < 1e-5, "{}", cpu.name());
            }
        }
    }
}

/// Attention in doubles, straight from its definition.
fn attention_reference(layout: &Ragged, heads: Heads, qkv: &[f32]) -> Vec<f64> {
    let (dim, width) = (heads.dim, heads.count * heads.dim);
    let at = |row: usize, part: usize, head: usize| {
        let from = row * 3 * width + part * width + head * dim;
        qkv[from..from + dim]
            .iter()
            .map(|&v| f64::from(v))
            .collect::<Vec<f64>>()
    };
    let mut out = vec![0.0; layout.rows() * width];
    for rows in layout.ranges() {
        for (row, head) in rows
            .clone()
            .flat_map(|r| (0..heads.count).map(move |h| (r, h)))
        {
            let query = at(row, 0, head);
            let weights: Vec<f64> = rows
                .clone()
                .map(|other| {
                    let key = at(other, 1, head);
                    let score: f64 = query.iter().zip(&key).map(|(q, k)| q * k).sum();
                    (score / (dim as f64).sqrt()).exp()
                })
                .collect();
            let sum: f64 = weights.iter().sum();
            for (other, weight) in rows.clone().zip(weights) {
                let to = &mut out[row * width + head * dim..][..dim];
                for (to, value) in to.iter_mut().zip(at(other, 2, head)) {
                    *to += weight / sum * value;
                }
            }
        }
    }
    out
}

#[test]
fn what_is_no_number_does_not_panic() {
    let w = numbers(3, 64 * 64);
    for precision in [Precision::F32, Precision::Q8] {
        for cpu in Cpu::all() {
            let linear = Linear::new(cpu, precision, (64, 64), &w, &[0.0; 64]);
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
                let mut x = numbers(4, 64 * 3);
                x[70] = bad;
                forward(&linear, &x, 3);
            }
        }
    }
}

#[test]
fn a_row_does_not_depend_on_those_beside_it() {
    let (n, k, rows) = (70, 96, 25);
    let (x, w) = (numbers(5, rows * k), numbers(6, n * k));
    for precision in [Precision::F32, Precision::Q8] {
        let linear = Linear::new(Cpu::detect(), precision, (n, k), &w, &vec![0.1; n]);
        let together = forward(&linear, &x, rows);
        for (x, together) in x.chunks_exact(k).zip(together.chunks_exact(n)) {
            let alone = forward(&linear, x, 1);
            for (alone, together) in alone.iter().zip(together) {
                assert!((alone - together).abs() < 1e-5);
            }
        }
    }
}

/// A sequence's queries, keys and values, and what attends where.
struct Story {
    layout: KvLayout,
    heads: Heads,
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

const LAYER: usize = 1;

impl Story {
    fn new(seed: u64, tokens: usize, kv_heads: usize, group: usize, dim: usize) -> Self {
        let (layers, count) = (2, kv_heads * group);
        Self {
            layout: KvLayout {
                layers,
                heads: kv_heads,
                dim,
            },
            heads: Heads { count, dim },
            queries: numbers(seed, tokens * count * dim),
            keys: numbers(seed ^ 1, tokens * kv_heads * dim),
            values: numbers(seed ^ 2, tokens * kv_heads * dim),
        }
    }

    fn tokens(&self) -> usize {
        self.keys.len() / (self.layout.heads * self.layout.dim)
    }

    /// Attention chunk by chunk, in blocks of a pool that held other things before.
    fn run(&self, cpu: Cpu, chunks: &[usize], table: &[u32]) -> Vec<f32> {
        let (layout, heads) = (self.layout, self.heads);
        let mut blocks = numbers(9, 8 * layout.block_len());
        let kv = layout.heads * layout.dim;
        let width = heads.count * heads.dim;
        let (mut done, mut all) = (0, Vec::new());
        for &length in chunks {
            for token in done..done + length {
                let block = table[token / BLOCK_TOKENS] as usize * layout.block_len();
                layout.store(
                    &mut blocks[block..block + layout.block_len()],
                    LAYER,
                    token % BLOCK_TOKENS,
                    &self.keys[token * kv..(token + 1) * kv],
                    &self.values[token * kv..(token + 1) * kv],
                );
            }
            let mut out = vec![0.0; length * width];
            let mut queries = Queries {
                heads,
                values: &self.queries[done * width..(done + length) * width],
                stride: width,
                out: &mut out,
            };
            let chunk = Chunk {
                rows: 0..length,
                context: done,
                table,
            };
            let pool = KvPool {
                layout,
                blocks: &blocks,
            };
            causal(
                cpu,
                pool,
                LAYER,
                &[chunk],
                &mut queries,
                &mut Scratch::default(),
            );
            all.extend(out);
            done += length;
        }
        all
    }

    /// The same in doubles.
    fn truth(&self) -> Vec<f64> {
        let (dim, kv_heads) = (self.layout.dim, self.layout.heads);
        let group = self.heads.count / kv_heads;
        let mut out = Vec::new();
        for (query, values) in self.queries.chunks_exact(dim).enumerate() {
            let (row, head) = (query / self.heads.count, query % self.heads.count / group);
            let at = |all: &[f32], token: usize, d: usize| {
                f64::from(all[(token * kv_heads + head) * dim + d])
            };
            let scores = (0..=row).map(|token| {
                let dot = (0..dim).map(|d| f64::from(values[d]) * at(&self.keys, token, d));
                (dot.sum::<f64>() / (dim as f64).sqrt()).exp()
            });
            let scores: Vec<f64> = scores.collect();
            let total: f64 = scores.iter().sum();
            for d in 0..dim {
                let sum = scores.iter().enumerate();
                let sum = sum.map(|(token, score)| score * at(&self.values, token, d));
                out.push(sum.sum::<f64>() / total);
            }
        }
        out
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn causal_attention_is_right_and_blind_to_chunks(
        tokens in 1usize..150, kv_heads in 1usize..4, group in 1usize..15,
        dim in prop::sample::select(vec![8usize, 48, 64, 80]), cut in 1usize..70, seed: u64,
    ) {
        let story = Story::new(seed, tokens, kv_heads, group, dim);
        let pieces: Vec<usize> = (0..tokens).step_by(cut).map(|at| cut.min(tokens - at)).collect();
        let truth = story.truth();
        for cpu in Cpu::all() {
            let whole = story.run(cpu, &[tokens], &[5, 2, 7, 0, 3]);
            for (got, truth) in whole.iter().zip(&truth) {
                prop_assert!((f64::from(*got) - truth).abs() < 1e-4, "{}", cpu.name());
            }
            let chunked = story.run(cpu, &pieces, &[1, 6, 0, 4, 2]);
            prop_assert_eq!(bits(&whole), bits(&chunked), "{}", cpu.name());
            prop_assert_eq!(story.tokens(), tokens);
        }
    }
}
