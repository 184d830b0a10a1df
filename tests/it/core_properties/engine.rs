//! An engine that believes nothing: it follows the steps by the letter of their description, keeps
//! its own account of slots and KV memory, and fails the test where the two do not agree.

use std::collections::{BTreeMap, BTreeSet};

use elis_scheduler::Step;
use elis_scheduler::config::{Batching, WorkerConfig};

/// What a job does on the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    None,
    Prefill { target: u32 },
    Decode,
}

/// One job as the engine knows it.
#[derive(Debug, Clone, Copy)]
struct Resident {
    slot: Slot,
    /// Tokens whose KV is on the device.
    kv_tokens: u32,
    /// Tokens whose KV is in host memory.
    host_tokens: u32,
    /// It is gone, but the next step has yet to take its slot.
    cancelled: bool,
}

/// What a client sent and what the engine will answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Truth {
    pub(crate) prompt_tokens: u32,
    pub(crate) output_tokens: u32,
    /// Tokens that the client has.
    pub(crate) generated: u32,
}

/// A step that runs.
#[derive(Debug, Clone)]
struct Flight {
    step: Step,
    interrupted: bool,
}

/// One worker's engine.
#[derive(Debug)]
pub(crate) struct Engine {
    config: WorkerConfig,
    jobs: BTreeMap<u64, Resident>,
    /// Jobs that ended otherwise than by their last token; a step that was being put together when
    /// they went may still name their memory.
    gone: BTreeSet<u64>,
    flight: Option<Flight>,
    last_id: u64,
}

impl Engine {
    pub(crate) fn new(config: WorkerConfig) -> Self {
        Self {
            config,
            jobs: BTreeMap::new(),
            gone: BTreeSet::new(),
            flight: None,
            last_id: 0,
        }
    }

    pub(crate) fn busy(&self) -> bool {
        self.flight.is_some()
    }

    /// Starts a step, after everything in it has been checked.
    pub(crate) fn begin(&mut self, step: &Step, truths: &BTreeMap<u64, Truth>) {
        assert!(self.flight.is_none(), "a step while another runs: {step:?}");
        assert!(step.id > self.last_id, "step ids grow");
        assert!(step.max_iterations >= 1, "a step of no iterations");
        self.last_id = step.id;
        self.move_jobs(step, truths);
        self.check_cancelled();
        self.check_prefill(step);
        self.check_decode(step, truths);
        self.check_budget(step);
        self.flight = Some(Flight {
            step: step.clone(),
            interrupted: false,
        });
        self.check_memory(1);
    }

    /// The job whose memory a step moves; none if it went while the step was being put together.
    fn known(&mut self, id: u64) -> Option<&mut Resident> {
        let job = self.jobs.get_mut(&id);
        assert!(job.is_some() || self.gone.contains(&id), "job {id}?");
        job
    }

    fn move_jobs(&mut self, step: &Step, truths: &BTreeMap<u64, Truth>) {
        let size = self.config.block_size_tokens;
        for id in &step.removed {
            let job = self.jobs.get_mut(id).expect("who loses a slot is known");
            assert_ne!(job.slot, Slot::None, "job {id} loses a slot it has not");
            job.slot = Slot::None;
            if job.cancelled {
                self.jobs.remove(id);
            }
        }
        for id in &step.dropped {
            let Some(job) = self.known(*id) else {
                continue;
            };
            assert_eq!(job.slot, Slot::None, "the KV of job {id} goes under it");
            (job.kv_tokens, job.host_tokens) = (0, 0);
        }
        for moved in &step.swap_out {
            let Some(job) = self.known(moved.job) else {
                continue;
            };
            assert_eq!(job.slot, Slot::None, "the KV of {moved:?} goes under it");
            assert_eq!(job.host_tokens, 0, "{moved:?} is out already");
            job.host_tokens = std::mem::take(&mut job.kv_tokens);
            let least = job.host_tokens.div_ceil(size);
            assert!(moved.blocks >= least, "{moved:?} of {least} blocks");
        }
        for moved in &step.swap_in {
            let Some(job) = self.known(moved.job) else {
                continue;
            };
            assert_eq!(job.kv_tokens, 0, "{moved:?} is in already");
            job.kv_tokens = std::mem::take(&mut job.host_tokens);
            let least = job.kv_tokens.div_ceil(size);
            assert!(moved.blocks >= least, "{moved:?} of {least} blocks");
        }
        for &id in &step.added {
            let job = self.jobs.entry(id).or_insert(Resident {
                slot: Slot::None,
                kv_tokens: 0,
                host_tokens: 0,
                cancelled: false,
            });
            assert_eq!(job.slot, Slot::None, "job {id} gets a second slot");
            assert_eq!(job.host_tokens, 0, "job {id} gets a slot without its KV");
            let truth = truths[&id];
            let context = truth.prompt_tokens + truth.generated;
            job.slot = if truth.generated > 0 && job.kv_tokens + 1 == context {
                Slot::Decode
            } else {
                Slot::Prefill { target: context }
            };
        }
    }

