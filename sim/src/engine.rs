//! A modelled engine: takes the core's steps and says when each ends and who finished.

use elis_scheduler::Step;

use elis_cost::{CostModel, DecodeCurve, Load};

/// What the engine is running.
#[derive(Debug, Clone, Copy)]
struct Segment {
    start_ns: u64,
    /// Before the first iteration: KV blocks move.
    overhead_ns: u64,
    end_ns: u64,
    iterations: u32,
    kv_tokens: u64,
    curve: DecodeCurve,
}

/// One worker.
#[derive(Debug)]
pub(crate) struct Engine {
    cost: CostModel,
    swap_per_block_ns: u64,
    /// Jobs that decode, and the tokens that each still has to give.
    decoding: Vec<u64>,
    remaining: Vec<u32>,
    /// Jobs whose prompt is being read, with the tokens that they will give.
    prefilling: Vec<(u64, u32)>,
    /// Jobs whose prompt is complete after this step.
    completing: Vec<u64>,
    segment: Option<Segment>,
    decodes: bool,
    pub(crate) busy_ns: u64,
}

impl Engine {
    pub(crate) fn new(cost: CostModel, swap_per_block_us: f64) -> Self {
        Self {
            cost,
            swap_per_block_ns: (swap_per_block_us * 1e3 + 0.5) as u64,
            decoding: Vec::new(),
            remaining: Vec::new(),
            prefilling: Vec::new(),
            completing: Vec::new(),
            segment: None,
            decodes: false,
            busy_ns: 0,
        }
    }

    /// When the step ends, if one runs.
    pub(crate) fn ends_ns(&self) -> Option<u64> {
        self.segment.map(|segment| segment.end_ns)
    }

    /// Starts a step. `remaining` tells the tokens that a job still has to give.
    pub(crate) fn begin(&mut self, now_ns: u64, step: &Step, remaining: impl Fn(u64) -> u32) {
        for &id in &step.removed {
            self.forget(id);
        }
        for &id in &step.added {
            if step.prefill.iter().any(|chunk| chunk.job == id) {
                self.prefilling.push((id, remaining(id)));
            } else {
                self.decoding.push(id);
                self.remaining.push(remaining(id));
            }
        }
        let moved: u32 = step
            .swap_out
            .iter()
            .chain(&step.swap_in)
            .map(|m| m.blocks)
            .sum();
        let overhead_ns = u64::from(moved) * self.swap_per_block_ns;
        self.decodes = step.decode;
        let curve = self.cost.decode_curve(step.decode_seqs);
        let start_ns = now_ns + overhead_ns;
        let (iterations, end_ns) = if step.prefill.is_empty() {
            let soonest = self.remaining.iter().min().copied().unwrap_or(1).max(1);
            let most = step.max_iterations.min(soonest);
            self.run(curve, start_ns, step.decode_kv_tokens, most, u64::MAX)
        } else {
            (1, start_ns + self.prefill_ns(step))
        };
        self.segment = Some(Segment {
            start_ns: now_ns,
            overhead_ns,
            end_ns,
            iterations,
            kv_tokens: step.decode_kv_tokens,
            curve,
        });
    }

    fn prefill_ns(&mut self, step: &Step) -> u64 {
        let mut load = Load {
            decode_seqs: step.decode_seqs,
            decode_kv_tokens: step.decode_kv_tokens,
            ..Load::default()
        };
        for chunk in &step.prefill {
            load.add_chunk(chunk.tokens, chunk.context_tokens);
            if chunk.last {
                self.completing.push(chunk.job);
            }
        }
        self.cost.iteration_ns(&load)
    }

    /// Iterations of the jobs that decode, one after the other, at most `most`, ending with the
    /// first that ends at `until_ns` or later.
    fn run(
        &self,
        curve: DecodeCurve,
        start_ns: u64,
        kv_tokens: u64,
        most: u32,
        until_ns: u64,
    ) -> (u32, u64) {
        let (mut end_ns, mut kv_tokens) = (start_ns, kv_tokens);
        let seqs = self.decoding.len() as u64;
        for done in 0..most {
            if end_ns >= until_ns && done > 0 {
                return (done, end_ns);
            }
            end_ns += curve.ns(kv_tokens);
            kv_tokens += seqs;
        }
        (most, end_ns)
    }

    /// Cuts the step short at the next iteration boundary.
    pub(crate) fn interrupt(&mut self, now_ns: u64) {
        let Some(segment) = self.segment else { return };
        if segment.iterations <= 1 {
            return;
        }
        let start_ns = segment.start_ns + segment.overhead_ns;
        let (iterations, end_ns) = self.run(
            segment.curve,
            start_ns,
            segment.kv_tokens,
            segment.iterations,
            now_ns,
        );
        self.segment = Some(Segment {
            iterations,
            end_ns,
            ..segment
        });
    }

    /// Ends the step: iterations done, and the jobs that gave their last token.
    pub(crate) fn end(&mut self, finished: &mut Vec<u64>) -> u32 {
        let Some(segment) = self.segment.take() else {
            return 0;
        };
        self.busy_ns += segment.end_ns - segment.start_ns;
        finished.clear();
        if self.decodes {
            let mut any = false;
            for left in &mut self.remaining {
                *left = left.saturating_sub(segment.iterations);
                any |= *left == 0;
            }
            if any {
                self.take_finished(finished);
            }
        }
        for id in std::mem::take(&mut self.completing) {
            let Some(at) = self.prefilling.iter().position(|&(job, _)| job == id) else {
                continue;
            };
            let (_, left) = self.prefilling.remove(at);
            if left <= 1 {
                finished.push(id);
            } else {
                self.decoding.push(id);
                self.remaining.push(left - 1);
            }
        }
        segment.iterations
    }

    fn take_finished(&mut self, finished: &mut Vec<u64>) {
        let mut at = 0;
        while at < self.remaining.len() {
            if self.remaining[at] == 0 {
                finished.push(self.decoding.swap_remove(at));
                self.remaining.swap_remove(at);
            } else {
                at += 1;
            }
        }
        // The order of the slots is the engine's own affair.
        finished.sort_unstable();
    }

    fn forget(&mut self, id: u64) {
        if let Some(at) = self.decoding.iter().position(|&job| job == id) {
            self.decoding.swap_remove(at);
            self.remaining.swap_remove(at);
        } else {
            self.prefilling.retain(|&(job, _)| job != id);
        }
    }

    /// The worker is lost with all it had.
    pub(crate) fn lose(&mut self) {
        self.decoding.clear();
        self.remaining.clear();
        self.prefilling.clear();
        self.completing.clear();
        self.segment = None;
    }
}
