//! How the next token is chosen.

use std::cmp::Ordering;
use std::collections::HashSet;

use elis_ragged::{Cpu, exponentials};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

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

/// Chooses the tokens of one response. What it chooses depends on the logits and on its own past
/// only, never on who else is served.
#[derive(Debug, Clone)]
pub struct Sampler {
    how: Sampling,
    seen: HashSet<u32>,
    random: ChaCha8Rng,
    cpu: Cpu,
}

impl Sampler {
    /// A sampler at the start of a response to these tokens.
    pub fn new(how: Sampling, prompt: &[u32]) -> Self {
        let penalised = how.repetition_penalty != 1.0;
        let seen = if penalised { prompt } else { &[] };
        Self {
            how,
            seen: seen.iter().copied().collect(),
            random: ChaCha8Rng::seed_from_u64(how.seed),
            cpu: Cpu::detect(),
        }
    }

    /// Chooses a token; the logits may be changed on the way.
    pub fn pick(&mut self, logits: &mut [f32]) -> u32 {
        let penalty = self.how.repetition_penalty;
        for &token in &self.seen {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = if *logit > 0.0 {
                    *logit / penalty
                } else {
                    *logit * penalty
                };
            }
        }
        let token = if self.how.temperature > 0.0 {
            self.draw(logits)
        } else {
            likeliest(logits)
        };
        if penalty != 1.0 {
            self.seen.insert(token);
        }
        token
    }

    fn draw(&mut self, logits: &mut [f32]) -> u32 {
        let Sampling { top_p, top_k, .. } = self.how;
        let size = logits.len();
        let weights = logits;
        let mut total = exponentials(self.cpu, self.how.temperature, weights);
        let cut = (1..size).contains(&top_k);
        if !cut && top_p >= 1.0 {
            return self.one_of(weights.iter().copied().zip(0..), f64::from(total));
        }
        let weighed = weights.iter().copied().zip(0..);
        let mut ranked: Vec<(f32, u32)> = if cut {
            let mut all: Vec<_> = weighed.collect();
            all.select_nth_unstable_by(top_k - 1, by_weight);
            all.truncate(top_k);
            total = all.iter().map(|&(weight, _)| weight).sum();
            all
        } else {
            // All that weigh less than this together are not what `top_p` leaves out.
            let least = (1.0 - top_p) * total / size as f32;
            weighed.filter(|&(weight, _)| weight >= least).collect()
        };
        ranked.sort_unstable_by(by_weight);
        let mut kept = 0.0;
        let mut count = 0;
        for &(weight, _) in &ranked {
            if count > 0 && kept >= f64::from(top_p) * f64::from(total) {
                break;
            }
            kept += f64::from(weight);
            count += 1;
        }
        self.one_of(ranked.into_iter().take(count), kept)
    }

    /// One of the tokens, by their weights, which add up to `total`.
    fn one_of(&mut self, weighed: impl Iterator<Item = (f32, u32)>, total: f64) -> u32 {
        let mut left = self.random.random::<f64>() * total;
        let mut last = 0;
        for (weight, token) in weighed.filter(|&(weight, _)| weight > 0.0) {
            last = token;
            left -= f64::from(weight);
            if left < 0.0 {
                break;
            }
        }
        last
    }

    /// Whether logits are asked for by a response that is drawn at random.
    pub fn is_random(&self) -> bool {
        self.how.temperature > 0.0
    }
}

/// Heavier first, then the smaller token.
fn by_weight(a: &(f32, u32), b: &(f32, u32)) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// The likeliest token, of several the first.
pub fn likeliest(logits: &[f32]) -> u32 {
    /// Maxima that are looked for beside one another, so that compilers make vectors of them.
    const LANES: usize = 16;
    let more = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = logits.as_chunks::<LANES>();
    for values in whole {
        for (lane, &value) in lanes.iter_mut().zip(values) {
            *lane = more(*lane, value);
        }
    }
    let best = rest
        .iter()
        .chain(&lanes)
        .copied()
        .fold(f32::NEG_INFINITY, more);
    let first = logits.iter().position(|&logit| logit == best);
    first.map_or(0, |at| at as u32)
}

