//! One instance of a policy: asks it for decisions and tells how they ended.

use std::time::{Duration, Instant};

use elis_scheduler::columns::Column;
use elis_scheduler::plan::{Plan, PolicyExit};
use elis_scheduler::snapshot::Snapshot;
use wasmtime::{Store, Trap};

use crate::contract::{self, Policy, TypedColumn};
use crate::engine::{Budget, Shared, text};
use crate::limits::Limits;
use crate::load::{Blueprint, LoadedPolicy};
use crate::packed::{self, PackedPolicy};
use crate::{LoadError, StartError};

/// The bytes that an answer may have beyond the entries of its lists.
const ANSWER_MARGIN_BYTES: usize = 4096;

/// How a decision ended and what it cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The plan, or why there is none.
    pub plan: Result<Plan, PolicyExit>,
    /// Fuel used, 0 unless decisions are metered by fuel.
    pub fuel_used: u64,
    /// Time taken, the crossing into the sandbox and back included.
    pub wall: Duration,
    /// Time that the thread ran for it, the first half millisecond by the clock; zero unless
    /// decisions are metered by the clock.
    pub cpu: Duration,
    /// Whether the machine was busy with others for longer than the budget. It is no failure.
    pub stalled: bool,
    /// What the sandbox says of a failure.
    pub detail: Option<String>,
}

/// A call that ended without an answer.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: PolicyExit,
    pub(crate) detail: String,
}

/// The exports of a started component.
enum Guest {
    Typed(Policy),
    Packed(PackedPolicy),
}

/// A started policy in its own sandbox. After a failed decision it is dead: drop it.
pub struct PolicyInstance {
    guest: Guest,
    store: Store<Limits>,
    columns: Vec<Column>,
    /// The blob of the packed interface, kept so that its memory is.
    blob: Vec<u64>,
    budget: Budget,
    answer_entries: usize,
}

impl std::fmt::Debug for PolicyInstance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PolicyInstance")
            .field("columns", &self.columns)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

/// Starts the bare component, without asking it anything.
fn instantiate(shared: &Shared, blueprint: &Blueprint) -> Result<(Store<Limits>, Guest), Failure> {
    let options = &shared.options;
    let mut store = Store::new(&shared.engine, Limits::new(options.memory_bytes));
    store.limiter(|limits| limits);
    store.epoch_deadline_callback(|mut store| Ok(store.data_mut().deadline()));
    // What comes back is copied before it can be looked at, so the copy needs a limit of its own.
    store.set_hostcall_fuel(
        options
            .answer_entries
            .saturating_mul(2 * size_of::<u64>())
            .saturating_add(ANSWER_MARGIN_BYTES),
    );
    grant(&mut store, Instant::now(), options.metering.start());
    let guest = match blueprint {
        Blueprint::Typed(pre) => pre.instantiate(&mut store).map(Guest::Typed),
        Blueprint::Packed(pre) => pre.instantiate(&mut store).map(Guest::Packed),
    };
    match guest {
        Ok(guest) => Ok((store, guest)),
        Err(error) => Err(failure(&store, &error)),
    }
}

/// Who the policy is, by its own words; the instance that says so is thrown away.
pub(crate) fn describe(
    shared: &Shared,
    blueprint: &Blueprint,
) -> Result<crate::load::Described, LoadError> {
    let refuse = |f: Failure| LoadError::Start {
        exit: f.exit,
        detail: f.detail,
    };
    let (mut store, guest) = instantiate(shared, blueprint).map_err(|f| match f.exit {
        // Nothing has run yet, so an answer cannot be wrong: the types are.
        PolicyExit::InvalidAnswer => LoadError::Types(f.detail),
        _ => refuse(f),
    })?;
    match guest {
        Guest::Typed(policy) => {
            let info = policy
                .elis_policy_scheduling()
                .call_describe(&mut store)
                .map_err(|e| refuse(failure(&store, &e)))?;
            Ok(info.into())
        }
        Guest::Packed(policy) => {
            let json = policy
                .elis_policy_packed()
                .call_describe(&mut store)
                .map_err(|e| refuse(failure(&store, &e)))?;
            packed::PackedInfo::parse(&json)?.try_into()
        }
    }
}