    fn check_cancelled(&self) {
        let cancelled = self.jobs.iter().find(|(_, job)| job.cancelled);
        assert!(cancelled.is_none(), "{cancelled:?} keeps its slot");
    }

    fn check_prefill(&self, step: &Step) {
        let mut seen = BTreeSet::new();
        for chunk in &step.prefill {
            assert!(seen.insert(chunk.job), "two chunks of job {}", chunk.job);
            let job = &self.jobs[&chunk.job];
            let Slot::Prefill { target } = job.slot else {
                panic!("{chunk:?} of a job in {:?}", job.slot);
            };
            let after = chunk.context_tokens + chunk.tokens;
            assert!(chunk.tokens > 0, "{chunk:?} of nothing");
            assert_eq!(chunk.context_tokens, job.kv_tokens, "{chunk:?}");
            assert!(after <= target, "{chunk:?} beyond {target}");
            assert_eq!(chunk.last, after == target, "{chunk:?} of {target}");
        }
        assert!(step.prefill.is_empty() || step.max_iterations == 1);
    }

    fn check_decode(&self, step: &Step, truths: &BTreeMap<u64, Truth>) {
        let decoding = self.decoding();
        let together = self.config.batching == Batching::Mixed || step.prefill.is_empty();
        let expected = !decoding.is_empty() && together;
        assert_eq!(step.decode, expected, "{step:?}");
        let context = |id: &u64| truths[id].prompt_tokens + truths[id].generated;
        let tokens: u64 = decoding.iter().map(|id| u64::from(context(id))).sum();
        if step.decode {
            assert_eq!(step.decode_seqs as usize, decoding.len(), "{step:?}");
            assert_eq!(step.decode_kv_tokens, tokens, "{step:?}");
        } else {
            assert_eq!((step.decode_seqs, step.decode_kv_tokens), (0, 0));
        }
        assert!(
            step.decode || !step.prefill.is_empty(),
            "a step in which nothing happens: {step:?}"
        );
    }

    fn check_budget(&self, step: &Step) {
        let slots = self.jobs.values().filter(|job| job.slot != Slot::None);
        assert!(slots.count() <= self.config.max_num_seqs as usize);
        let budget = self.config.max_batched_tokens;
        match self.config.batching {
            Batching::Mixed => assert!(step.batched_tokens() <= budget, "{step:?}"),
            Batching::PrefillFirst => {
                let longest = step.prefill.iter().map(|chunk| chunk.tokens).max();
                let padded = longest.unwrap_or(0) * step.prefill.len() as u32;
                assert!(padded <= budget || step.prefill.len() == 1, "{step:?}");
            }
        }
    }