/// Natural logarithms of probabilities: of one token, and of so many of the likeliest.
pub fn log_probabilities(logits: &[f32], token: u32, top: usize) -> (f32, Vec<(u32, f32)>) {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&l| f64::from(l - most).exp()).sum();
    let base = f64::from(most) + sum.ln();
    let of = |logit: f32| (f64::from(logit) - base) as f32;
    let own = logits
        .get(token as usize)
        .map_or(f32::NEG_INFINITY, |&l| of(l));
    let mut ranked: Vec<(f32, u32)> = logits.iter().copied().zip(0..).collect();
    if (1..ranked.len()).contains(&top) {
        ranked.select_nth_unstable_by(top - 1, by_weight);
    }
    ranked.truncate(top);
    ranked.sort_unstable_by(by_weight);
    let ranked = ranked.into_iter().map(|(logit, token)| (token, of(logit)));
    (own, ranked.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(how: Sampling, logits: &[f32], times: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(how, &[]);
        (0..times)
            .map(|_| sampler.pick(&mut logits.to_vec()))
            .collect()
    }

    #[test]
    fn greedy_takes_the_first_of_the_likeliest() {
        assert_eq!(likeliest(&[1.0, 3.0, 3.0, f32::NAN]), 1);
        assert_eq!(drawn(Sampling::default(), &[0.0, 2.0, 1.0], 2), [1, 1]);
    }

    #[test]
    fn the_likeliest_is_found_wherever_it_is() {
        for at in 0..40 {
            let mut logits: Vec<f32> = (0..40).map(|i| (i * 7 % 40) as f32 - 50.0).collect();
            logits[at] = -1.0;
            logits[(at + 3) % 40] = f32::NAN;
            assert_eq!(likeliest(&logits), at as u32);
        }
        assert_eq!((likeliest(&[]), likeliest(&[f32::NAN; 20])), (0, 0));
    }

    #[test]
    fn draws_follow_the_probabilities_and_the_seed() {
        let how = Sampling {
            temperature: 1.0,
            seed: 7,
            ..Sampling::default()
        };
        let logits = [0.0, 3f32.ln(), f32::NEG_INFINITY];
        let many = drawn(how, &logits, 4000);
        let ones = many.iter().filter(|&&token| token == 1).count();
        assert!((2850..3150).contains(&ones), "{ones} of 4000");
        assert!(!many.contains(&2));
        assert_eq!(many, drawn(how, &logits, 4000));
        assert_ne!(many, drawn(Sampling { seed: 8, ..how }, &logits, 4000));
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let hot = Sampling {
            temperature: 100.0,
            ..Sampling::default()
        };
        let logits = [0.0, 0.4, 0.3, 0.1];
        let k = drawn(Sampling { top_k: 2, ..hot }, &logits, 300);
        assert!(k.iter().all(|&token| token == 1 || token == 2) && k.contains(&2));
        let p = drawn(Sampling { top_p: 0.3, ..hot }, &logits, 300);
        assert!(p.iter().all(|&token| token == 1 || token == 2));
        let none = drawn(Sampling { top_p: 0.0, ..hot }, &logits, 10);
        assert_eq!(none, [1; 10]);
    }

    #[test]
    fn what_was_said_becomes_less_likely() {
        let how = Sampling {
            repetition_penalty: 2.0,
            ..Sampling::default()
        };
        let mut sampler = Sampler::new(how, &[1]);
        assert_eq!(sampler.pick(&mut [1.0, 1.5, -1.0]), 0);
        assert_eq!(sampler.pick(&mut [1.0, 1.5, 0.8]), 2);
    }

    #[test]
    fn log_probabilities_add_up_to_one() {
        let (own, top) = log_probabilities(&[1.0, 2.0, 3.0], 0, 3);
        let sum: f32 = top.iter().map(|&(_, l)| l.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert_eq!(top[0].0, 2);
        assert!((own - top[2].1).abs() < 1e-6);
        assert_eq!(log_probabilities(&[1.0], 5, 0), (f32::NEG_INFINITY, vec![]));
    }
}
