//! The jobs of one worker, as a table partitioned by what they do.
//!
//! Rows `0..decoding` decode, rows `decoding..running` prefill, the rest have no slot. A step
//! therefore touches a contiguous run of each column, and a snapshot is the table itself.

use alloc::vec::Vec;

use crate::columns::{JobRow, JobTable, TenantRow, TenantTable};
use crate::index::{JobIndex, Place};
use crate::job::{Request, State, flags};
use crate::limits;
use crate::message::Predicted;
use crate::time::Time;

/// The rank of a job that the current plan does not name.
pub(crate) const UNRANKED: u32 = u32::MAX;

/// What the core keeps of a job beside what a policy sees.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Hidden {
    /// Position in the current plan, or [`UNRANKED`].
    pub(crate) rank: u32,
    /// The list of a plan that named it last, so that duplicates show.
    pub(crate) stamp: u64,
    /// Exact times, for reports.
    pub(crate) arrival: Time,
    pub(crate) first_run: Option<Time>,
    pub(crate) first_token: Option<Time>,
    /// When its time in the slot was last added up.
    pub(crate) slot_since: Time,
    /// A policy does not want it looked at before this.
    pub(crate) defer_until: Time,
    /// A prediction is on its way.
    pub(crate) predicting: bool,
    /// Its client is gone; it leaves at the next boundary.
    pub(crate) cancelled: bool,
    /// Tokens that must have KV before it can decode.
    pub(crate) prefill_target: u32,
    /// Prompt tokens that its tenant has been counted for: reading them again is no new service.
    pub(crate) counted_tokens: u32,
}

/// One worker's jobs.
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Queue {
    pub(crate) worker: u16,
    pub(crate) jobs: JobTable,
    pub(crate) hidden: Vec<Hidden>,
    /// Tokens left until the job's next boundary; 0 is at its boundary.
    pub(crate) window_left: Vec<u32>,
    /// Tokens left until its length is predicted again.
    pub(crate) predict_left: Vec<u32>,
    pub(crate) tenants: TenantTable,
    pub(crate) histogram: Vec<u32>,
    histogram_count: u32,
    pub(crate) decoding: usize,
    pub(crate) running: usize,
    /// Tokens of context of all rows that decode.
    pub(crate) decode_kv_tokens: u64,
    /// Jobs without a slot that the current plan does not name.
    pub(crate) unplanned: usize,
    /// Jobs whose prediction is on its way.
    pub(crate) predicting: usize,
    /// Jobs without a slot whose KV is on the device, in no particular order.
    pub(crate) resident: Vec<u64>,
    /// Iterations that the worker has done.
    pub(crate) iteration: u64,
}

