//! Least slack first: who has the least time to spare until it is due, by the cost model of the
//! worker and the predicted length.

use elis_policy_sdk::select::least;
use elis_policy_sdk::slack::{Pace, Work, remaining_tokens, slack_us};
use elis_policy_sdk::{
    Header, Info, Plan, Policy, Snapshot, Triggers, columns, config, export_policy, state,
};

/// Entries beyond the slots, so that the host can go on when a job finishes or does not fit.
const LOOKAHEAD: usize = 16;

columns! {
    /// What the rule reads of a job.
    struct Jobs {
        id: u64 = "job-id",
        arrival_us: u64 = "job-arrival-us",
        state: u32 = "job-state",
        prompt_tokens: u32 = "job-prompt-tokens",
        generated_tokens: u32 = "job-generated-tokens",
        computed_tokens: u32 = "job-computed-tokens",
        predicted_tokens: f32 = "job-predicted-remaining-tokens",
        predicted_at_tokens: u32 = "job-predicted-at-tokens",
        ttft_deadline_us: u64 = "job-ttft-deadline-us",
        deadline_us: u64 = "job-deadline-us",
    }
}

/// What becomes of a job that cannot be ready in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hopeless {
    /// It goes by its slack like any other.
    Keep,
    /// It stands behind all that can.
    Last,
    /// It is refused, if it has not begun.
    Reject,
}

/// The policy.
#[derive(Debug, Clone, Copy)]
pub struct Edf {
    hopeless: Hopeless,
}

impl Default for Edf {
    fn default() -> Self {
        Self {
            hopeless: Hopeless::Last,
        }
    }
}

/// The classes of jobs, served in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// It must run now: after another window it would be too late.
    Urgent,
    /// It has time to spare, and a slot.
    Running,
    /// It has time to spare, and waits.
    Waiting,
    /// It cannot be ready in time.
    Hopeless,
    /// It is never due.
    Free,
}

/// When a job is due, and the time to spare until then.
#[derive(Debug, Clone, Copy)]
struct Due {
    slack_us: i64,
    at_us: u64,
}

impl Jobs<'_> {
    /// Of the first token and the response the one with less time to spare; none for a job without
    /// deadlines.
    fn due(&self, row: usize, header: &Header) -> Option<Due> {
        let generated = self.generated_tokens[row];
        let predicted = self.predicted_tokens[row];
        let left = remaining_tokens(predicted, self.predicted_at_tokens[row], generated);
        // An unknown length counts as nothing: nobody is given up for what is not known.
        let left = if left.is_nan() { 0.0 } else { left };
        let (prompt, computed) = (self.prompt_tokens[row], self.computed_tokens[row]);
        let work = Work::of(prompt, generated, computed, left);
        let pace = Pace::of(header);
        let due = |at_us: u64, work_us: u64| {
            let slack_us = slack_us(at_us, header.now_us, work_us);
            (at_us > 0).then_some(Due { slack_us, at_us })
        };
        let response = due(self.deadline_us[row], pace.work_us(work));
        let prefill_us = pace.prefill_us(work.unread_tokens);
        let first = due(self.ttft_deadline_us[row], prefill_us).filter(|_| generated == 0);
        let both = response.into_iter().chain(first);
        both.min_by_key(|due| (due.slack_us, due.at_us))
    }
}

impl Edf {
    /// A job's class, and its place in it.
    fn standing(self, due: Option<Due>, has_slot: bool, window_us: i64) -> (Class, i64) {
        let Some(Due { slack_us, at_us }) = due else {
            return (Class::Free, 0);
        };
        let class = if slack_us < 0 && self.hopeless != Hopeless::Keep {
            // What is late already goes by when it was due: slack falls for those that wait only,
            // so that they would take each other's slots in turn.
            return (Class::Hopeless, i64::try_from(at_us).unwrap_or(i64::MAX));
        } else if slack_us < window_us {
            Class::Urgent
        } else if has_slot {
            Class::Running
        } else {
            Class::Waiting
        };
        (class, slack_us)
    }
}

impl Policy for Edf {
    fn info() -> Info {
        Info {
            name: "edf",
            version: env!("CARGO_PKG_VERSION"),
            summary: "Least slack to the deadline first; jobs without one come last.",
            columns: Jobs::NAMES,
            triggers: Triggers::ARRIVAL
                | Triggers::FINISH
                | Triggers::WINDOW_END
                | Triggers::PREDICTION
                | Triggers::TIMER,
            preemptive: true,
        }
    }

    fn configure(&mut self, toml: &str) -> Result<(), String> {
        let config = config::parse(toml, &["hopeless"])?;
        self.hopeless = match config.str("hopeless", "last")? {
            "keep" => Hopeless::Keep,
            "last" => Hopeless::Last,
            "reject" => Hopeless::Reject,
            other => {
                return Err(format!(
                    "`hopeless` must be \"keep\", \"last\" or \"reject\", not \"{other}\""
                ));
            }
        };
        Ok(())
    }

    fn decide(&mut self, snapshot: &Snapshot<'_>) -> Plan {
        let header = snapshot.header;
        let jobs = Jobs::of(snapshot);
        let window_us = Pace::of(header).decode_us(0, header.window_tokens as f32);
        let window_us = i64::try_from(window_us).unwrap_or(i64::MAX);
        let mut reject = Vec::new();
        let mut queue = Vec::with_capacity(jobs.len());
        for row in 0..jobs.len() {
            let has_slot = state::has_slot(jobs.state[row]);
            let standing = self.standing(jobs.due(row, header), has_slot, window_us);
            let unbegun = jobs.state[row] == state::NEW;
            if self.hopeless == Hopeless::Reject && standing.0 == Class::Hopeless && unbegun {
                reject.push(jobs.id[row]);
            } else {
                queue.push((standing, jobs.arrival_us[row], jobs.id[row]));
            }
        }
        reject.sort_unstable();
        let patient = queue.iter().map(|key| key.0);
        let patient = patient.filter(|&(class, _)| class == Class::Waiting);
        let spare_us = patient.map(|(_, slack_us)| slack_us - window_us).min();
        let wake_up_us = spare_us.map_or(0, |spare_us| {
            header
                .now_us
                .saturating_add_signed(spare_us)
                .saturating_add(1)
        });
        let room = (header.max_num_seqs as usize + LOOKAHEAD).min(header.plan_max as usize);
        Plan {
            run: least(room, queue).into_iter().map(|key| key.2).collect(),
            reject,
            // When the next of those that have time becomes urgent.
            wake_up_us,
            ..Plan::default()
        }
    }
}

export_policy!(Edf);

#[cfg(test)]
mod tests;
