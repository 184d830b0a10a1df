//! Whether the policies of a log give the same plans again on the same snapshots.

use std::collections::BTreeMap;

use elis_policy_runtime::PolicyInstance;
use elis_record::{Policy, Post, Witness};
use elis_scheduler::plan::Plan;
use elis_scheduler::snapshot::Snapshot;
use elis_scheduler::{Input, Output, Scheduler, Time};

use super::AtHand;

/// What became of the plans of one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanVerdict {
    /// The policy.
    pub policy: Policy,
    /// Why it was not asked, if it was not.
    pub not_asked: Option<String>,
    /// Whether its memory at the beginning is known: it had just been started, with what the log
    /// says that it was handed.
    pub fresh: bool,
    /// Plans that came again.
    pub equal: u64,
    /// Plans that did not.
    pub different: u64,
    /// Decisions that failed then; what the clock ended cannot be had again.
    pub failed: u64,
    /// The first decision that is different: its revision.
    pub first_different: Option<u64>,
}

/// Instances that are kept beside those that decide, since a rollback may bring them back.
const SEATS_MAX: usize = 16;

/// An instance of a recorded policy.
#[derive(Debug)]
struct Seat {
    instance: Option<PolicyInstance>,
    /// Where its verdict stands.
    verdict: usize,
}

/// The witness that asks the recorded policies again.
#[derive(Debug)]
pub struct PlanCheck<'a> {
    at_hand: &'a AtHand,
    verdicts: Vec<PlanVerdict>,
    /// By the numbers that the log gives them.
    seats: BTreeMap<u64, Seat>,
    /// The largest number so far: a smaller one that is not here has been forgotten.
    newest: Option<u64>,
    posts: Vec<Post>,
    /// Who was asked, and what it said.
    answers: BTreeMap<(u16, u64), (u64, Option<Plan>)>,
}

impl<'a> PlanCheck<'a> {
    /// With these policies.
    pub fn new(at_hand: &'a AtHand) -> Self {
        Self {
            at_hand,
            verdicts: Vec::new(),
            seats: BTreeMap::new(),
            newest: None,
            posts: Vec::new(),
            answers: BTreeMap::new(),
        }
    }

    /// One verdict for each instance that came to decide.
    pub fn verdicts(self) -> Vec<PlanVerdict> {
        self.verdicts
    }

    fn take(&mut self, posts: &[Post], fresh: bool) {
        self.posts = posts.to_vec();
        for post in posts {
            if !self.seats.contains_key(&post.seat) {
                let new = self.newest.is_none_or(|newest| post.seat > newest);
                self.start(post, fresh && new);
            }
        }
        let decides = |seat: &u64| posts.iter().any(|post| post.seat == *seat);
        while self.seats.len() > SEATS_MAX {
            let Some(oldest) = self.seats.keys().copied().find(|seat| !decides(seat)) else {
                return;
            };
            self.seats.remove(&oldest);
        }
    }

    fn start(&mut self, post: &Post, fresh: bool) {
        let started = self.instance(&post.policy, &post.memory);
        let (instance, not_asked) = match started {
            Ok(instance) => (Some(instance), None),
            Err(why) => (None, Some(why)),
        };
        let verdict = self.verdicts.len();
        self.verdicts.push(PlanVerdict {
            policy: post.policy.clone(),
            not_asked,
            fresh,
            equal: 0,
            different: 0,
            failed: 0,
            first_different: None,
        });
        self.seats.insert(post.seat, Seat { instance, verdict });
        self.newest = self.newest.max(Some(post.seat));
    }

    /// Starts an instance, or says why there is none.
    fn instance(&self, policy: &Policy, memory: &[u8]) -> Result<PolicyInstance, String> {
        let missing = || "it is not at hand: give its file with --with".to_owned();
        let loaded = self.at_hand.get(&policy.digest).ok_or_else(missing)?;
        let started = PolicyInstance::start(loaded, &policy.config);
        let mut instance = started.map_err(|error| error.to_string())?;
        if !memory.is_empty() {
            let taken = instance.import_state(memory);
            taken.map_err(|error| format!("it does not take the recorded state: {error}"))?;
        }
        Ok(instance)
    }