impl Queue {
    pub(crate) fn new(worker: u16) -> Self {
        Self {
            worker,
            jobs: JobTable::default(),
            hidden: Vec::new(),
            window_left: Vec::new(),
            predict_left: Vec::new(),
            tenants: TenantTable::default(),
            histogram: alloc::vec![0; limits::HISTOGRAM_BINS],
            histogram_count: 0,
            decoding: 0,
            running: 0,
            decode_kv_tokens: 0,
            unplanned: 0,
            predicting: 0,
            resident: Vec::new(),
            iteration: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.hidden.len()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.len() - self.running
    }

    /// The state of a row, from where the row stands and what KV it has.
    pub(crate) fn state(&self, row: usize) -> u32 {
        self.jobs.state[row]
    }

    /// Tokens of context: prompt and what was generated.
    pub(crate) fn context_tokens(&self, row: usize) -> u32 {
        self.jobs.prompt_tokens[row] + self.jobs.generated_tokens[row]
    }

    /// Whether a row may be preempted now.
    pub(crate) fn locked(&self, row: usize) -> bool {
        self.window_left[row] > 0
    }

    /// Adds an arriving job, without a slot.
    pub(crate) fn arrive(&mut self, now: Time, request: &Request, index: &mut JobIndex) {
        let row = JobRow {
            id: request.id,
            state: State::New.code(),
            flags: flags::NEW,
            priority: request.priority,
            tenant: request.tenant,
            program: request.program,
            model: request.model,
            arrival_us: now.as_us(),
            queued_since_us: now.as_us().max(1),
            prompt_tokens: request.prompt_tokens.max(1),
            max_new_tokens: request.max_new_tokens.max(1),
            predicted_total_tokens: f32::NAN,
            predicted_remaining_tokens: f32::NAN,
            predicted_sigma_tokens: f32::NAN,
            predicted_p90_tokens: f32::NAN,
            rank_score: f32::NAN,
            ttft_deadline_us: request.ttft_deadline.map_or(0, Time::as_us),
            deadline_us: request.deadline.map_or(0, Time::as_us),
            ..JobRow::default()
        };
        let hidden = Hidden {
            rank: UNRANKED,
            stamp: 0,
            arrival: now,
            first_run: None,
            first_token: None,
            slot_since: now,
            defer_until: Time::ZERO,
            predicting: false,
            cancelled: false,
            prefill_target: row.prompt_tokens,
            counted_tokens: 0,
        };
        index.insert(
            request.id,
            Place {
                worker: self.worker,
                row: self.len() as u32,
            },
        );
        self.weigh_tenant(request.tenant, request.tenant_weight);
        self.append(row, hidden);
    }

    /// Takes over a job from another worker; its KV did not come along.
    pub(crate) fn adopt(&mut self, mut row: JobRow, mut hidden: Hidden, index: &mut JobIndex) {
        row.computed_tokens = 0;
        row.gpu_blocks = 0;
        row.cpu_blocks = 0;
        row.flags &= !flags::LOCKED;
        let fresh = row.runs == 0;
        row.state = if fresh {
            State::New.code()
        } else {
            State::Evicted.code()
        };
        hidden.rank = UNRANKED;
        index.set(
            row.id,
            Place {
                worker: self.worker,
                row: self.len() as u32,
            },
        );
        self.weigh_tenant(row.tenant, 1.0);
        self.predicting += usize::from(hidden.predicting);
        self.append(row, hidden);
    }

    fn append(&mut self, row: JobRow, hidden: Hidden) {
        let tenant = row.tenant as usize;
        self.tenants.waiting[tenant] += 1;
        if self.tenants.waiting[tenant] == 1 {
            self.tenants.backlogged_edge[tenant] = 1;
        }
        self.jobs.push(row);
        self.hidden.push(hidden);
        self.window_left.push(0);
        self.predict_left.push(0);
        self.unplanned += 1;
    }

    fn weigh_tenant(&mut self, tenant: u32, weight: f32) {
        while self.tenants.len() <= tenant as usize {
            self.tenants.push(TenantRow {
                weight: 1.0,
                ..TenantRow::default()
            });
        }
        if weight.is_finite() && weight > 0.0 && weight != 1.0 {
            self.tenants.weight[tenant as usize] = weight;
        }
    }

    /// Exchanges two rows.
    fn swap(&mut self, a: usize, b: usize, index: &mut JobIndex) {
        if a == b {
            return;
        }
        self.jobs.swap(a, b);
        self.hidden.swap(a, b);
        self.window_left.swap(a, b);
        self.predict_left.swap(a, b);
        let worker = self.worker;
        index.set(
            self.jobs.id[a],
            Place {
                worker,
                row: a as u32,
            },
        );
        index.set(
            self.jobs.id[b],
            Place {
                worker,
                row: b as u32,
            },
        );
    }

    /// No plan is in force any more.
    pub(crate) fn forget_ranks(&mut self) {
        self.hidden.iter_mut().for_each(|job| job.rank = UNRANKED);
        self.unplanned = self.waiting();
    }

    /// Whom a policy puts off, the next one need not.
    pub(crate) fn forget_deferrals(&mut self) {
        let all = self.hidden.iter_mut();
        all.for_each(|job| job.defer_until = Time::ZERO);
    }

    /// What a policy wrote beside jobs means nothing to another one.
    pub(crate) fn forget_words(&mut self) {
        self.jobs.state_a.fill(0);
        self.jobs.state_b.fill(0);
    }

    /// Books a prediction.
    pub(crate) fn predicted(&mut self, row: usize, prediction: &Predicted) {
        if core::mem::take(&mut self.hidden[row].predicting) {
            self.predicting -= 1;
        }
        let jobs = &mut self.jobs;
        if jobs.predicted_total_tokens[row].is_nan() {
            let total = prediction.at_tokens as f32 + prediction.remaining_tokens;
            jobs.predicted_total_tokens[row] = total;
            // No predictor ranks yet, and the first guess of the whole is a rank too: made once,
            // lower for those that should run sooner.
            jobs.rank_score[row] = total;
        }
        jobs.predicted_remaining_tokens[row] = prediction.remaining_tokens;
        jobs.predicted_sigma_tokens[row] = prediction.sigma_tokens;
        jobs.predicted_p90_tokens[row] = prediction.p90_tokens;
        jobs.predicted_at_tokens[row] = prediction.at_tokens;
        jobs.prediction_source[row] = prediction.source;
    }

    /// Empties the queue of a lost worker; the jobs stay in the index until they are adopted.
    pub(crate) fn drain(&mut self, now: Time, index: &mut JobIndex) -> Vec<(JobRow, Hidden)> {
        while self.running > 0 {
            self.leave(self.running - 1, now, index);
        }
        let mut jobs = Vec::with_capacity(self.len());
        while self.len() > 0 {
            jobs.push(self.remove(self.len() - 1, now, index));
        }
        jobs
    }

    /// Gives a job that this plan does or does not name its rank in it.
    pub(crate) fn set_rank(&mut self, row: usize, rank: u32) {
        let before = core::mem::replace(&mut self.hidden[row].rank, rank);
        if row >= self.running && before != rank {
            self.unplanned += usize::from(rank == UNRANKED);
            self.unplanned -= usize::from(before == UNRANKED);
        }
    }

    /// Gives a waiting job a slot; `decodes` if all its KV is present. Returns its new row.
    pub(crate) fn enter(
        &mut self,
        row: usize,
        now: Time,
        decodes: bool,
        index: &mut JobIndex,
    ) -> usize {
        debug_assert!(row >= self.running, "it has a slot already");
        if self.hidden[row].rank == UNRANKED {
            self.unplanned -= 1;
        }
        let tenant = self.jobs.tenant[row] as usize;
        self.tenants.waiting[tenant] -= 1;
        self.tenants.running[tenant] += 1;
        if self.state(row) == State::Paused.code() {
            self.forget_resident(self.jobs.id[row]);
        }
        self.jobs.queued_since_us[row] = 0;
        self.jobs.runs[row] += 1;
        self.jobs.flags[row] &= !flags::OVERDUE;
        self.jobs.state[row] = State::Prefill.code();
        self.hidden[row].slot_since = now;
        self.hidden[row].first_run.get_or_insert(now);
        self.hidden[row].prefill_target = self.context_tokens(row);
        let target = self.running;
        self.swap(row, target, index);
        self.running += 1;
        if decodes {
            self.start_decoding(target, index)
        } else {
            target
        }
    }

    /// Moves a row from prefill to decode. Returns its new row.
    pub(crate) fn start_decoding(&mut self, row: usize, index: &mut JobIndex) -> usize {
        debug_assert!((self.decoding..self.running).contains(&row), "it prefills");
        let target = self.decoding;
        self.swap(row, target, index);
        self.decoding += 1;
        self.jobs.state[target] = State::Decode.code();
        self.decode_kv_tokens += u64::from(self.context_tokens(target));
        target
    }

    /// Takes a job's slot; it keeps its KV. Returns its new row.
    pub(crate) fn leave(&mut self, row: usize, now: Time, index: &mut JobIndex) -> usize {
        debug_assert!(row < self.running, "it has no slot");
        let row = self.vacate(row, index);
        let tenant = self.jobs.tenant[row] as usize;
        self.tenants.running[tenant] -= 1;
        self.tenants.waiting[tenant] += 1;
        if self.tenants.waiting[tenant] == 1 {
            self.tenants.backlogged_edge[tenant] = 1;
        }
        self.add_service(row, now);
        self.jobs.state[row] = State::Paused.code();
        self.resident.push(self.jobs.id[row]);
        self.jobs.last_run_us[row] = now.as_us();
        self.jobs.last_run_iteration[row] = self.iteration;
        self.jobs.queued_since_us[row] = now.as_us().max(1);
        self.jobs.preemptions[row] += 1;
        self.jobs.flags[row] &= !flags::LOCKED;
        self.window_left[row] = 0;
        if self.hidden[row].rank == UNRANKED {
            self.unplanned += 1;
        }
        row
    }

    /// Moves a running row behind the partition.
    fn vacate(&mut self, mut row: usize, index: &mut JobIndex) -> usize {
        if row < self.decoding {
            self.decode_kv_tokens -= u64::from(self.context_tokens(row));
            self.decoding -= 1;
            self.swap(row, self.decoding, index);
            row = self.decoding;
        }
        self.running -= 1;
        self.swap(row, self.running, index);
        self.running
    }

    /// Removes a job, wherever it stands. Its blocks must have been given back.
    pub(crate) fn remove(
        &mut self,
        row: usize,
        now: Time,
        index: &mut JobIndex,
    ) -> (JobRow, Hidden) {
        let tenant = self.jobs.tenant[row] as usize;
        let row = if row < self.running {
            self.tenants.running[tenant] -= 1;
            let row = self.vacate(row, index);
            self.add_service(row, now);
            row
        } else {
            self.tenants.waiting[tenant] -= 1;
            self.unplanned -= usize::from(self.hidden[row].rank == UNRANKED);
            if self.state(row) == State::Paused.code() {
                self.forget_resident(self.jobs.id[row]);
            }
            row
        };
        let last = self.len() - 1;
        self.swap(row, last, index);
        let (job, hidden) = (self.jobs.row(last), self.hidden[last]);
        self.predicting -= usize::from(hidden.predicting);
        self.jobs.pop();
        self.hidden.pop();
        self.window_left.pop();
        self.predict_left.pop();
        (job, hidden)
    }

    /// A paused job's KV leaves the device: it is swapped or evicted from now on.
    pub(crate) fn set_absent(&mut self, row: usize, state: State) {
        debug_assert_eq!(self.state(row), State::Paused.code());
        self.forget_resident(self.jobs.id[row]);
        self.jobs.state[row] = state.code();
    }

    fn forget_resident(&mut self, id: u64) {
        if let Some(at) = self.resident.iter().position(|&resident| resident == id) {
            self.resident.swap_remove(at);
        }
    }

    fn add_service(&mut self, row: usize, now: Time) {
        self.jobs.service_us[row] += (now - self.hidden[row].slot_since).as_us();
        self.hidden[row].slot_since = now;
    }

    /// Brings the columns up to date that are not kept at every step.
    pub(crate) fn refresh(&mut self, now: Time) {
        for row in 0..self.running {
            self.add_service(row, now);
            self.jobs.last_run_us[row] = now.as_us();
            self.jobs.last_run_iteration[row] = self.iteration;
            let locked = if self.window_left[row] > 0 {
                flags::LOCKED
            } else {
                0
            };
            self.jobs.flags[row] = self.jobs.flags[row] & !flags::LOCKED | locked;
        }
    }

    /// Counts a finished response in the histogram, which forgets the old by halving.
    pub(crate) fn remember_length(&mut self, tokens: u32) {
        let bin = (tokens / limits::HISTOGRAM_BIN_TOKENS) as usize;
        self.histogram[bin.min(limits::HISTOGRAM_BINS - 1)] += 1;
        self.histogram_count += 1;
        if self.histogram_count >= limits::HISTOGRAM_RESPONSES_MAX {
            self.histogram.iter_mut().for_each(|count| *count /= 2);
            self.histogram_count = self.histogram.iter().sum();
        }
    }
}
