//! Logs of a small driver: written, read, cut, damaged, with a gap.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use elis_scheduler::config::{Batching, Boundary, Config, CostHint, Placement, WorkerConfig};
use elis_scheduler::plan::{Interest, Plan, PolicyExit, Preemption};
use elis_scheduler::snapshot::Triggers;
use elis_scheduler::{Input, NO_DEADLINE, Output, Predicted, Request, Scheduler, Span, Time};
use proptest::prelude::*;

use crate::reader::{Ending, LogError, Reader};
use crate::record::{Checkpoint, Happened, Policy, Post, Record, Start};
use crate::recorder::{Pace, Recorder};
use crate::replay::{Replay, ReplayError, Replayed};
use crate::{VERSION, frame};

/// A file in memory that several hold.
#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

/// Arrivals every few milliseconds, an order that turns over, predictions, two workers.
struct Driver {
    scheduler: Scheduler,
    recorder: Option<Recorder>,
    now: Time,
    next: u64,
    rng: u64,
}

impl Driver {
    fn new(seed: u64) -> Self {
        let worker = WorkerConfig {
            max_num_seqs: 3,
            max_batched_tokens: 64,
            block_size_tokens: 8,
            gpu_blocks: 40,
            cpu_blocks: 10,
            watermark_blocks: 1,
            batching: Batching::Mixed,
            cost: CostHint::default(),
        };
        let config = Config {
            boundary: Boundary::Slot,
            placement: Placement::Jobs,
            window_tokens: 5,
            repredict_tokens: 5,
            prediction_wait: Span::ZERO,
            decision_deadline: NO_DEADLINE,
            max_wait: Span::from_ms(400),
            jobs_max: 100,
            seed,
            workers: vec![worker; 2],
        };
        Self {
            scheduler: Scheduler::new(config).unwrap(),
            recorder: None,
            now: Time::ZERO,
            next: 1,
            rng: seed,
        }
    }

    fn record(&mut self, out: impl Write + Send + 'static, pace: Pace) {
        let mut recorder = Recorder::start(out, start(), posts("turning"), pace).unwrap();
        assert!(recorder.settle(&self.scheduler));
        self.recorder = Some(recorder);
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.rng = self
            .rng
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.rng >> 33) % below
    }

    fn install(&mut self) {
        self.install_on(None, 0);
    }

    fn install_on(&mut self, worker: Option<u16>, identity: u64) {
        let interest = Interest {
            triggers: Triggers::ALL,
            preemptive: true,
            predictions: true,
            identity,
        };
        self.tell(Input::PolicyInstalled { worker, interest });
    }

    /// A millisecond or so of life.
    fn live(&mut self) {
        let pause_us = 700 + self.draw(600);
        self.now += Span::from_us(pause_us);
        if self.draw(4) == 0 {
            let (prompt, tokens) = (1 + self.draw(60), 1 + self.draw(40));
            let request = Request::new(self.next, prompt as u32, tokens as u32);
            self.next += 1;
            self.tell(Input::Arrive(request));
        }
        if self.draw(60) == 0 && self.next > 1 {
            let job = 1 + self.draw(self.next - 1);
            self.tell(Input::Cancel { job });
        }
        for worker in 0..2 {
            self.step(worker);
        }
    }

    fn step(&mut self, worker: u16) {
        let Some(step) = self.scheduler.step(worker) else {
            return;
        };
        let most = step.max_iterations.max(1);
        let iterations = 1 + self.draw(u64::from(most)) as u32;
        let snapshot = self.scheduler.snapshot(worker).unwrap();
        let jobs = snapshot.jobs;
        // Whoever has reached its limit is done; the core believes any number.
        let done = (0..jobs.len()).filter(|&row| {
            jobs.state[row] == 2
                && jobs.generated_tokens[row] + iterations >= jobs.max_new_tokens[row]
        });
        let finished: Vec<u64> = done.map(|row| jobs.id[row]).collect();
        self.tell(Input::StepDone {
            worker,
            iterations,
            finished: &finished,
        });
    }

    fn tell(&mut self, input: Input<'_>) {
        let mut pending = vec![];
        self.hand(input, &mut pending);
        while !pending.is_empty() {
            for input in std::mem::take(&mut pending) {
                self.hand(input, &mut pending);
            }
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.settle(&self.scheduler);
        }
    }

    fn hand(&mut self, input: Input<'_>, pending: &mut Vec<Input<'static>>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.input(self.now, &input);
        }
        self.scheduler.handle(self.now, input);
        while let Some(output) = self.scheduler.poll_output() {
            if let Some(recorder) = &mut self.recorder {
                recorder.output(&output, &self.scheduler);
            }
            match output {
                Output::Decide { worker, revision } => {
                    pending.push(self.decide(worker, revision));
                }
                Output::Predict {
                    job,
                    generated_tokens,
                    ..
                } => pending.push(Input::Predicted(Predicted {
                    job,
                    at_tokens: generated_tokens,
                    remaining_tokens: self.draw(50) as f32,
                    sigma_tokens: f32::NAN,
                    p90_tokens: f32::from_bits(0x7fc0_1234),
                    source: 5,
                })),
                _ => {}
            }
        }
    }

    fn decide(&mut self, worker: u16, revision: u64) -> Input<'static> {
        if self.draw(20) == 0 {
            let exit = PolicyExit::Trap;
            return Input::DecisionFailed {
                worker,
                revision,
                exit,
            };
        }
        let mut run = self.scheduler.snapshot(worker).unwrap().jobs.id.clone();
        let middle = self.draw(run.len() as u64 + 1) as usize;
        run.rotate_left(middle);
        Input::Decided {
            worker,
            revision,
            plan: Plan {
                run,
                victim_mode: Preemption::Swap,
                ..Plan::default()
            },
        }
    }

    fn finish(mut self) -> Recorder {
        self.recorder.take().unwrap()
    }
}

