//! AISimulate's rules written anew, small enough to read: what our simulator's figures rest on.
//!
//! A pass takes its prefill time plus its decode time. Requests that arrive during a pass join the
//! next. A request whose prompt ends in a pass gives its first token at the end of it and is not
//! among the decodes of that pass. Decodes come first in the token budget, one token each; prompts
//! follow in the order of arrival, in chunks where the budget ends.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::timing::{decode_ms, prefill_ms};
use crate::trace::Request;
use crate::{BLOCK_TOKENS, Engine, Figures, timed};

/// How many tokens a pass's prefill is charged for.
#[derive(Debug, Clone, Copy)]
pub enum Prefill {
    /// AISimulate's rule: the mean context after the pass less the mean context before it, both cut
    /// to whole tokens, times the prompts. It loses less than a token per prompt.
    CutMean,
    /// The tokens read, and as many more: a speck of them shows how far the means move when every
    /// pass starts a hair later.
    Sum { extra_tokens: f64 },
}

/// The chunks of one pass.
#[derive(Debug, Default)]
struct Chunks {
    count: u64,
    context_before: u64,
    context_after: u64,
}

impl Chunks {
    fn add(&mut self, before: u32, tokens: u32) {
        self.count += 1;
        self.context_before += u64::from(before);
        self.context_after += u64::from(before) + u64::from(tokens);
    }

    fn charged_tokens(&self, rule: Prefill) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        match rule {
            Prefill::CutMean => {
                let mean = self.context_after / self.count - self.context_before / self.count;
                (self.count * mean) as f64
            }
            Prefill::Sum { extra_tokens } => {
                (self.context_after - self.context_before) as f64 + extra_tokens
            }
        }
    }
}

/// The state of a replay.
struct Replay<'a> {
    requests: &'a [Request],
    engine: Engine,
    now_ms: f64,
    next: usize,
    waiting: VecDeque<usize>,
    /// The request whose prompt is half read, and the tokens that are.
    partial: Option<(usize, u32)>,
    decoding: u32,
    /// The contexts of those that decode, summed.
    context: u64,
    passes: u64,
    iterations: u64,
    /// The pass in which each of those that decode gives its last token.
    ends: BinaryHeap<Reverse<(u64, usize)>>,
    first_ms: Vec<f64>,
    last_ms: Vec<f64>,
}

/// Replays the requests; none if KV memory would run out.
pub fn run(name: &str, requests: &[Request], engine: Engine, rule: Prefill) -> Option<Figures> {
    let mut replay = Replay {
        requests,
        engine,
        now_ms: 0.0,
        next: 0,
        waiting: VecDeque::new(),
        partial: None,
        decoding: 0,
        context: 0,
        passes: 0,
        iterations: 0,
        ends: BinaryHeap::new(),
        first_ms: vec![0.0; requests.len()],
        last_ms: vec![0.0; requests.len()],
    };
    let (enough, cpu_s) = timed(|| {
        while replay.arrive() {
            if !replay.pass(rule) {
                return false;
            }
        }
        true
    });
    enough.then(|| replay.figures(name, cpu_s))
}