    /// The memory that the running step needs after so many iterations is there.
    fn check_memory(&self, iterations: u32) {
        let Some(Flight { step, .. }) = &self.flight else {
            return;
        };
        let size = self.config.block_size_tokens;
        let mut blocks = 0;
        let mut host_blocks = 0;
        for (id, job) in &self.jobs {
            let chunk = step.prefill.iter().find(|chunk| chunk.job == *id);
            let more = match job.slot {
                Slot::Decode if step.decode => iterations,
                _ => chunk.map_or(0, |chunk| chunk.tokens),
            };
            blocks += (job.kv_tokens + more).div_ceil(size);
            host_blocks += job.host_tokens.div_ceil(size);
        }
        assert!(blocks <= self.config.gpu_blocks, "{blocks} blocks in use");
        assert!(host_blocks <= self.config.cpu_blocks, "{host_blocks} out");
    }

    fn decoding(&self) -> Vec<u64> {
        let decodes = self.jobs.iter().filter(|(_, job)| job.slot == Slot::Decode);
        decodes.map(|(&id, _)| id).collect()
    }

    /// The core wants the step to end at the next boundary.
    pub(crate) fn interrupt(&mut self) {
        let flight = self.flight.as_mut().expect("only what runs is interrupted");
        assert!(!flight.interrupted, "interrupted twice");
        assert!(flight.step.max_iterations > 1, "its end is near anyway");
        flight.interrupted = true;
    }

    /// Iterations that the step will make if it ends now: `early` of them where it was asked to end
    /// before its time, never past the first job that finishes.
    pub(crate) fn iterations(&self, early: u32, truths: &BTreeMap<u64, Truth>) -> Option<u32> {
        let flight = self.flight.as_ref()?;
        let left = |id: &u64| truths[id].output_tokens - truths[id].generated;
        let soonest = if flight.step.decode {
            self.decoding().iter().map(left).min().unwrap_or(u32::MAX)
        } else {
            u32::MAX
        };
        let most = flight.step.max_iterations.min(soonest);
        Some(if flight.interrupted {
            early.clamp(1, most)
        } else {
            most
        })
    }

    /// Ends the step after as many iterations; gives who finished.
    pub(crate) fn end(&mut self, iterations: u32, truths: &mut BTreeMap<u64, Truth>) -> Vec<u64> {
        self.check_memory(iterations);
        let Some(Flight { step, .. }) = self.flight.take() else {
            return Vec::new();
        };
        let mut finished = Vec::new();
        let mut give = |id: u64, tokens: u32| {
            let truth = truths.get_mut(&id).expect("who runs is known");
            truth.generated += tokens;
            assert!(truth.generated <= truth.output_tokens);
            if truth.generated == truth.output_tokens {
                finished.push(id);
            }
        };
        if step.decode {
            for id in self.decoding() {
                give(id, iterations);
                self.jobs
                    .entry(id)
                    .and_modify(|job| job.kv_tokens += iterations);
            }
        }
        for chunk in &step.prefill {
            let job = self
                .jobs
                .get_mut(&chunk.job)
                .expect("who prefills is known");
            job.kv_tokens += chunk.tokens;
            if chunk.last {
                job.slot = Slot::Decode;
                give(chunk.job, 1);
            }
        }
        finished.sort_unstable();
        for id in &finished {
            self.jobs.remove(id);
        }
        finished
    }

    /// A job is gone with its memory; if it has a slot, a step will take it.
    pub(crate) fn forget(&mut self, id: u64) {
        self.gone.insert(id);
        match self.jobs.get_mut(&id) {
            Some(job) if job.slot != Slot::None => {
                job.cancelled = true;
                (job.kv_tokens, job.host_tokens) = (0, 0);
            }
            _ => drop(self.jobs.remove(&id)),
        }
    }

    /// The worker is lost with all it had.
    pub(crate) fn lose(&mut self) {
        self.jobs.clear();
        self.flight = None;
    }

    /// Tokens of a job's KV on the device and in host memory, and whether it has a slot.
    pub(crate) fn holds(&self, id: u64) -> (u32, u32, bool) {
        self.jobs.get(&id).map_or((0, 0, false), |job| {
            (job.kv_tokens, job.host_tokens, job.slot != Slot::None)
        })
    }
}
