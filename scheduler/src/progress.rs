//! Books what a step has done: tokens, blocks, windows, first tokens, finished jobs.

use crate::config::Boundary;
use crate::job::State;
use crate::message::Output;
use crate::snapshot::Triggers;
use crate::time::Time;
use crate::worker::{Context, Phase, Worker};

impl Worker {
    /// Books a step that ended after `iterations`; more than the step had are not believed.
    pub(crate) fn step_done(&mut self, iterations: u32, finished: &[u64], ctx: &mut Context<'_>) {
        let Phase::Running { since, .. } = self.phase else {
            return;
        };
        self.phase = Phase::Idle;
        let iterations = iterations.min(self.step.max_iterations);
        self.queue.iteration += u64::from(iterations);
        ctx.stats.iterations += u64::from(iterations);
        self.note_pace(since, iterations, ctx.now);
        if self.step.decode && iterations > 0 {
            self.dropped_tokens = 0;
            self.book_decodes(iterations, ctx);
        }
        if iterations > 0 {
            self.book_prefills(ctx);
        }
        for &id in finished {
            if let Some(row) = self.row(id, ctx.index) {
                let ended = self.retire(row, ctx);
                self.queue.remember_length(ended.row.generated_tokens);
                self.fired = self.fired.union(Triggers::FINISH);
                ctx.outputs.push_back(Output::Finished(ended));
            }
        }
        if ctx.config.boundary == Boundary::Batch {
            self.end_batch(!finished.is_empty());
        }
    }

    fn note_pace(&mut self, since: Time, iterations: u32, now: Time) {
        if iterations == 0 {
            return;
        }
        let span = (now - since).as_ns();
        self.last_iteration = crate::time::Span::from_ns(span / u64::from(iterations));
        let tokens = f64::from(self.step.decode_seqs) * f64::from(iterations);
        self.recent_tokens_per_s = (tokens * 1e9 / span.max(1) as f64) as f32;
    }

    /// Every job that decodes made one token in each iteration.
    fn book_decodes(&mut self, iterations: u32, ctx: &mut Context<'_>) {
        let decoding = self.queue.decoding;
        let jobs = &mut self.queue.jobs;
        add(&mut jobs.generated_tokens[..decoding], iterations);
        add(&mut jobs.delivered_tokens[..decoding], iterations);
        add(&mut jobs.computed_tokens[..decoding], iterations);
        let size = self.kv.block_size_tokens;
        let mut more = 0;
        let computed = &jobs.computed_tokens[..decoding];
        for (held, &computed) in jobs.gpu_blocks[..decoding].iter_mut().zip(computed) {
            if computed > *held * size {
                let blocks = computed.div_ceil(size);
                more += blocks - *held;
                *held = blocks;
            }
        }
        self.kv.take_gpu(more);
        self.queue.decode_kv_tokens += decoding as u64 * u64::from(iterations);
        for &tenant in &self.queue.jobs.tenant[..decoding] {
            self.queue.tenants.output_tokens[tenant as usize] += u64::from(iterations);
        }
        if subtract(&mut self.queue.window_left[..decoding], iterations) {
            self.fired = self.fired.union(Triggers::WINDOW_END);
        }
        if ctx.interest.predictions
            && ctx.config.repredict_tokens > 0
            && subtract(&mut self.queue.predict_left[..decoding], iterations)
        {
            for row in 0..decoding {
                if self.queue.predict_left[row] == 0 {
                    self.queue.predict_left[row] = ctx.config.repredict_tokens;
                    self.ask_prediction(row, ctx);
                }
            }
        }
    }

    /// Chunks of prompts were read; a prompt that is complete gives its next token.
    fn book_prefills(&mut self, ctx: &mut Context<'_>) {
        for i in 0..self.step.prefill.len() {
            let chunk = self.step.prefill[i];
            let Some(row) = self.row(chunk.job, ctx.index) else {
                continue;
            };
            if self.queue.state(row) != State::Prefill.code() {
                continue;
            }
            self.queue.jobs.computed_tokens[row] += chunk.tokens;
            let tenant = self.queue.jobs.tenant[row] as usize;
            let read = self.queue.jobs.computed_tokens[row].min(self.queue.jobs.prompt_tokens[row]);
            let counted = &mut self.queue.hidden[row].counted_tokens;
            let before = core::mem::replace(counted, read.max(*counted));
            self.queue.tenants.input_tokens[tenant] += u64::from(*counted - before);
            if !chunk.last {
                continue;
            }
            self.dropped_tokens = 0;
            self.queue.tenants.output_tokens[tenant] += 1;
            self.queue.jobs.generated_tokens[row] += 1;
            self.queue.jobs.delivered_tokens[row] += 1;
            if self.queue.hidden[row].first_token.is_none() {
                self.queue.hidden[row].first_token = Some(ctx.now);
                self.queue.jobs.first_token_us[row] = ctx.now.as_us();
            }
            self.queue.window_left[row] = self.queue.window_left[row].saturating_sub(1);
            let row = self.queue.start_decoding(row, ctx.index);
            self.count_to_prediction(row, ctx);
        }
    }

    /// Counts the token that a prompt gives, as [`Self::book_decodes`] counts the others.
    fn count_to_prediction(&mut self, row: usize, ctx: &mut Context<'_>) {
        let every = ctx.config.repredict_tokens;
        let left = match self.queue.predict_left[row] {
            0 => every,
            left => left,
        };
        let due = left == 1;
        self.queue.predict_left[row] = if due { every } else { left.saturating_sub(1) };
        if due && ctx.interest.predictions {
            self.ask_prediction(row, ctx);
        }
    }

    /// The batch comes back when every job has made its window, or when any one finished.
    fn end_batch(&mut self, any_finished: bool) {
        let running = self.queue.running;
        let through = self.queue.window_left[..running]
            .iter()
            .all(|&left| left == 0);
        if any_finished || through {
            self.batch_open = false;
            self.queue.window_left[..running].fill(0);
            self.fired = self.fired.union(Triggers::WINDOW_END);
        }
    }

    /// Asks for a job's length, unless that is under way.
    pub(crate) fn ask_prediction(&mut self, row: usize, ctx: &mut Context<'_>) {
        if core::mem::replace(&mut self.queue.hidden[row].predicting, true) {
            return;
        }
        self.queue.predicting += 1;
        ctx.stats.predictions += 1;
        let jobs = &self.queue.jobs;
        ctx.outputs.push_back(Output::Predict {
            job: jobs.id[row],
            prompt_tokens: jobs.prompt_tokens[row],
            generated_tokens: jobs.generated_tokens[row],
            max_new_tokens: jobs.max_new_tokens[row],
        });
    }
}

fn add(column: &mut [u32], more: u32) {
    column.iter_mut().for_each(|value| *value += more);
}

/// Counts a column down to zero; whether any came to zero now.
fn subtract(column: &mut [u32], less: u32) -> bool {
    let mut any = false;
    for left in column {
        let before = *left;
        *left = before.saturating_sub(less);
        any |= before > 0 && *left == 0;
    }
    any
}
