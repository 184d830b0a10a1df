//! What recording costs the scheduling thread: CPU time of one step of the core, with and without.

use std::time::Duration;

use cpu_time::ThreadTime;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use elis_record::{Pace, Recorder, Start};
use elis_scheduler::config::{Batching, Boundary, Config, CostHint, Placement, WorkerConfig};
use elis_scheduler::plan::{Interest, Plan};
use elis_scheduler::snapshot::Triggers;
use elis_scheduler::{Input, NO_DEADLINE, Output, Request, Scheduler, Span, Time};

/// A server whose queue keeps its length: each step one job arrives, one leaves, and a policy
/// that costs nothing turns the order of 80 over.
struct Server {
    scheduler: Scheduler,
    recorder: Option<Recorder>,
    now: Time,
    next: u64,
}

impl Server {
    fn new(jobs: u64, records: bool) -> Self {
        let worker = WorkerConfig {
            max_num_seqs: 64,
            max_batched_tokens: 2_048,
            block_size_tokens: 16,
            gpu_blocks: 100_000,
            cpu_blocks: 0,
            watermark_blocks: 0,
            batching: Batching::Mixed,
            cost: CostHint::default(),
        };
        let scheduler = Scheduler::new(Config {
            boundary: Boundary::Slot,
            placement: Placement::Jobs,
            window_tokens: 50,
            repredict_tokens: 0,
            prediction_wait: Span::ZERO,
            decision_deadline: NO_DEADLINE,
            max_wait: Span::ZERO,
            jobs_max: 1 << 20,
            seed: 0,
            workers: vec![worker],
        });
        let mut server = Self {
            scheduler: scheduler.expect("something can run"),
            recorder: None,
            now: Time::ZERO,
            next: 1,
        };
        server.tell(Input::PolicyInstalled {
            worker: None,
            interest: Interest {
                triggers: Triggers::ALL,
                preemptive: true,
                ..Interest::default()
            },
        });
        (0..jobs).for_each(|_| server.arrive());
        if records {
            let sink = std::io::sink();
            let recorder = Recorder::start(sink, Start::default(), Vec::new(), Pace::Live);
            let mut recorder = recorder.expect("there is a thread for it");
            recorder.settle(&server.scheduler);
            server.recorder = Some(recorder);
        }
        server
    }

    fn arrive(&mut self) {
        let request = Request::new(self.next, 100 + (self.next * 37 % 400) as u32, 1_000);
        self.next += 1;
        self.tell(Input::Arrive(request));
    }

    fn step(&mut self) {
        self.now += Span::from_ms(30);
        self.arrive();
        let iterations = self.scheduler.step(0).map_or(1, |step| step.max_iterations);
        let jobs = self.scheduler.snapshot(0).map(|snapshot| snapshot.jobs);
        let decodes = |&row: &usize| jobs.is_some_and(|jobs| jobs.state[row] == 2);
        let first = (0..64).find(decodes);
        let finished = first.and_then(|row| Some(jobs?.id[row]));
        let finished: Vec<u64> = finished.into_iter().collect();
        self.tell(Input::StepDone {
            worker: 0,
            iterations,
            finished: &finished,
        });
    }

    fn tell(&mut self, input: Input<'_>) {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            if let Some(recorder) = &mut self.recorder {
                recorder.input(self.now, &input);
            }
            self.scheduler.handle(self.now, input);
            while let Some(output) = self.scheduler.poll_output() {
                if let Some(recorder) = &mut self.recorder {
                    recorder.output(&output, &self.scheduler);
                }
                if let Output::Decide { worker, revision } = output {
                    let jobs = self.scheduler.snapshot(worker).map(|s| s.jobs);
                    let ids = jobs.iter().flat_map(|jobs| &jobs.id);
                    let mut run: Vec<u64> = ids.take(80).copied().collect();
                    let turned = (revision % 80) as usize;
                    let turned = turned.min(run.len());
                    run.rotate_left(turned);
                    next = Some(Input::Decided {
                        worker,
                        revision,
                        plan: Plan {
                            run,
                            ..Plan::default()
                        },
                    });
                }
            }
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.settle(&self.scheduler);
        }
    }

    fn run(&mut self, steps: u64) -> Duration {
        let since = ThreadTime::now();
        (0..steps).for_each(|_| self.step());
        since.elapsed()
    }
}

fn record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record-step");
    for jobs in [64, 256, 1_000, 4_000] {
        for (name, records) in [("without", false), ("with", true)] {
            let mut server = Server::new(jobs, records);
            group.bench_function(BenchmarkId::new(name, jobs), |bencher| {
                bencher.iter_custom(|steps| server.run(steps));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, record);
criterion_main!(benches);