fn start() -> Start {
    Start {
        build: "test 1".to_owned(),
        origin: "a driver in a test".to_owned(),
        began_unix_ms: 5,
    }
}

fn posts(name: &str) -> Vec<Post> {
    vec![Post::everywhere(Policy {
        name: name.to_owned(),
        digest: "native".to_owned(),
        config: String::new(),
    })]
}

/// The log of so many milliseconds, recorded after so many others.
fn log(seed: u64, before: u32, recorded: u32) -> Vec<u8> {
    paced(seed, before, recorded, Pace::Offline)
}

fn paced(seed: u64, before: u32, recorded: u32, pace: Pace) -> Vec<u8> {
    let mut driver = Driver::new(seed);
    if before > 0 {
        driver.install();
        (0..before).for_each(|_| driver.live());
    }
    let file = Shared::default();
    driver.record(file.clone(), pace);
    driver.install();
    for moment in 0..recorded {
        driver.live();
        // Now and then another policy decides for one of the two workers.
        if moment % 90 == 60 {
            driver.recorder.as_mut().unwrap().policies(posts("canary"));
            driver.install_on(Some(1), u64::from(moment));
        }
    }
    driver.finish().finish().unwrap();
    file.bytes()
}

fn replay(bytes: &[u8]) -> (Replayed, Result<(), ReplayError>) {
    let mut replay = match Replay::open(bytes) {
        Ok(replay) => replay,
        Err(error) => return (Replayed::default(), Err(error)),
    };
    let result = replay.run(&mut ());
    (replay.replayed(), result)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_is_recorded_reproduces(seed: u64, before in 0u32..300, recorded in 1u32..300) {
        let (replayed, result) = replay(&log(seed, before, recorded));
        prop_assert!(result.is_ok(), "{result:?}");
        prop_assert_eq!(replayed.ending, Some(Ending::Complete));
        prop_assert_eq!(replayed.proven_inputs, replayed.inputs);
        prop_assert!(replayed.inputs >= u64::from(recorded) && replayed.segments == 1);
    }

    #[test]
    fn a_flipped_bit_is_found_and_placed(seed in 0u64..4, at: prop::sample::Index, bit in 0u8..8) {
        let mut bytes = log(seed, 50, 200);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let (_, result) = replay(&bytes);
        let error = result.unwrap_err();
        match &error {
            ReplayError::Log(LogError::NotALog) => prop_assert!(at < 8),
            ReplayError::Log(LogError::Version { .. }) => prop_assert!((8..12).contains(&at)),
            ReplayError::Log(LogError::Corrupt { offset, .. }) => {
                prop_assert!(*offset <= at as u64);
                let place = format!("byte {offset}");
                prop_assert!(error.to_string().contains(&place));
            }
            other => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn a_log_that_is_cut_anywhere_reads_up_to_there() {
    let whole = paced(3, 20, 400, Pace::Live);
    let mut most = 0;
    let mut frames = std::collections::BTreeSet::new();
    for length in 0..whole.len() {
        let mut reader = Reader::open(&whole[..length]).unwrap();
        let mut records = 0;
        while reader.read().unwrap().is_some() {
            records += 1;
        }
        let Some(Ending::Cut { offset, lost_bytes }) = reader.ending() else {
            panic!("{length}: {:?}", reader.ending());
        };
        assert_eq!(offset + lost_bytes, length as u64);
        assert!(records >= most, "less is read of more");
        most = records;
        frames.insert(offset as usize);
    }
    assert!(frames.len() > 2, "{frames:?}");
    for length in frames {
        let (replayed, result) = replay(&whole[..length]);
        assert!(result.is_ok(), "{length}: {result:?}");
        assert_eq!(replayed.proven_inputs, replayed.inputs);
    }
}

#[test]
fn a_log_of_another_version_or_of_something_else_says_so() {
    let mut bytes = log(1, 0, 10);
    bytes[8] = VERSION as u8 + 1;
    let error = replay(&bytes).1.unwrap_err().to_string();
    assert!(
        error.contains("version 4") && error.contains("reads version 3"),
        "{error}"
    );
    let error = replay(b"{\"a\": 1}").1.unwrap_err().to_string();
    assert!(error.contains("no log of elis"), "{error}");
}

#[test]
fn a_core_that_does_something_else_is_found_out() {
    let bytes = log(5, 10, 200);
    let mut reader = Reader::open(&bytes[..]).unwrap();
    let mut records = Vec::new();
    let mut arrivals = 0;
    while let Some(mut record) = reader.read().unwrap() {
        if let Record::Input {
            what: Happened::Arrive(request),
            ..
        } = &mut record
        {
            arrivals += 1;
            // One request is a token longer than it was.
            request.prompt_tokens += u32::from(arrivals == 20);
        }
        records.extend(postcard::to_stdvec(&record).unwrap());
    }
    let mut changed = frame::head().to_vec();
    let mut sealed = Vec::new();
    frame::seal(&records, &mut sealed).unwrap();
    changed.extend(sealed);
    let (replayed, result) = replay(&changed);
    let error = result.unwrap_err();
    assert!(matches!(error, ReplayError::Diverged { .. }), "{error}");
    assert!(replayed.proven_inputs > 0 && error.to_string().contains("test 1"));
}

/// A disk that is slow until it is told otherwise.
struct Slow {
    file: Shared,
    go: Receiver<()>,
    free: bool,
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Whoever let it go has dropped the other end.
        self.free = self.free || self.go.recv().is_err();
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writer_that_cannot_keep_up_leaves_a_gap_that_the_log_names() {
    let file = Shared::default();
    let (stop, go) = channel::<()>();
    let mut driver = Driver::new(9);
    driver.record(
        Slow {
            file: file.clone(),
            go,
            free: false,
        },
        Pace::Live,
    );
    driver.install();
    let tally = driver.recorder.as_ref().unwrap().tally();
    while tally.lost() == 0 {
        driver.live();
    }
    (0..200).for_each(|_| driver.live());
    drop(stop);
    // The writer catches up, and the next inputs follow a checkpoint.
    let lost_then = tally.lost();
    while tally.lost() == lost_then || !driver.recorder.as_ref().unwrap().follows() {
        driver.live();
    }
    (0..200).for_each(|_| driver.live());
    driver.finish().finish().unwrap();
    let (replayed, result) = replay(&file.bytes());
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(replayed.segments, 2);
    assert_eq!(replayed.lost_inputs, tally.lost());
    assert_eq!(replayed.inputs, tally.inputs());
    assert_eq!(replayed.proven_inputs, replayed.inputs);
    assert_eq!(replayed.ending, Some(Ending::Complete));
}

#[test]
fn a_disk_that_is_full_ends_the_log_and_not_the_scheduler() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut driver = Driver::new(2);
    driver.record(Full, Pace::Live);
    driver.install();
    (0..2_000).for_each(|_| driver.live());
    assert!(driver.finish().finish().is_err());
}

#[test]
fn a_damaged_state_is_an_error_and_no_panic() {
    let mut driver = Driver::new(4);
    driver.install();
    (0..100).for_each(|_| driver.live());
    assert!(driver.scheduler.jobs() > 2);
    let bytes = postcard::to_stdvec(&driver.scheduler).unwrap();
    let read = |bytes: &[u8]| postcard::from_bytes::<Scheduler>(bytes);
    assert_eq!(read(&bytes).unwrap().jobs(), driver.scheduler.jobs());
    assert!((0..bytes.len()).all(|length| read(&bytes[..length]).is_err()));
    let refused = (0..bytes.len()).filter(|&at| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        read(&bytes).is_err()
    });
    // Times and counters may be anything.
    assert!(refused.count() > bytes.len() / 4);
}

/// One of every input.
fn inputs() -> Vec<Happened<'static>> {
    let plan = Plan {
        run: vec![7, 300],
        preempt: vec![9],
        preempt_modes: vec![Preemption::Recompute],
        window_tokens: 50,
        ..Plan::default()
    };
    vec![
        Happened::PolicyInstalled {
            worker: Some(1),
            interest: Interest {
                identity: 1 << 60,
                ..Interest::default()
            },
        },
        Happened::Arrive(Request::new(7, 300, 20)),
        Happened::Cancel { job: 7 },
        Happened::Predicted(Predicted {
            job: 7,
            at_tokens: 50,
            remaining_tokens: 1.5,
            sigma_tokens: f32::NAN,
            p90_tokens: 2.5,
            source: 5,
        }),
        Happened::Decided {
            worker: 0,
            revision: 3,
            plan: Cow::Owned(plan),
        },
        Happened::DecisionFailed {
            worker: 0,
            revision: 4,
            exit: PolicyExit::DeadlineMissed,
        },
        Happened::StepDone {
            worker: 1,
            iterations: 2,
            finished: vec![7, 9].into(),
        },
        Happened::WorkerLost { worker: 1 },
        Happened::WorkerBack { worker: 1 },
        Happened::Tick,
    ]
}

/// One of everything; the bytes are those of version 3 and may not change without it.
#[test]
fn the_format_is_that_of_its_version() {
    // One job that waits for a decision: no change of how the core schedules touches that.
    let mut scheduler = Driver::new(4).scheduler;
    let arrival = Input::Arrive(Request::new(7, 300, 20));
    scheduler.handle(Time::from_us(9), arrival);
    while scheduler.poll_output().is_some() {}
    let mut records = vec![
        Record::Start(start()),
        Record::Checkpoint(Checkpoint::new(&posts("p"), true, &scheduler)),
        Record::Policies(vec![Post {
            workers: vec![1, 2],
            seat: 300,
            memory: vec![1, 2, 3],
            ..posts("p").remove(0)
        }]),
        Record::Check(0x0102_0304_0506_0708),
        Record::Gap { inputs: 300 },
        Record::End { inputs: 1 },
    ];
    let after = Span::from_us(3);
    let inputs = inputs().into_iter();
    records.extend(inputs.map(|what| Record::Input { after, what }));
    let encoded = records.iter().map(postcard::to_stdvec);
    let bytes: Vec<u8> = encoded.flat_map(Result::unwrap).collect();
    let digest = xxhash_rust::xxh3::xxh3_64(&bytes);
    assert_eq!(
        (bytes.len(), format!("{digest:016x}").as_str()),
        (741, "29f3def41a630641"),
        "a change of the format needs another VERSION"
    );
}