impl Replay<'_> {
    /// Lets arrivals in, waiting for one if there is nothing else to do; false at the end.
    fn arrive(&mut self) -> bool {
        let idle = self.waiting.is_empty() && self.partial.is_none() && self.decoding == 0;
        if idle {
            let Some(request) = self.requests.get(self.next) else {
                return false;
            };
            self.now_ms = self.now_ms.max(request.arrival_ms);
        }
        while self
            .requests
            .get(self.next)
            .is_some_and(|r| r.arrival_ms <= self.now_ms)
        {
            self.waiting.push_back(self.next);
            self.next += 1;
        }
        true
    }

    /// One pass; false if memory is too short for it.
    fn pass(&mut self, rule: Prefill) -> bool {
        let (chunks, finished) = self.read_prompts();
        // One block more for each, as contexts do not end where blocks do.
        let held = u64::from(self.decoding + chunks.count as u32) * u64::from(BLOCK_TOKENS);
        if self.context + chunks.context_after + held > self.engine.kv_tokens() {
            return false;
        }
        let mut decode = 0.0;
        if self.decoding > 0 {
            decode = whole_ns(decode_ms(self.context, self.engine.kv_tokens()));
            self.iterations += 1;
        }
        self.now_ms += whole_ns(prefill_ms(chunks.charged_tokens(rule))) + decode;
        self.passes += 1;
        self.context += u64::from(self.decoding);
        self.finish_requests();
        for index in finished {
            self.give_first_token(index);
        }
        true
    }

    /// The chunks of the pass, and the requests whose prompts end with them.
    fn read_prompts(&mut self) -> (Chunks, Vec<usize>) {
        let mut budget = self.engine.tokens.saturating_sub(self.decoding);
        let mut places = self.engine.seqs.saturating_sub(self.decoding);
        let (mut chunks, mut finished) = (Chunks::default(), Vec::new());
        while budget > 0 && places > 0 {
            let started = self.partial.take();
            let Some((index, done)) = started.or_else(|| Some((self.waiting.pop_front()?, 0)))
            else {
                break;
            };
            let left = self.requests[index].prompt_tokens - done;
            let tokens = left.min(budget);
            chunks.add(done, tokens);
            budget -= tokens;
            places -= 1;
            if tokens == left {
                finished.push(index);
            } else {
                self.partial = Some((index, done + tokens));
            }
        }
        (chunks, finished)
    }

    fn finish_requests(&mut self) {
        while let Some(&Reverse((pass, index))) = self.ends.peek() {
            if pass != self.passes {
                break;
            }
            self.ends.pop();
            let request = &self.requests[index];
            self.context -= u64::from(request.prompt_tokens) + u64::from(request.output_tokens);
            self.decoding -= 1;
            self.last_ms[index] = self.now_ms;
        }
    }

    fn give_first_token(&mut self, index: usize) {
        let request = &self.requests[index];
        self.first_ms[index] = self.now_ms;
        self.last_ms[index] = self.now_ms;
        if request.output_tokens > 1 {
            let end = self.passes + u64::from(request.output_tokens) - 1;
            self.ends.push(Reverse((end, index)));
            self.decoding += 1;
            self.context += u64::from(request.prompt_tokens) + 1;
        }
    }

    fn figures(&self, name: &str, cpu_s: Option<f64>) -> Figures {
        let rows = || {
            self.requests
                .iter()
                .zip(self.first_ms.iter().zip(&self.last_ms))
        };
        let ttft: Vec<f64> = rows().map(|(r, (first, _))| first - r.arrival_ms).collect();
        let mut e2e: Vec<f64> = rows().map(|(r, (_, last))| last - r.arrival_ms).collect();
        let tpot: Vec<f64> = rows()
            .filter(|(r, _)| r.output_tokens > 1)
            .map(|(r, (first, last))| (last - first) / f64::from(r.output_tokens - 1))
            .collect();
        e2e.sort_by(f64::total_cmp);
        let start_ms = self.requests.first().map_or(0.0, |r| r.arrival_ms);
        Figures {
            simulator: name.to_owned(),
            ttft_ms: mean(&ttft),
            tpot_ms: mean(&tpot),
            e2e_ms: mean(&e2e),
            p99_e2e_ms: e2e[(e2e.len() - 1) * 99 / 100],
            requests_per_s: self.requests.len() as f64 * 1e3 / (self.now_ms - start_ms),
            iterations: self.iterations,
            cpu_s,
        }
    }
}

/// AISimulate keeps the time of each phase in whole nanoseconds.
fn whole_ns(ms: f64) -> f64 {
    (ms * 1e6).round() / 1e6
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