    /// As the host does: what a failed policy remembers is gone.
    fn restart(&mut self, number: u64) {
        let post = self.posts.iter().find(|post| post.seat == number);
        let fresh = post.and_then(|post| self.instance(&post.policy, &[]).ok());
        if let Some(seat) = self.seats.get_mut(&number) {
            seat.instance = fresh;
        }
    }

    fn seat_of(&self, worker: u16) -> Option<u64> {
        let post = self.posts.iter().find(|post| post.holds(worker));
        post.map(|post| post.seat)
    }

    fn ask(&mut self, worker: u16, snapshot: &Snapshot<'_>) -> Option<(u64, Option<Plan>)> {
        let number = self.seat_of(worker)?;
        let instance = self.seats.get_mut(&number)?.instance.as_mut()?;
        let answer = instance.decide(snapshot).plan.ok();
        if answer.is_none() {
            self.restart(number);
        }
        Some((number, answer))
    }

    /// The answer of who decides now: who was asked may have been taken down over this question,
    /// and then another one answered it.
    fn answer(
        &mut self,
        worker: u16,
        revision: u64,
        scheduler: &Scheduler,
    ) -> Option<Option<Plan>> {
        let asked = self.answers.remove(&(worker, revision));
        let decides = self.seat_of(worker);
        match asked {
            Some((seat, answer)) if Some(seat) == decides => Some(answer),
            _ => {
                let snapshot = scheduler.snapshot(worker)?;
                self.ask(worker, &snapshot).map(|(_, answer)| answer)
            }
        }
    }

    fn verdict(&mut self, worker: u16) -> Option<&mut PlanVerdict> {
        let seat = self.seats.get(&self.seat_of(worker)?)?;
        self.verdicts.get_mut(seat.verdict)
    }

    fn answered(&mut self, worker: u16, revision: u64, plan: &Plan, scheduler: &Scheduler) {
        let Some(ours) = self.answer(worker, revision, scheduler) else {
            return;
        };
        let Some(verdict) = self.verdict(worker) else {
            return;
        };
        if ours.as_ref() == Some(plan) {
            verdict.equal += 1;
        } else {
            verdict.different += 1;
            verdict.first_different.get_or_insert(revision);
        }
    }

    fn failed(&mut self, worker: u16, revision: u64) {
        self.answers.remove(&(worker, revision));
        if let Some(verdict) = self.verdict(worker) {
            verdict.failed += 1;
        }
        if let Some(seat) = self.seat_of(worker) {
            self.restart(seat);
        }
    }
}

impl Witness for PlanCheck<'_> {
    fn resumed(&mut self, posts: &[Post], fresh: bool, _: &Scheduler) {
        self.answers.clear();
        self.seats.clear();
        self.newest = None;
        self.take(posts, fresh);
    }

    fn policies(&mut self, posts: &[Post]) {
        self.take(posts, true);
    }

    fn input(&mut self, _: Time, input: &Input<'_>, scheduler: &Scheduler) {
        match input {
            Input::Decided {
                worker,
                revision,
                plan,
            } => self.answered(*worker, *revision, plan, scheduler),
            Input::DecisionFailed {
                worker, revision, ..
            } => self.failed(*worker, *revision),
            _ => {}
        }
    }

    fn output(&mut self, _: Time, output: &Output, scheduler: &Scheduler) {
        let Output::Decide { worker, revision } = *output else {
            return;
        };
        if let Some(snapshot) = scheduler.snapshot(worker)
            && let Some(answer) = self.ask(worker, &snapshot)
        {
            self.answers.insert((worker, revision), answer);
        }
    }
}