impl PolicyInstance {
    /// Starts an instance and gives it its configuration.
    ///
    /// # Errors
    ///
    /// The policy refuses the configuration, or ends instead of answering.
    pub fn start(policy: &LoadedPolicy, config: &str) -> Result<Self, StartError> {
        let inner = policy.inner();
        let exit = |f: Failure| StartError::Exit {
            exit: f.exit,
            detail: f.detail,
        };
        let (mut store, guest) = instantiate(&inner.shared, &inner.blueprint).map_err(exit)?;
        let answer = match &guest {
            Guest::Typed(policy) => policy
                .elis_policy_scheduling()
                .call_configure(&mut store, config),
            Guest::Packed(policy) => policy
                .elis_policy_packed()
                .call_configure(&mut store, config),
        };
        answer
            .map_err(|e| exit(failure(&store, &e)))?
            .map_err(StartError::Config)?;
        Ok(Self {
            guest,
            store,
            columns: inner.columns.clone(),
            blob: Vec::new(),
            budget: inner.shared.options.metering.decision(),
            answer_entries: inner.shared.options.answer_entries,
        })
    }

    /// Asks for a decision.
    pub fn decide(&mut self, snapshot: &Snapshot<'_>) -> Decision {
        let begin = Instant::now();
        grant(&mut self.store, begin, self.budget);
        self.store.data_mut().denied = false;
        let answer = self.call(snapshot);
        let wall = begin.elapsed();
        let cpu = self.store.data().used(wall);
        let fuel_used = match self.budget {
            Budget::Fuel(granted) => granted.saturating_sub(self.store.get_fuel().unwrap_or(0)),
            Budget::Time(_) | Budget::Unlimited => 0,
        };
        let answer = answer
            .map_err(|e| failure(&self.store, &e))
            .and_then(|plan| self.sized(plan));
        let (plan, detail) = match answer {
            Ok(plan) => (Ok(plan), None),
            Err(f) => (Err(f.exit), Some(f.detail)),
        };
        Decision {
            plan,
            fuel_used,
            wall,
            cpu,
            stalled: self.store.data().stalled(),
            detail,
        }
    }

    fn call(&mut self, snapshot: &Snapshot<'_>) -> wasmtime::Result<Plan> {
        match &self.guest {
            Guest::Typed(policy) => {
                let columns: Vec<TypedColumn<'_>> = self
                    .columns
                    .iter()
                    .map(|&column| contract::column(snapshot.column(column)))
                    .collect();
                let header = contract::header(&snapshot.header);
                policy
                    .elis_policy_scheduling()
                    .call_decide(&mut self.store, header, &columns)
                    .map(contract::plan)
            }
            Guest::Packed(policy) => {
                packed::pack(snapshot, &self.columns, &mut self.blob);
                let run = policy
                    .elis_policy_packed()
                    .call_decide(&mut self.store, &self.blob)?;
                Ok(Plan {
                    run,
                    ..Plan::default()
                })
            }
        }
    }

    fn sized(&self, plan: Plan) -> Result<Plan, Failure> {
        let longest = contract::longest_list(&plan);
        if longest <= self.answer_entries {
            return Ok(plan);
        }
        Err(Failure {
            exit: PolicyExit::InvalidAnswer,
            detail: format!(
                "a list of the plan has {longest} entries and may have {}",
                self.answer_entries
            ),
        })
    }

    /// State to hand to another version; empty where there is none.
    ///
    /// # Errors
    ///
    /// The policy ends instead of answering, and is dead.
    pub fn export_state(&mut self) -> Result<Vec<u8>, StartError> {
        grant(&mut self.store, Instant::now(), self.budget);
        self.store.data_mut().denied = false;
        let Guest::Typed(policy) = &self.guest else {
            return Ok(Vec::new());
        };
        let answer = policy
            .elis_policy_scheduling()
            .call_export_state(&mut self.store);
        answer.map_err(|e| {
            let Failure { exit, detail } = failure(&self.store, &e);
            StartError::Exit { exit, detail }
        })
    }

