//! The thread of a worker: runs steps, passes tokens on, says what came of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use elis_cost::fit::Measurement;
use elis_llm::Vocabulary;
use elis_scheduler::Step;
use tokio::sync::mpsc::UnboundedSender;

use super::reply::Reply;
use super::{Event, GenerateRequest};
use crate::worker::{Iteration, Sampled, Worker, WorkerError};

/// What the engine tells a worker's thread; in this order it is done.
#[derive(Debug)]
pub(crate) enum Order {
    /// A request that steps will name.
    Open {
        job: u64,
        request: Arc<GenerateRequest>,
        events: UnboundedSender<Event>,
    },
    /// The job is over before its end.
    Close(u64),
    /// Run this; exactly one [`Report`] follows.
    Run(Box<Step>),
}

/// What came of a step.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Iterations done.
    pub(crate) iterations: u32,
    /// Jobs that gave their last token in the last of them.
    pub(crate) finished: Vec<u64>,
    /// What jobs said in this step; only of those that are not finished.
    pub(crate) said: Vec<(u64, String)>,
    /// Tokens generated.
    pub(crate) tokens: u64,
    /// Jobs in the first iteration.
    pub(crate) batch: usize,
    /// From the order to the end.
    pub(crate) busy: Duration,
    /// What went wrong, and for whom.
    pub(crate) failed: Option<(WorkerError, Vec<u64>)>,
    /// What each iteration computed and how long it took, where these are recorded.
    pub(crate) log: Vec<Measurement>,
}

/// A worker with those it is answering.
pub(crate) struct Runner<W> {
    worker: W,
    vocabulary: Vocabulary,
    replies: HashMap<u64, Reply>,
    /// Jobs that decode.
    decoding: Vec<u64>,
    interrupt: Arc<AtomicBool>,
    sampled: Vec<Sampled>,
    records: bool,
}

impl<W: Worker> Runner<W> {
    pub(crate) fn new(
        worker: W,
        vocabulary: Vocabulary,
        interrupt: Arc<AtomicBool>,
        records: bool,
    ) -> Self {
        Self {
            worker,
            vocabulary,
            replies: HashMap::new(),
            decoding: Vec::new(),
            interrupt,
            sampled: Vec::new(),
            records,
        }
    }

    /// Does what it is told until nobody tells it any more.
    pub(crate) fn run(mut self, orders: &Receiver<Order>, mut report: impl FnMut(Report)) {
        while let Ok(order) = orders.recv() {
            match order {
                Order::Open {
                    job,
                    request,
                    events,
                } => {
                    self.worker.open(job, &request);
                    let reply = Reply::new(request, events, &self.vocabulary);
                    self.replies.insert(job, reply);
                }
                Order::Close(job) => self.close(job),
                Order::Run(step) => report(self.step(&step)),
            }
        }
    }

    fn close(&mut self, job: u64) {
        self.worker.close(job);
        self.replies.remove(&job);
        self.decoding.retain(|&other| other != job);
    }

    fn step(&mut self, step: &Step) -> Report {
        let begin = Instant::now();
        let mut report = Report::default();
        self.decoding.retain(|job| !step.removed.contains(job));
        let whole = |job: &&u64| !step.prefill.iter().any(|chunk| chunk.job == **job);
        self.decoding.extend(step.added.iter().filter(whole));
        report.batch = self.decoding.len() + step.prefill.len();
        if let Err(error) = self.worker.begin(step) {
            let named = step.swap_in.iter().chain(&step.swap_out);
            report.failed = Some((error, named.map(|moved| moved.job).collect()));
        }
        while report.failed.is_none() && report.iterations < step.max_iterations {
            self.iterate(step, &mut report);
            let interrupted = self.interrupt.load(Ordering::Acquire);
            if interrupted || !report.finished.is_empty() {
                break;
            }
        }
        for &job in &report.finished {
            self.close(job);
        }
        let talking = self.replies.iter_mut();
        let said = talking.map(|(&job, reply)| (job, reply.take_fresh()));
        report.said = said.filter(|(_, text)| !text.is_empty()).collect();
        report.busy = begin.elapsed();
        report
    }

    fn iterate(&mut self, step: &Step, report: &mut Report) {
        let decode: &[u64] = if step.decode { &self.decoding } else { &[] };
        let prefill = if report.iterations == 0 {
            step.prefill.as_slice()
        } else {
            &[]
        };
        let iteration = Iteration { decode, prefill };
        let begin = Instant::now();
        self.sampled.clear();
        if let Err(error) = self.worker.iterate(&iteration, &mut self.sampled) {
            let jobs = prefill.iter().map(|chunk| chunk.job);
            let jobs = jobs.chain(decode.iter().copied()).collect();
            report.failed = Some((error, jobs));
            return;
        }
        if self.records {
            let before = u64::from(report.iterations) * u64::from(step.decode_seqs);
            report.log.push(Measurement {
                decode_seqs: step.decode_seqs,
                decode_kv_tokens: step.decode_kv_tokens + before,
                prefill_tokens: prefill.iter().map(|c| u64::from(c.tokens)).sum(),
                latency_ms: begin.elapsed().as_secs_f64() * 1e3,
            });
        }
        let complete = prefill.iter().filter(|chunk| chunk.last);
        self.decoding.extend(complete.map(|chunk| chunk.job));
        report.iterations += 1;
        report.tokens += self.sampled.len() as u64;
        for sampled in &self.sampled {
            let reply = self.replies.get_mut(&sampled.job);
            if reply.is_some_and(|reply| reply.push(sampled)) {
                report.finished.push(sampled.job);
            }
        }
    }
}