    /// Takes over the state of another version.
    ///
    /// # Errors
    ///
    /// The policy refuses it, or ends instead of answering.
    pub fn import_state(&mut self, state: &[u8]) -> Result<(), StartError> {
        grant(&mut self.store, Instant::now(), self.budget);
        self.store.data_mut().denied = false;
        let answer = match &self.guest {
            Guest::Typed(policy) => policy
                .elis_policy_scheduling()
                .call_import_state(&mut self.store, state),
            Guest::Packed(_) if state.is_empty() => Ok(Ok(())),
            Guest::Packed(_) => Ok(Err("a packed policy keeps no state".to_owned())),
        };
        answer
            .map_err(|e| {
                let Failure { exit, detail } = failure(&self.store, &e);
                StartError::Exit { exit, detail }
            })?
            .map_err(StartError::State)
    }
}

/// Gives a store what the call that begins now may cost. A store without a fresh grant would trap
/// at once.
fn grant(store: &mut Store<Limits>, now: Instant, budget: Budget) {
    match budget {
        // Fuel is on exactly when the budget is in fuel; should it not be, the call just traps.
        Budget::Fuel(units) => drop(store.set_fuel(units)),
        Budget::Time(cpu) => {
            let ticks = store.data_mut().grant_cpu(now, cpu);
            store.set_epoch_deadline(ticks);
        }
        Budget::Unlimited => {}
    }
}

/// Sorts an error of a call into the causes that the fault ladder counts.
fn failure(store: &Store<Limits>, error: &wasmtime::Error) -> Failure {
    let exit = match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => PolicyExit::OutOfFuel,
        Some(Trap::Interrupt) => PolicyExit::DeadlineMissed,
        _ if store.data().denied => PolicyExit::OutOfMemory,
        Some(_) => PolicyExit::Trap,
        // No trap: the host could not read what came back, or it was too much.
        None => PolicyExit::InvalidAnswer,
    };
    Failure {
        exit,
        detail: text(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Metering, Options, Runtime};

    /// Counts to one and then to a hundred million, which takes some tens of milliseconds; before
    /// each it turns the clock.
    const COUNTS: &str = r#"(module
        (import "" "turn" (func $turn))
        (func $count (param $n i32) (local $i i32)
            (loop $l (br_if $l (i32.lt_u
                (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n)))))
        (func (export "f")
            (call $turn) (call $count (i32.const 1))
            (call $turn) (call $count (i32.const 100000000))))"#;

    /// Runs it under a budget whose clock the test turns: all ticks that it stands for are over at
    /// once, so that the thread is looked at, and then again.
    fn count(budget_ms: u32) -> (wasmtime::Result<()>, bool) {
        let metering = Metering::Epoch { budget_ms };
        let runtime = Runtime::new(Options {
            metering,
            ..Options::default()
        });
        let shared = runtime.unwrap().shared;
        let module =
            wasmtime::Module::new(&shared.engine, wat::parse_str(COUNTS).unwrap()).unwrap();
        let mut store = Store::new(&shared.engine, Limits::new(1 << 20));
        store.epoch_deadline_callback(|mut store| Ok(store.data_mut().deadline()));
        let engine = shared.engine.clone();
        let turn = wasmtime::Func::wrap(&mut store, move || {
            (0..=u64::from(budget_ms) * 4).for_each(|_| engine.increment_epoch());
        });
        let instance = wasmtime::Instance::new(&mut store, &module, &[turn.into()]).unwrap();
        let run = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
        grant(&mut store, Instant::now(), metering.decision());
        let ended = run.call(&mut store, ());
        (ended, store.data().stalled())
    }

    #[test]
    fn a_clock_that_ran_while_the_policy_did_not_is_no_failure_of_it() {
        let (ended, stalled) = count(60_000);
        ended.unwrap();
        assert!(stalled, "and it is counted");
        let (ended, _) = count(1);
        let trap = ended.unwrap_err().downcast::<Trap>().unwrap();
        assert_eq!(trap, Trap::Interrupt, "its own time is its own");
    }
}
